"""Which operation has a faster kernel on which backend: one list for dispatch, tests, compile check and benchmarks.

    @kernel(softmax, backend="cupy", dtypes=("float16", "bfloat16", "float32", "float64"))
    def fused_softmax(x, dim=-1):
        if dim not in (-1, x.ndim - 1):
            return NotImplemented
        ...
        return y, backward

A kernel has the signature of its operation and returns what the operation's definition returns: the result and the
backward function (an optimizer's `Rule` writes in place and returns None). For what it does not cover, a layout, a size
or an argument that is wrong, it returns NotImplemented, and the operation itself runs: so its errors are the same.

Modules in ``backends/<backend>/kernels/`` are found by themselves when the backend's arrays are first met.
The environment variable ``XNN_KERNELS=off``, or ``with xnn.backends.without_kernels():``, lets the originals run.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
import os
import pkgutil
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from xnn.backends.namespaces import dtype_name

__all__ = [
    "KERNELS",
    "Case",
    "Registered",
    "Work",
    "activate",
    "deactivate",
    "kernel",
    "kernels_are_off",
    "sample",
    "without_kernels",
]

F = TypeVar("F", bound=Callable[..., Any])


class Work(NamedTuple):
    """What an operation must at least do, by its own formula: whatever implementation runs, it is measured by this.

    Attributes:
        bytes: read and written: each input once, each result once.
        operations: arithmetic operations.
    """

    bytes: int
    operations: int


class Case(NamedTuple):
    """One size at which a kernel and its operation are measured.

    Attributes:
        label: ``"4096 x 50257"``.
        make: called with a Device and a dtype's name, returns the operation's positional and keyword arguments.
        forward: the work of the result, for the bytes that an element of the dtype has.
        backward: the work of the gradients, likewise; None where there are none.
    """

    label: str
    make: Callable[[Any, str], tuple[tuple[Any, ...], dict[str, Any]]]
    forward: Callable[[int], Work]
    backward: Callable[[int], Work] | None = None


class Registered(NamedTuple):
    """An entry of KERNELS.

    Attributes:
        operation: the `xnn.autodiff.Op`, or the `xnn.optim.Rule`, that it replaces.
        backend: ``"cupy"``.
        function: the kernel's Python side.
        dtypes: names of the dtypes that it covers.
        argument: the number of the positional argument whose dtype counts.
        cases: what is measured.
    """

    operation: Any
    backend: str
    function: Callable[..., Any]
    dtypes: tuple[str, ...]
    argument: int
    cases: tuple[Case, ...]

    @property
    def name(self) -> str:
        """``"cupy softmax"``."""
        return f"{self.backend} {self.operation.name}"


KERNELS: list[Registered] = []
"""Every kernel that was imported; `load` imports all of a backend."""


def kernel(
    operation: Any,
    backend: str = "cupy",
    dtypes: Sequence[str] = ("float16", "bfloat16", "float32", "float64"),
    *,
    argument: int = 0,
    cases: Sequence[Case] = (),
) -> Callable[[F], F]:
    """Register the decorated function as a kernel of ``operation``. See the top of this file and `Registered`."""

    def register(function: F) -> F:
        KERNELS.append(Registered(operation, backend, function, tuple(dtypes), argument, tuple(cases)))
        return function

    return register


def sample(device: Any, dtype: str, shape: tuple[int, ...]) -> Any:
    """Normal numbers for a `Case`: 2^20 of them are drawn and repeated on the device, since drawing takes time."""
    from xnn.backends import host_random

    count = math.prod(shape)
    drawn = device.asarray(host_random.normal((0, 0), (min(count, 2**20),), 0.0, 1.0, "float32"), dtype=dtype)
    if drawn.shape[0] < count:
        drawn = device.xp.tile(drawn, (-(-count // drawn.shape[0]),))[:count]
    return device.xp.reshape(drawn, shape)


class _Switch(threading.local):
    off = os.environ.get("XNN_KERNELS", "").lower() in ("off", "0", "no", "false")


_switch = _Switch()


@contextlib.contextmanager
def without_kernels() -> Iterator[None]:
    """Inside, the operations themselves run, in this thread: to compare and to measure. See `kernel`."""
    before = _switch.off
    _switch.off = True
    try:
        yield
    finally:
        _switch.off = before


def kernels_are_off() -> bool:
    """Whether the operations themselves are to run: see `without_kernels`."""
    return _switch.off


@functools.cache
def load(backend: str) -> None:
    """Import every module of ``backends/<backend>/kernels``."""
    package = importlib.import_module(f"xnn.backends.{backend}.kernels")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def activate(backend: str, array_type: type) -> None:
    """From now on operations on arrays of ``array_type`` go to the kernels of ``backend``."""
    load(backend)
    groups: dict[int, list[Registered]] = {}
    for entry in KERNELS:
        if entry.backend == backend:
            groups.setdefault(id(entry.operation), []).append(entry)
    for entries in groups.values():
        operation = entries[0].operation
        operation.kernels[array_type] = (
            _dispatch_rule(entries) if hasattr(operation, "update_group") else _dispatch(entries)
        )


def deactivate(array_type: type) -> None:
    """Undo `activate`."""
    for entry in KERNELS:
        entry.operation.kernels.pop(array_type, None)


def _dispatch(entries: Sequence[Registered]) -> Callable[..., Any]:
    """What runs in place of an operation's definition: the kernel of the dtype, unless there is none or it declines."""
    original, argument = entries[0].operation.forward, entries[0].argument
    choose = _by_dtype(entries)

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if not _switch.off and len(args) > argument:
            function = choose(args[argument])
            if function is not None:
                result = function(*args, **kwargs)
                if result is not NotImplemented:
                    return result
        return original(*args, **kwargs)

    return forward


def _dispatch_rule(entries: Sequence[Registered]) -> Callable[..., None]:
    """The same for an optimizer's rule, whose kernels take lists."""
    one_by_one = entries[0].operation._one_by_one
    choose = _by_dtype(entries)

    def update(params: Sequence[Any], grads: Sequence[Any], states: Sequence[Any], **options: Any) -> None:
        function = None if _switch.off or not params else choose(params[0])
        if function is None or function(params, grads, states, **options) is NotImplemented:
            one_by_one(params, grads, states, **options)

    return update


def _by_dtype(entries: Sequence[Registered]) -> Callable[[Any], Callable[..., Any] | None]:
    by_name = {dtype: entry.function for entry in entries for dtype in entry.dtypes}
    by_dtype: dict[Any, Callable[..., Any] | None] = {}  # by the dtype itself: no name is made for each call

    def choose(array: Any) -> Callable[..., Any] | None:
        try:
            return by_dtype[array.dtype]
        except KeyError:
            return by_dtype.setdefault(array.dtype, by_name.get(dtype_name(array.dtype)))
        except AttributeError:  # a number or None where an array belongs; the operation says so
            return None

    return choose
