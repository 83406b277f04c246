"""How kernels are emulated: the order of threads and blocks, which blocks run, under which sanitizer."""

from __future__ import annotations

import contextlib
import contextvars
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xnn.backends.emulator.errors import EmulatorError

ORDERS = ("ascending", "descending", "random")
SANITIZERS = ("", "address,undefined", "thread")


@dataclass(frozen=True)
class Settings:
    """See `emulation`."""

    thread_order: str = "ascending"
    block_order: str = "ascending"
    seed: int = 0
    only_blocks: Sequence[Any] | slice | None = None
    sanitize: str | None = None
    timeout: float = 300.0

    def __post_init__(self) -> None:
        for name in ("thread_order", "block_order"):
            if getattr(self, name) not in ORDERS:
                raise EmulatorError(f"emulation: expected {name} in {ORDERS}, got {getattr(self, name)!r}")
        if self.sanitize is not None:
            check_sanitizer(self.sanitize)


_DEFAULT = Settings()
_current: contextvars.ContextVar[Settings] = contextvars.ContextVar("xnn_emulation", default=_DEFAULT)


def current() -> Settings:
    """The settings that hold now."""
    return _current.get()


def check_sanitizer(sanitize: str) -> str:
    """``sanitize`` if it is one of SANITIZERS."""
    if sanitize not in SANITIZERS:
        raise EmulatorError(f"sanitize: expected one of {SANITIZERS}, got {sanitize!r}")
    return sanitize


def default_sanitizer() -> str:
    """What the environment variable ``XNN_EMULATOR_SANITIZE`` asks for; empty for none."""
    return check_sanitizer(os.environ.get("XNN_EMULATOR_SANITIZE", ""))


@contextlib.contextmanager
def emulation(**changes: Any) -> Iterator[None]:
    """Inside the ``with`` block, kernels are emulated with these settings. Blocks nest.

    Args:
        thread_order: the order in which the threads of a block run between barriers: ``"ascending"`` (by number),
            ``"descending"`` or ``"random"``. A result that depends on it shows a race.
        block_order: the same for the blocks of a grid.
        seed: of the random orders.
        only_blocks: run these blocks only: linear numbers (x + y * gridDim.x + ...), tuples ``(x, y, z)``, or a slice
            of the linear numbers such as ``slice(-4, None)``.
        sanitize: ``"address,undefined"`` or ``"thread"`` to run every launch under these sanitizers, ``""`` for none.
            By default a module's own choice, or that of ``XNN_EMULATOR_SANITIZE``.
        timeout: seconds after which a launch under a sanitizer is given up.
    """
    token = _current.set(replace(_current.get(), **changes))
    try:
        yield
    finally:
        _current.reset(token)
