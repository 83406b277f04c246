from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
from kernel_parity import assert_near, kernel_of, wide
from xnn.backends.cupy.tables import Layout
from xnn.backends.emulator import emulation, sparse_array
from xnn.backends.emulator.device import EmulatedArray

import xnn
from xnn.nn import Parameter
from xnn.optim import clip_grad_norm_
from xnn.optim.clip_grad import scale_to_norm, total_norm

launch = importlib.import_module("xnn.backends.cupy.launch")
module = importlib.import_module("xnn.backends.cupy.kernels.grad_norm")

SHAPES = [(0, 4), (1,), (), (3, 5), (64,), (1, 4097), (2, 3, 700), (8, 1024), (9001,)]
NORMS = [2.0, 1.0, math.inf]


def long_vector(grads):
    return np.concatenate([np.asarray(g, dtype=np.float64).reshape(-1) for g in grads])


def launches(monkeypatch):
    """Names of the kernels that are launched from now on."""
    names = []
    real = launch.Kernel.__call__
    monkeypatch.setattr(
        launch.Kernel,
        "__call__",
        lambda self, *args, **kwargs: (names.append(self.name), real(self, *args, **kwargs)),
    )
    return names


def accumulator(dtype):
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


@pytest.mark.parametrize("p", NORMS)
def test_norm(gpu, dtype, p, rng):
    grads = [np.asarray(rng.normal(size=s), dtype=dtype) for s in SHAPES]
    total, _ = kernel_of(total_norm)(*map(gpu.asarray, grads), p=p)
    assert_near(total, np.asarray(np.linalg.norm(long_vector(grads), p)), accumulator(dtype))


@pytest.mark.parametrize("max_norm", [0.5, 1e4])
def test_scaling(gpu, dtype, max_norm, rng):
    grads = [np.asarray(rng.normal(size=s), dtype=dtype) for s in SHAPES]
    norm = np.linalg.norm(long_vector(grads))
    given = [gpu.asarray(g) for g in grads]
    total = gpu.asarray(np.asarray(norm), dtype=accumulator(dtype).name)
    scaled, _ = kernel_of(scale_to_norm)(total, *given, max_norm=max_norm)
    for y, g, x in zip(scaled, grads, given, strict=True):
        assert_near(y, g.astype(np.float64) * min(1.0, max_norm / (norm + 1e-6)), dtype)
        np.testing.assert_array_equal(wide(x), g.astype(np.float64))
        assert not np.shares_memory(wide(y), wide(x))


def with_gradients(device, grads, dtype):
    params = []
    for g in grads:
        p = Parameter(device.asarray(np.zeros(np.shape(g)), dtype=dtype))
        p.grad = device.asarray(g, dtype=dtype)
        params.append(p)
    return params


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
@pytest.mark.parametrize("p", NORMS)
def test_clipping_reads_nothing_and_launches_thrice(gpu, name, p, monkeypatch, rng):
    def read(*_: Any) -> Any:
        raise AssertionError("read from the device")

    grads = [np.asarray(rng.normal(size=s), dtype=name) for s in SHAPES]
    params = with_gradients(gpu, grads, name)
    kept = [q.grad for q in params]
    launched = launches(monkeypatch)
    with monkeypatch.context() as patch:
        if gpu.name == "emulated":
            for method in ("__float__", "__bool__", "__int__", "item", "tolist"):
                patch.setattr(EmulatedArray, method, read, raising=False)
        total = clip_grad_norm_(params, 0.7, p)
    assert launched == ["grad_norm_parts", "grad_norm_total", "grad_scale"]
    norm = np.linalg.norm(long_vector(grads), p)
    assert_near(total, np.asarray(norm), accumulator(np.dtype(name)))
    for q, before, g in zip(params, kept, grads, strict=True):
        assert_near(q.grad, g.astype(np.float64) * (0.7 / (norm + 1e-6)), np.dtype(name))
        np.testing.assert_array_equal(wide(before), g.astype(np.float64))  # others may hold it


def test_several_dtypes(gpu, rng):
    grads = [rng.normal(size=5), rng.normal(size=(3, 4)), rng.normal(size=7)]
    params = [
        *with_gradients(gpu, grads[:1], "float16"),
        *with_gradients(gpu, grads[1:2], "float64"),
        *with_gradients(gpu, grads[2:], "float16"),
    ]
    rounded = [np.array(wide(q.grad)) for q in params]
    norm = np.linalg.norm(long_vector(rounded))
    total = clip_grad_norm_(params, 1.0)
    assert total.dtype == np.float64
    np.testing.assert_allclose(wide(total), norm, rtol=1e-6)
    for q, g in zip(params, rounded, strict=True):
        assert_near(q.grad, g / norm, np.dtype(q.grad.dtype), scale=4 if q.grad.dtype == np.float16 else 1e8)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (164, 1), (165, 2), (400, 3)])
def test_one_launch_holds_164_gradients(gpu, monkeypatch, count, expected, rng):
    grads = [rng.normal(size=1 + i % 5).astype(np.float32) for i in range(count)]
    launched = launches(monkeypatch)
    total, _ = total_norm.vjp(*map(gpu.asarray, grads), p=2.0)
    assert launched == ["grad_norm_parts"] * expected + ["grad_norm_total"]
    assert_near(total, np.asarray(np.linalg.norm(long_vector(grads))), np.dtype(np.float32))


