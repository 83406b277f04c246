from __future__ import annotations

import importlib

import numpy as np
import pytest
from kernel_parity import assert_near, kernel_of, wide
from xnn.backends.emulator import emulation, sparse_array
from xnn.backends.emulator.device import EmulatedArray

import xnn
from xnn.functional import log_softmax, softmax

# Lanes of a warp: 1 column, 1 lane, ragged vectors, a full warp, its last row. Blocks: kept rows and rows read again.
SHAPES = [(1, 1), (70, 1), (33, 3), (5, 7), (2, 3, 33), (1, 512), (9, 130), (2, 2051), (3, 4099), (1, 26_001)]


def run(gpu, operation, x, dy):
    """Result and gradient of the kernel, on the device."""
    y, backward = kernel_of(operation)(gpu.asarray(x))
    return y, backward(gpu.asarray(dy))


def original(operation, x, dy):
    y, backward = operation.vjp(x.astype(np.float64))
    return y, backward(dy.astype(np.float64))


@pytest.mark.parametrize("operation", [softmax, log_softmax], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_parity(gpu, dtype, operation, shape, rng):
    x, dy = ((3 * rng.normal(size=shape)).astype(dtype) for _ in range(2))
    y, dx = run(gpu, operation, x, dy)
    y0, dx0 = original(operation, x, dy)
    assert_near(y, y0, dtype)
    # The gradient is made of the rounded result.
    assert_near(dx, dx0, dtype, scale=30 if operation is log_softmax and dtype.itemsize == 2 else 8)


@pytest.mark.parametrize("operation", [softmax, log_softmax], ids=str)
def test_the_operation_runs_the_kernel(gpu, operation, monkeypatch, rng):
    x = gpu.asarray(rng.normal(size=(3, 5)))
    want = operation(x)
    module = importlib.import_module("xnn.backends.cupy.kernels.softmax")
    launched = []
    monkeypatch.setattr(module, "_launch", lambda name, *_, **__: launched.append(name))
    operation(x)
    assert launched == ["softmax"]
    launched.clear()
    with xnn.backends.without_kernels():
        assert_near(operation(x), wide(want), np.dtype(np.float64))
    assert not launched


@pytest.mark.parametrize("operation", [softmax, log_softmax], ids=str)
@pytest.mark.parametrize("columns", [5, 1030])
def test_extreme_rows(gpu, operation, columns, rng):
    x = rng.normal(size=(8, columns)).astype(np.float32)
    x[0, 1] = np.nan
    x[1] = -np.inf
    x[2, ::2] = -np.inf
    x[3, 3] = np.inf
    x[4] = 1e30
    x[5, 0] = 1e4
    x[6] = -1e38
    with np.errstate(all="ignore"):
        y0 = original(operation, x, x)[0]
    y = run(gpu, operation, x, np.zeros_like(x))[0]
    np.testing.assert_allclose(wide(y), y0, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("dim", [-1, 1])
def test_any_layout(gpu, rng, dim):
    """Views: transposed, every other column, beginning anywhere between two vectors."""
    x = gpu.asarray(rng.normal(size=(40, 37)).astype(np.float32))
    for view in (x.T, x[:, ::2], x[3:, 1:], x[::-1], x[:, 5:6]):
        y, backward = softmax.vjp(view, dim)
        y0, backward0 = softmax.vjp(wide(view), dim)
        assert_near(y, y0, np.dtype(np.float32))
        assert_near(backward(y.T.copy().T), backward0(y0), np.dtype(np.float32), scale=8)


@pytest.mark.parametrize("offset", range(4))
@pytest.mark.parametrize("columns", [13, 1100])
def test_rows_that_begin_between_vectors(gpu, rng, offset, columns):
    flat = gpu.asarray(rng.normal(size=3 * columns + offset).astype(np.float32))
    x = flat[offset:].reshape(3, columns)
    assert x.flags.c_contiguous
    assert_near(softmax(x), softmax(wide(x)), np.dtype(np.float32))


def test_left_to_the_operation(gpu, rng):
    fused = kernel_of(softmax)
    assert fused(gpu.asarray(rng.normal(size=(3, 4))), 0) is NotImplemented
    assert fused(gpu.asarray(np.float32(1))) is NotImplemented
    x = rng.normal(size=(3, 4))
    assert_near(softmax(gpu.asarray(x), 0), softmax(x, 0), np.dtype(np.float64))
    with pytest.raises(IndexError, match="softmax: expected a dimension"):
        softmax(gpu.asarray(x), 2)
    with pytest.raises(TypeError, match="softmax: expected a real floating-point dtype"):
        softmax(gpu.asarray([1, 2]))


@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 3)])
def test_no_rows(gpu, shape):
    y, dx = run(gpu, softmax, np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    assert y.shape == dx.shape == shape


@pytest.mark.parametrize("columns", [24, 1500])
def test_the_same_bits_whatever_the_order_of_threads(gpu, rng, columns):
    x, dy = (rng.normal(size=(5, columns)).astype(np.float32) for _ in range(2))
    results = []
    for order in ("ascending", "descending", "random"):
        with emulation(thread_order=order, block_order=order):
            results.append([wide(a) for a in run(gpu, log_softmax, x, dy)])
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("columns", [1025, 4099])
def test_past_2_to_the_31_elements(gpu, rng, columns):
    """Addresses of the last row, in memory that is there only where it is touched."""
    if gpu.name != "emulated":
        pytest.skip("the last block alone runs on the emulated device only")
    x = sparse_array((2**31 // columns + 8, columns), np.float16)
    x[-1] = rng.normal(size=columns)
    with emulation(only_blocks=slice(-1, None)):
        y, backward = kernel_of(softmax)(x.view(EmulatedArray))
        dx = backward(x.view(EmulatedArray))
    y0, dx0 = original(softmax, x[-1:], x[-1:])
    assert_near(y[-1:], y0, np.dtype(np.float16))
    assert_near(dx[-1:], dx0, np.dtype(np.float16), scale=8)


@pytest.mark.slow
@pytest.mark.parametrize("sanitize", ["address,undefined", "thread"])
@pytest.mark.parametrize("shape", [(3, 7), (2, 1031), (1, 13_000)], ids=str)
def test_sanitizers_find_nothing(gpu, rng, sanitize, shape):
    if gpu.name != "emulated":
        pytest.skip("compute-sanitizer looks at the real device: ci/gpu")
    x, dy = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    with emulation(sanitize=sanitize):
        y, _ = run(gpu, softmax, x, dy)
    assert_near(y, softmax(x.astype(np.float64)), np.dtype(np.float32))
