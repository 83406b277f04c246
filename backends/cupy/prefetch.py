"""Batches to the GPU while it computes: through pinned memory, on a stream of their own.

A copy from ordinary host memory makes the host wait, and in CuPy it takes its turn behind the kernels of the current
stream. From pinned (page-locked) memory the copy engine reads by itself, so on another stream the next batch travels
while the kernels of this one run.

    host array -> pinned slot      by the host
    pinned slot -> device slot     by the copy engine, on the side stream     (event: uploaded)
    device slot -> a new array     by the consumer's stream                   (event: consumed)

The slots form a ring and are used again, under three rules:

* the host overwrites a pinned slot only after its event `uploaded`;
* the side stream overwrites a device slot only after its event `consumed`;
* the consumer's stream reads a device slot only after its event `uploaded`.

The last copy stays on the device (a hundredth of the time that the batch took to get there) and buys safety: what is
handed out is an ordinary array of the consumer's stream, which may be kept or freed at any time. If arrays were written
by the side stream itself, CuPy's pool, which knows of one stream at a time, could hand out the memory of a freed one
while the other stream still works on it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from typing import Any

from xnn.backends.device import each_array

_ALIGNED = 256  # every array of a batch begins at a multiple of so many bytes, as arrays of their own do


class _Slot:
    """A place of the ring: pinned memory, as much memory on the device, and the two events of the rules."""

    def __init__(self, cupy: Any) -> None:
        self.uploaded = cupy.cuda.Event(disable_timing=True)
        self.consumed = cupy.cuda.Event(disable_timing=True)
        self.capacity = 0
        self.pinned: Any = None
        self.device: Any = None


class Uploader:
    """Brings batches to a device through a ring of slots. One for each loop over a loader.

    Args:
        device: the `CudaDevice`.
        slots: how many; one less is how many batches can be on their way while one is in use.
    """

    def __init__(self, device: Any, slots: int) -> None:
        import cupy
        import cupyx

        self._cupy, self._cupyx = cupy, cupyx
        self._device = device
        with device.handle:
            self._side = cupy.cuda.Stream(non_blocking=True)
            self._slots = [_Slot(cupy) for _ in range(slots)]
        self._next = 0

    def send(self, batch: Any) -> tuple[Any, _Slot | None, list[tuple[int, Any]]]:
        """Let the arrays of ``batch`` that are on the host set off: what `receive` takes."""
        placed: list[tuple[int, Any]] = []
        size = 0

        def place(x: Any) -> Any:
            nonlocal size
            if not _is_host_array(x) or not x.nbytes:
                return x
            placed.append((size, x))
            size += math.ceil(x.nbytes / _ALIGNED) * _ALIGNED
            return x

        batch = each_array(place, batch)
        if not placed:
            return batch, None, placed
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        with self._device.handle:
            slot.uploaded.synchronize()
            if slot.capacity < size:
                self._grow(slot, size)
            for offset, x in placed:
                _view(slot.pinned, offset, x)[...] = x
            self._side.wait_event(slot.consumed)
            slot.device[:size].set(slot.pinned[:size], stream=self._side)
            slot.uploaded.record(self._side)
        return batch, slot, placed

    def receive(self, sent: tuple[Any, _Slot | None, list[tuple[int, Any]]]) -> Any:
        """The batch on the device, usable on the current stream."""
        batch, slot, placed = sent
        arrived: dict[int, Any] = {}
        with self._device.handle:
            if slot is not None:
                stream = self._cupy.cuda.get_current_stream()
                stream.wait_event(slot.uploaded)
                for offset, x in placed:
                    arrived[id(x)] = _view(slot.device, offset, x).copy()
                slot.consumed.record(stream)
            asarray = self._device.asarray
            return each_array(lambda x: arrived[id(x)] if id(x) in arrived else asarray(x), batch)

    def close(self) -> None:
        """Wait for what is on its way: its memory goes back to the pool, where others may get it at once."""
        self._side.synchronize()

    def _grow(self, slot: _Slot, size: int) -> None:
        slot.consumed.synchronize()  # the old memory is free for others from here on
        slot.pinned = self._cupyx.empty_pinned((size,), dtype="uint8")
        slot.device = self._cupy.empty((size,), dtype="uint8")
        slot.capacity = size
        # The new memory may still be in use by kernels of this stream that were queued before.
        slot.consumed.record(self._cupy.cuda.get_current_stream())


def uploaded(device: Any, batches: Generator[Any, None, None], ahead: int) -> Generator[Any, None, None]:
    """Each batch on ``device``, up to ``ahead`` of the next ones already on their way."""
    uploader = Uploader(device, ahead + 1)
    under_way: deque[Any] = deque()
    try:
        for batch in batches:
            under_way.append(uploader.send(batch))
            if len(under_way) > ahead:
                yield uploader.receive(under_way.popleft())
        while under_way:
            yield uploader.receive(under_way.popleft())
    finally:
        batches.close()
        uploader.close()


def _is_host_array(x: Any) -> bool:
    return type(x).__module__ == "numpy" and hasattr(x, "nbytes")


def _view(memory: Any, offset: int, like: Any) -> Any:
    """A part of a slot as an array of the shape and dtype of ``like``."""
    return memory[offset : offset + like.nbytes].view(like.dtype).reshape(like.shape)