def test_any_layout(gpu, rng):
    x = gpu.asarray(rng.normal(size=(40, 37)).astype(np.float32))
    grads = [x.T, x[:, ::2], x[3:, 1:], x.reshape(-1)[1:], x.reshape(-1)[3:1001]]
    norm = np.linalg.norm(long_vector([wide(g) for g in grads]))
    total, _ = kernel_of(total_norm)(*grads, p=2.0)
    assert_near(total, np.asarray(norm), np.dtype(np.float32))
    scaled, _ = kernel_of(scale_to_norm)(total, *grads, max_norm=1.0)
    for y, g in zip(scaled, grads, strict=True):
        assert_near(y, wide(g) / (norm + 1e-6), np.dtype(np.float32))


def test_a_norm_that_is_larger_than_float16(gpu):
    (p,) = with_gradients(gpu, [np.full(16, 3e4)], "float16")
    assert_near(clip_grad_norm_([p], 4.0), np.asarray(1.2e5), np.dtype(np.float32))
    assert_near(p.grad, np.ones(16), np.dtype(np.float16))


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("at", [0, 4, 5000])
def test_nan_is_never_lost(gpu, p, at, rng):
    g = rng.normal(size=5001).astype(np.float32)
    g[at] = np.nan
    (q,) = with_gradients(gpu, [g], "float32")
    assert np.isnan(wide(clip_grad_norm_([q], 1.0, p)))
    assert np.isnan(wide(q.grad)).all()


def test_infinity(gpu):
    (q,) = with_gradients(gpu, [[1.0, math.inf]], "float32")
    assert np.isinf(wide(clip_grad_norm_([q], 1.0)))
    np.testing.assert_array_equal(wide(q.grad), [0.0, math.nan])
    (q,) = with_gradients(gpu, [[1.0, math.inf]], "float32")
    with pytest.raises(RuntimeError, match="expected gradients with a finite norm, got inf"):
        clip_grad_norm_([q], 1.0, error_if_nonfinite=True)


@pytest.mark.parametrize("p", NORMS)
def test_no_elements(gpu, p):
    params = with_gradients(gpu, [np.zeros((0, 3)), np.zeros(0)], "float32")
    assert_near(clip_grad_norm_(params, 1.0, p), np.asarray(0.0), np.dtype(np.float32))
    assert [q.grad.shape for q in params] == [(0, 3), (0,)]


def test_other_norms_are_left_to_the_operation(gpu, rng):
    grads = [rng.normal(size=5), rng.normal(size=(2, 3))]
    assert kernel_of(total_norm)(*map(gpu.asarray, grads), p=3.0) is NotImplemented
    params = with_gradients(gpu, grads, "float64")
    assert_near(
        clip_grad_norm_(params, 1.0, 3.0),
        np.asarray(np.linalg.norm(long_vector(grads), 3)),
        np.dtype(np.float64),
    )


def test_kernel_and_operation_agree(gpu, rng):
    grads = [rng.normal(size=s).astype(np.float32) for s in [(40, 7), (3,)]]
    results = []
    for around in (xnn.backends.without_kernels, lambda: emulation(thread_order="random")):
        params = with_gradients(gpu, grads, "float32")
        with around():
            results.append([clip_grad_norm_(params, 1.0), *(q.grad for q in params)])
    for x, x0 in zip(*results, strict=True):
        assert_near(x, wide(x0), np.dtype(np.float32))


def test_more_than_two_to_the_31_elements(gpu):
    if gpu.name != "emulated":
        pytest.skip("ci/gpu has its own test of large arrays")
    size = 2**31 + 5003
    grad = sparse_array(size, np.float16).view(EmulatedArray)
    grad.view(np.ndarray)[[3, -5000, -3]] = 5, 1, 2
    kernel = module.kernels["grad_norm_parts"]
    layout = Layout(kernel, {"grads": [grad]}, 2**20)
    parts = gpu.asarray(np.zeros(2049, np.float32))
    with emulation(only_blocks=[0, 2048]):
        for table in layout.tables({"grads": [grad]}):
            kernel((table.blocks,), (256,), table=table, parts=parts, all_parts=2049, first=0, norm=2)
    assert wide(parts)[[0, 2048]].tolist() == [5, 2]
    del grad, table


def test_the_same_bits_whatever_the_order_of_threads(gpu, rng):
    if gpu.name != "emulated":
        pytest.skip("a GPU has its own order")
    grads = [gpu.asarray(rng.normal(size=n).astype(np.float32)) for n in (5, 9001)]
    totals = []
    for order in ("ascending", "descending", "random"):
        with emulation(thread_order=order, block_order=order):
            totals.append(float(wide(total_norm.vjp(*grads, p=2.0)[0])))
    assert totals == totals[:1] * 3


@pytest.mark.slow
@pytest.mark.parametrize("sanitize", ["address,undefined", "thread"])
def test_sanitizers_find_nothing(gpu, dtype, rng, sanitize):
    if gpu.name != "emulated":
        pytest.skip("compute-sanitizer looks at the real device: ci/gpu")
    grads = [np.asarray(rng.normal(size=s), dtype=dtype) for s in SHAPES[:6]]
    given = [gpu.asarray(g) for g in grads]
    with emulation(sanitize=sanitize):
        for p in NORMS:
            total, _ = kernel_of(total_norm)(*given, p=p)
            assert_near(total, np.asarray(np.linalg.norm(long_vector(grads), p)), accumulator(dtype))
        kernel_of(scale_to_norm)(total, *given, max_norm=1.0)
