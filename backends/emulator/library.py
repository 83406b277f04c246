"""Kernels and engine as shared libraries in this process."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from xnn.backends.emulator.compiler import Shared

_lock = threading.Lock()  # the engine runs one launch at a time


class Launch(ctypes.Structure):
    """The request of ``include/xnn_emulator/launch.h``."""

    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("arguments", ctypes.c_void_p),
        ("shared", ctypes.c_void_p),
        ("shared_count", ctypes.c_uint64),
        ("blocks", ctypes.c_void_p),
        ("block_count", ctypes.c_uint64),
        ("dynamic_shared_bytes", ctypes.c_uint64),
        ("seed", ctypes.c_uint64),
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("thread_order", ctypes.c_uint32),
    )


@functools.cache
def _engine() -> Any:
    from xnn.backends.emulator.compiler import engine

    (path,) = engine("")
    library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)  # kernels find its functions
    library.xnn_emulator_launch.restype = ctypes.c_char_p
    library.xnn_emulator_launch.argtypes = [ctypes.POINTER(Launch), ctypes.POINTER(ctypes.c_uint64)]
    return library


@functools.cache
def load(path: Path) -> Any:
    """The library of compiled kernels."""
    _engine()
    library = ctypes.CDLL(str(path))
    library.xnn_emulator_describe.restype = ctypes.c_char_p
    library.xnn_emulator_kernel.restype = ctypes.c_void_p
    return library


def describe(path: Path) -> str:
    """The parameters of each kernel, as ``include/xnn_emulator/kernels.h`` writes them. The library may go then."""
    _engine()
    library = ctypes.CDLL(str(path))
    library.xnn_emulator_describe.restype = ctypes.c_char_p
    return library.xnn_emulator_describe().decode()


def launch(
    path: Path,
    shared_variables: Shared,
    kernel: int,
    arguments: Sequence[Any],
    grid: Sequence[int],
    block: Sequence[int],
    shared: int,
    blocks: np.ndarray | None,
    thread_order: int,
    seed: int,
) -> tuple[str, int]:
    """Run a kernel; the error, if there is one, and the address of an illegal access, if that was it."""
    library = load(path)
    values: list[Any] = []
    for a in arguments:
        if isinstance(a, np.ndarray):
            values.append(ctypes.c_void_p(a.ctypes.data))
        elif a is None:
            values.append(ctypes.c_void_p(None))
        else:
            values.append(ctypes.create_string_buffer(a, max(1, len(a))))
    pointers = (ctypes.c_void_p * max(1, len(values)))(*map(ctypes.addressof, values))
    # The library does not lie where the linker put it: `anchor` is the linker's address of a function known here.
    moved = (ctypes.cast(library.xnn_emulator_describe, ctypes.c_void_p).value or 0) - shared_variables.anchor
    ranges = np.asarray(shared_variables.ranges, dtype=np.uint64).reshape(-1, 2)
    ranges[:, 0] += np.uint64(moved)
    request = Launch(
        library.xnn_emulator_kernel(kernel),
        ctypes.addressof(pointers),
        ranges.ctypes.data,
        len(ranges),
        None if blocks is None else blocks.ctypes.data,
        int(np.prod(grid, dtype=object)) if blocks is None else len(blocks),
        shared,
        seed,
        (ctypes.c_uint32 * 3)(*grid),
        (ctypes.c_uint32 * 3)(*block),
        thread_order,
    )
    fault = ctypes.c_uint64()
    with _lock:
        error = _engine().xnn_emulator_launch(ctypes.byref(request), ctypes.byref(fault))
        return (error or b"").decode(errors="replace"), fault.value
