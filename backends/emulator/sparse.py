"""Arrays larger than memory, for kernels whose indices may overflow."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

_MAP_NORESERVE = 0x4000


def sparse_array(shape: int | Sequence[int], dtype: Any) -> np.ndarray:
    """Zeros that take memory only where they are written to: as large as the address space has room for.

    Run the last blocks of a kernel over more than 2**31 elements (``only_blocks=slice(-4, None)``), and an index that
    overflows a 32-bit integer shows: around the array lies address space without access, so that a negative index is
    an illegal access and not somebody else's memory.
    """
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    count = 1
    for n in sizes:
        count *= n
    size = count * np.dtype(dtype).itemsize
    guard = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    memory = mmap.mmap(-1, max(guard, mmap.PAGESIZE) * 3, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    array = np.frombuffer(memory, dtype=dtype, count=count, offset=guard).reshape(sizes)
    _protect(array.ctypes.data - guard, guard)
    _protect(array.ctypes.data + guard, guard)
    return array


def _protect(address: int, size: int) -> None:
    """Allow no access to these pages."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    none = 0
    if size and libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), none):
        raise OSError(ctypes.get_errno(), "mprotect")
