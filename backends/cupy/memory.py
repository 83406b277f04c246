"""Memory of a CUDA device: how much is in use, and an error that helps when there is not enough."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from xnn.backends.device import Memory
from xnn.backends.errors import OutOfMemoryError

__all__ = ["explaining", "usage"]


def usage(handle: Any) -> Memory:
    """Bytes that arrays of this process use on the device, bytes of the device, and the most that was needed at once.

    CuPy's pool keeps what arrays no longer use, and asks the device for more only when nothing of that fits. So what it
    holds is the largest amount needed at once since the process began (with what is lost between blocks, and unless
    somebody empties the pool). What others use on the device, other libraries in this process as well, is not counted.
    """
    import cupy

    with handle:
        pool = cupy.get_default_memory_pool()
        return Memory(pool.used_bytes(), handle.mem_info[1], pool.total_bytes())


@contextlib.contextmanager
def explaining(handle: Any, name: str) -> Iterator[None]:
    """Turn CuPy's OutOfMemoryError, and CUDA's own, into an `OutOfMemoryError` that says what to try."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except Exception as error:  # not CuPy's class by name, which would import CuPy
        if not _is_out_of_memory(error):
            raise
        raise OutOfMemoryError(_explanation(error, handle, name)) from error


def _is_out_of_memory(error: Exception) -> bool:
    kind = type(error)
    if kind.__name__ == "OutOfMemoryError" and kind.__module__.partition(".")[0] == "cupy":
        return True
    # From libraries that allocate without CuPy's pool: cuBLAS's workspace, a kernel's local memory.
    text = str(error)
    return "cudaErrorMemoryAllocation" in text or "CUBLAS_STATUS_ALLOC_FAILED" in text


def _explanation(error: Exception, handle: Any, name: str) -> str:
    asked = _size_asked_for(error)
    what = f"{gibibytes(asked)} were asked for" if asked is not None else "a library asked for memory"
    try:
        memory = usage(handle)
        with handle:
            free, total = handle.mem_info
    except Exception:  # the device may be past answering; the error must still be told
        state = ""
    else:
        held = (memory.peak or memory.used) - memory.used
        state = (
            f"; arrays of this process use {gibibytes(memory.used)}, its pool keeps {gibibytes(held)} more for reuse, "
            f"and {gibibytes(free)} of the device's {gibibytes(total)} are free"
        )
    return (
        f"out of memory on {name}: {what}{state}. What may help: a smaller batch (with accumulate=2, or "
        "--batch-size and --accumulate, the update stays the same), half precision (precision='bfloat16', or "
        "--precision bfloat16), a smaller model, letting go of arrays that are no longer needed (Tensors keep what "
        "made them: add up loss.data, not loss), or ending other programs on the device, which nvidia-smi lists"
    )


def _size_asked_for(error: Exception) -> int | None:
    """CuPy keeps the number in its message alone: "Out of memory allocating 8,589,934,592 bytes"."""
    found = re.search(r"allocating ([\d,]+) bytes", str(error))
    return int(found[1].replace(",", "")) if found else None


def gibibytes(count: int) -> str:
    """3221225472 as people read it: 3.00 GiB."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} bytes"
