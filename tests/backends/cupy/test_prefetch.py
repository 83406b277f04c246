"""Batches through pinned memory, with a stand-in for CuPy whose streams run late and in any order that events allow."""

from __future__ import annotations

import contextlib
import random
import sys
import types
from collections import deque
from typing import Any

import numpy as np
import pytest
from xnn.backends.cupy import CudaDevice
from xnn.backends.cupy import prefetch as uploads

import xnn
from xnn.data import DataLoader


class Gpu:
    """Streams whose work waits until somebody must have it, and is then done in a random order among the streams."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pace = self.random.choice([0, 1, 4])
        self.main_is_fast = self.random.random() < 0.5
        self.streams: list[Stream] = []
        self.main = Stream(self)
        self.largest = 0

    def some(self) -> None:
        """Do some of what could be done."""
        for _ in range(self.random.randrange(self.pace + 1)):
            self.step()

    def step(self) -> bool:
        ready = [s for s in self.streams if s.work and s.work[0][0]()]
        if ready:
            fast = ready[0] if self.main_is_fast else ready[-1]
            self.random.choice([fast] * 9 + ready).work.popleft()[1]()
        return bool(ready)

    def until(self, done: Any) -> None:
        while not done():
            assert self.step(), "the streams wait for each other"


class Stream:
    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.work: deque[Any] = deque()  # (whether it can begin, what it does)
        gpu.streams.append(self)

    def enqueue(self, do: Any, when: Any = lambda: True) -> None:
        self.work.append((when, do))
        self.gpu.some()

    def wait_event(self, event: Event) -> None:
        ticket = event.recorded
        self.enqueue(lambda: None, lambda: event.reached >= ticket)

    def synchronize(self) -> None:
        self.gpu.until(lambda: not self.work)


class Event:
    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.recorded = self.reached = 0

    def record(self, stream: Stream) -> None:
        self.recorded += 1
        ticket = self.recorded

        def reach() -> None:
            self.reached = max(self.reached, ticket)

        stream.enqueue(reach)

    def synchronize(self) -> None:
        ticket = self.recorded
        self.gpu.until(lambda: self.reached >= ticket)


class GpuArray:
    """Memory that only the work of streams may touch."""

    def __init__(self, gpu: Gpu, memory: np.ndarray) -> None:
        self.gpu, self.memory = gpu, memory

    def __getitem__(self, key: Any) -> GpuArray:
        return GpuArray(self.gpu, self.memory[key])

    def view(self, dtype: Any) -> GpuArray:
        return GpuArray(self.gpu, self.memory.view(dtype))

    def reshape(self, shape: Any) -> GpuArray:
        return GpuArray(self.gpu, self.memory.reshape(shape))

    def set(self, pinned: np.ndarray, stream: Stream) -> None:
        assert pinned.nbytes == self.memory.nbytes
        stream.enqueue(lambda: np.copyto(self.memory, pinned))

    def copy(self) -> GpuArray:
        new = np.full_like(self.memory, 77)
        self.gpu.main.enqueue(lambda: np.copyto(new, self.memory))
        return GpuArray(self.gpu, new)


@pytest.fixture
def install(monkeypatch):
    def make(seed: int = 0) -> Gpu:
        gpu = Gpu(seed)
        cupy: Any = types.ModuleType("cupy")
        cupy.ndarray = GpuArray

        def empty(shape: Any, dtype: Any) -> GpuArray:
            gpu.largest = max(gpu.largest, shape[0])
            return GpuArray(gpu, np.full(shape, 99, dtype))

        cupy.empty = empty
        cupy.cuda = types.SimpleNamespace(
            Device=lambda index: contextlib.nullcontext(),
            Stream=lambda non_blocking: Stream(gpu),
            Event=lambda disable_timing: Event(gpu),
            get_current_stream=lambda: gpu.main,
        )
        cupyx: Any = types.ModuleType("cupyx")
        cupyx.empty_pinned = lambda shape, dtype: np.full(shape, 55, dtype)
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setitem(sys.modules, "cupyx", cupyx)
        monkeypatch.setattr(CudaDevice, "asarray", lambda self, x: x)
        return gpu

    return make


def batches(count: int = 9):
    """Of several dtypes, not contiguous, with one that is larger than those before it."""
    rng = np.random.default_rng(0)
    for i in range(count):
        n = 13 if i == 4 else 5 if i < 8 else 2
        yield rng.normal(size=(4, n)).astype("float32").T, rng.integers(0, 9, n), rng.random((n, 1)) < 0.5


def trained_on(gpu: Gpu, ahead: int) -> list[Any]:
    """What a model would see that is slower than the loop that feeds it."""
    seen: list[Any] = []
    for batch in uploads.uploaded(CudaDevice(0), batches(), ahead):
        gpu.main.enqueue(lambda batch=batch: seen.append([x.memory.copy() for x in batch]))
    gpu.main.synchronize()
    return seen


def same(seen: list[Any]) -> bool:
    expected = list(batches())
    return len(seen) == len(expected) and all(
        a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
        for x, y in zip(seen, expected, strict=True)
        for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_every_batch_arrives_whole_in_every_order_of_events(install, ahead):
    for seed in range(60):
        assert same(trained_on(install(seed), ahead)), seed


@pytest.mark.parametrize("rule", ["Event.synchronize", "side stream waits", "consumer waits"])
def test_each_of_the_three_rules_is_needed(install, monkeypatch, rule):
    """Without it some order of events spoils a batch, so the test above would tell."""
    spoiled = 0
    for seed in range(60):
        gpu = install(seed)
        if rule == "Event.synchronize":
            monkeypatch.setattr(Event, "synchronize", lambda self: None)
        else:
            wait = Stream.wait_event
            of_consumer = rule == "consumer waits"

            def careless(self, event, wait=wait, gpu=gpu, of_consumer=of_consumer):
                if (self is gpu.main) is not of_consumer:
                    wait(self, event)

            monkeypatch.setattr(Stream, "wait_event", careless)
        spoiled += not same(trained_on(gpu, 1))
        monkeypatch.undo()
    assert spoiled > 0


def test_the_next_batch_sets_off_before_this_one_is_used(install):
    gpu = install()
    made = []

    def source():
        for i in range(4):
            made.append(i)
            yield (np.full(3, i),)

    loop = uploads.uploaded(CudaDevice(0), source(), 1)
    next(loop)
    assert made == [0, 1]
    side = next(s for s in gpu.streams if s is not gpu.main)
    next(loop)
    assert made == [0, 1, 2]
    loop.close()
    assert not side.work  # nothing is under way any more into memory that the pool may hand out


def test_the_source_is_closed_when_a_loop_is_left_early(install):
    install()
    closed = []

    def source():
        try:
            while True:
                yield np.ones(3)
        finally:
            closed.append(True)

    loop = uploads.uploaded(CudaDevice(0), source(), 1)
    next(loop)
    loop.close()
    assert closed == [True]


def test_dicts_single_arrays_and_what_is_on_the_device_already(install):
    gpu = install()
    there = GpuArray(gpu, np.arange(3))
    there.__array_namespace__ = None
    host = np.arange(4.0)
    uploader = uploads.Uploader(CudaDevice(0), 2)
    batch = uploader.receive(uploader.send({"x": host, "empty": np.ones((0, 3))}))
    single = uploader.receive(uploader.send(host))
    gpu.main.synchronize()
    assert np.array_equal(batch["x"].memory, host)
    assert batch["empty"].shape == (0, 3)
    assert np.array_equal(single.memory, host)
    sent = uploader.send((there,))
    assert uploader.receive(sent)[0] is there


def test_slots_are_used_again_and_grow_only_when_they_must(install):
    gpu = install()
    list(uploads.uploaded(CudaDevice(0), (np.ones(n, "float32") for n in (10, 100, 10, 100)), 1))
    assert gpu.largest == 512  # 400 bytes, aligned


def test_the_loader_uses_it(install, monkeypatch):
    gpu = install()
    monkeypatch.setattr(
        "xnn.data.loader.find_device", lambda d: d if isinstance(d, CudaDevice) else xnn.device(d)
    )
    x, y = np.arange(40.0).reshape(10, 4), np.arange(10)
    seen = []
    loader = DataLoader((x, y), 3, device=CudaDevice(0), shuffle=True, seed=1)
    for number, batch in enumerate(loader, 1):
        assert loader.batch == number  # not what is under way already
        gpu.main.enqueue(lambda batch=batch: seen.append([a.memory.copy() for a in batch]))
    gpu.main.synchronize()
    expected = list(DataLoader((x, y), 3, shuffle=True, seed=1))
    for got, want in zip(seen, expected, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))


def test_without_prefetch_there_is_no_ring(install, monkeypatch):
    gpu = install()
    loop = CudaDevice(0).upload((np.full(2, i) for i in range(3)), 0)
    assert [int(x[0]) for x in loop] == [0, 1, 2]
    assert gpu.streams == [gpu.main]
