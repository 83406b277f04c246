"""LayerNorm and RMSNorm, whose kernels share their code."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_parity import assert_near, kernel_of, wide
from xnn.backends.emulator import emulation, sparse_array
from xnn.backends.emulator.device import EmulatedArray

import xnn
from xnn.functional import layer_norm, rms_norm

FLOAT32 = np.dtype(np.float32)
OPERATIONS = pytest.mark.parametrize("operation", [layer_norm, rms_norm], ids=str)
PARAMETERS = {layer_norm: 2, rms_norm: 1}

# Lanes of a warp, one or two vectors each; a warp, four or eight; a block; and rows that vectors do not fit.
SHAPES = [
    (1, 1), (70, 1), (3, 5), (70, 8), (33, 24), (9, 64), (5, 136), (2, 3, 256), (11, 328), (2, 1000), (5, 37),
    (3, 1101), (2, 1040), (2, 4104), (1, 2049),
]  # fmt: skip


def inputs(rng, operation, shape, dtype, over=None):
    """x, dy and the parameters."""
    over = shape[-1:] if over is None else over
    shapes = [shape, shape, *[over] * PARAMETERS[operation]]
    return [(rng.normal(size=s) + (i != 1)).astype(dtype) for i, s in enumerate(shapes)]


def run(gpu, operation, x, dy, *parameters, **options):
    """Result and gradients of the kernel, on the device."""
    over = parameters[0].shape if parameters and parameters[0] is not None else x.shape[-1:]
    parameters = [None if p is None else gpu.asarray(p) for p in parameters]
    y, backward = kernel_of(operation)(gpu.asarray(x), over, *parameters, **options)
    dx, _, *gradients = backward(gpu.asarray(dy))
    return [y, dx, *gradients]


def original(operation, x, dy, *parameters, **options):
    over = parameters[0].shape if parameters and parameters[0] is not None else x.shape[-1:]
    parameters = [None if p is None else wide(p) for p in parameters]
    y, backward = operation.vjp(wide(x), over, *parameters, **options)
    dx, _, *gradients = backward(wide(dy))
    return [y, dx, *gradients]


def compare(gpu, operation, *arrays, **options):
    options = {
        "eps": 0.1,
        **options,
    }  # with a small one, the gradient of a single column is nothing but roundings
    got, want = run(gpu, operation, *arrays, **options), original(operation, *arrays, **options)
    for a, b in zip(got, want, strict=True):
        if b is None:
            assert a is None
        else:
            assert_near(a, b, arrays[0].dtype, scale=16)


@OPERATIONS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_parity(gpu, dtype, operation, shape, rng):
    compare(gpu, operation, *inputs(rng, operation, shape, dtype))


@OPERATIONS
def test_rows_that_no_block_holds(gpu, operation, rng):
    compare(gpu, operation, *inputs(rng, operation, (1, 16_400), FLOAT32))
    compare(gpu, operation, *inputs(rng, operation, (3, 6200), np.dtype(np.float16)))


@OPERATIONS
@pytest.mark.parametrize("columns", [8, 31, 160, 1100])
def test_more_rows_than_blocks_at_once(gpu, operation, columns, rng):
    """The sums of many rows for dγ and dβ, in registers of blocks that stay, or from a pass of their own."""
    compare(gpu, operation, *inputs(rng, operation, (200, columns), FLOAT32))


@OPERATIONS
def test_parameters_and_eps_and_several_dimensions(gpu, operation, rng):
    for columns in (40, 41, 1200):
        x, dy, *parameters = inputs(rng, operation, (6, columns), FLOAT32)
        compare(gpu, operation, x, dy, eps=0.5)
        compare(gpu, operation, x, dy, parameters[0], eps=1e-3)
        if operation is layer_norm:
            compare(gpu, operation, x, dy, None, parameters[1])
    compare(gpu, operation, *inputs(rng, operation, (2, 3, 4, 6), FLOAT32, over=(4, 6)))
    compare(gpu, operation, *inputs(rng, operation, (4, 6), FLOAT32, over=(4, 6)))


@OPERATIONS
def test_default_eps(gpu, operation, dtype):
    x = np.full((2, 8), 1e-4).astype(dtype)
    default = rms_norm if operation is rms_norm else layer_norm
    eps = {"eps": 2.0**-52 if dtype.itemsize == 8 else 2.0**-23} if operation is rms_norm else {}
    (y, *_), (want, *_) = run(gpu, default, x, x), original(operation, x, x, **eps)
    assert_near(y, want, dtype)


@OPERATIONS
def test_only_what_is_needed_is_launched(gpu, operation, rng):
    for columns in (64, 63, 5000):
        x, dy, *parameters = map(gpu.asarray, inputs(rng, operation, (3, columns), FLOAT32))
        n = len(parameters)
        _, backward = kernel_of(operation)(x, columns, *parameters)
        everything = backward(dy)
        for needs in [(True, False) + (False,) * n, (False, False) + (True,) * n, (False,) * (2 + n)]:
            for needed, got, want in zip(needs, backward(dy, needs), everything, strict=True):
                assert (got is not None) == needed
                if needed:
                    np.testing.assert_array_equal(wide(got), wide(want))


@OPERATIONS
def test_any_layout(gpu, operation, rng):
    """Views: transposed, every other column, beginning anywhere between two vectors."""
    x = gpu.asarray(rng.normal(size=(40, 37)).astype(np.float32))
    for view in (x.T, x[:, ::2], x[3:, 1:], x[::-1], x[:, 5:6], x.T[:, 4:]):
        y, backward = operation.vjp(view, view.shape[-1], eps=1e-3)
        y0, backward0 = operation.vjp(wide(view), view.shape[-1], eps=1e-3)
        assert_near(y, y0, FLOAT32)
        assert_near(backward(y.T.copy().T)[0], backward0(wide(y))[0], FLOAT32, scale=64)


@OPERATIONS
@pytest.mark.parametrize("offset", range(4))
@pytest.mark.parametrize("columns", [32, 1200])
def test_arrays_that_begin_between_vectors(gpu, operation, columns, offset, rng):
    arrays = inputs(rng, operation, (3, columns), FLOAT32)

    def moved(a, by):
        flat = gpu.asarray(np.concatenate([np.zeros(by, np.float32), a.reshape(-1)]))
        return flat[by:].reshape(a.shape)

    for which in range(len(arrays)):
        there = [moved(a, offset if i == which else 0) for i, a in enumerate(arrays)]
        x, dy, *parameters = there
        y, backward = kernel_of(operation)(x, columns, *parameters)
        dx, _, *gradients = backward(dy)
        options = {"eps": 2.0**-23} if operation is rms_norm else {}
        for a, b in zip([y, dx, *gradients], original(operation, *arrays, **options), strict=True):
            assert_near(a, b, FLOAT32, scale=16)


@OPERATIONS
@pytest.mark.parametrize("columns", [8, 7, 1040])
def test_extreme_rows_stay_among_themselves(gpu, operation, columns, rng):
    x, dy, *parameters = inputs(rng, operation, (6, columns), FLOAT32)
    x[0, 1] = np.nan
    x[1, 2] = np.inf
    x[2] = 0.0
    x[3] = 1e6
    options = {"eps": 1e-5}
    with np.errstate(all="ignore"):
        y0, dx0, *_ = original(operation, x, dy, *parameters, **options)
    y, dx, *_ = run(gpu, operation, x, dy, *parameters, **options)
    assert np.isnan(wide(y)[0]).all()
    assert not np.isfinite(wide(y)[1]).all()
    rest = slice(2, None)
    np.testing.assert_allclose(wide(y)[rest], y0[rest], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(wide(dx)[rest], dx0[rest], rtol=1e-3, atol=1e-5 * np.abs(dx0[rest]).max())


@pytest.mark.parametrize("columns", [64, 65, 2000])
def test_large_mean_loses_no_digits(gpu, columns, rng):
    x = (4096 + 0.1 * rng.normal(size=(3, columns))).astype(np.float32)
    y, *_ = run(gpu, layer_norm, x, x)
    np.testing.assert_allclose(wide(y), layer_norm(wide(x), columns), atol=1e-2)


@OPERATIONS
def test_through_the_operation_and_left_to_it(gpu, operation, rng):
    name = operation.name
    x, w = gpu.asarray(rng.normal(size=(3, 8))), gpu.asarray(rng.normal(size=8))
    fused = kernel_of(operation)
    for arguments in ((x, 7), (x, ()), (x, 8, w[:7]), (x, 8, gpu.asarray(np.ones(8, "float32"))), (x[:0], 8)):
        assert fused(*arguments) is NotImplemented
    with pytest.raises(ValueError, match=f"{name}: expected x of shape"):
        operation(x, 7)
    with pytest.raises(TypeError, match=f"{name}: expected x and weight of one floating-point dtype"):
        operation(x, 8, gpu.asarray(np.ones(8, "float32")))
    assert operation(x[:0], 8).shape == (0, 8)
    leaf = xnn.Tensor(x, requires_grad=True)
    weight = xnn.Tensor(w, requires_grad=True)
    xnn.sum(operation(leaf, 8, weight) ** 2).backward()
    with xnn.backends.without_kernels():
        leaf2, weight2 = (xnn.Tensor(a, requires_grad=True) for a in (x, w))
        xnn.sum(operation(leaf2, 8, weight2) ** 2).backward()
    np.testing.assert_allclose(wide(leaf.grad), wide(leaf2.grad), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(wide(weight.grad), wide(weight2.grad), rtol=1e-10, atol=1e-12)


@OPERATIONS
@pytest.mark.parametrize("columns", [24, 23, 200, 3104])
def test_the_same_bits_whatever_the_order_of_threads(gpu, operation, columns, rng):
    arrays = inputs(rng, operation, (37 if columns < 100 else 5, columns), FLOAT32)
    results = []
    for order in ("ascending", "descending", "random"):
        with emulation(thread_order=order, block_order=order):
            results.append([wide(a) for a in run(gpu, operation, *arrays)])
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


@OPERATIONS
@pytest.mark.parametrize("columns", [64, 1024, 8192, 1025, 9001])
def test_more_elements_than_32_bits_count(gpu, operation, columns, rng, monkeypatch):
    """The last block alone, over memory that is not there until it is written."""
    if gpu.name != "emulated":
        pytest.skip("the last block alone runs on the emulated device only")
    monkeypatch.setattr("xnn.backends.cupy.kernels._row_norm.processors", lambda array: 2**30)
    rows = 2**31 // columns + 8
    x, dy = (sparse_array((rows, columns), np.float16) for _ in range(2))
    x[-1], dy[-1] = rng.normal(size=(2, columns))
    with emulation(only_blocks=slice(-1, None)):
        y, backward = kernel_of(operation)(x.view(EmulatedArray), columns, eps=0.1)
        dx, *_ = backward(dy.view(EmulatedArray), (True, False))
    y0, dx0 = original(operation, x[-1:], dy[-1:], eps=0.1)[:2]
    assert_near(y[-1:], y0, np.dtype(np.float16), scale=16)
    assert_near(dx[-1:], dx0, np.dtype(np.float16), scale=16)


@pytest.mark.slow
@OPERATIONS
@pytest.mark.parametrize("sanitize", ["address,undefined", "thread"])
@pytest.mark.parametrize("shape", [(9, 8), (3, 7), (3, 400), (2, 1100), (2, 3080), (1, 5001)], ids=str)
def test_sanitizers_find_nothing(gpu, operation, sanitize, shape, rng):
    if gpu.name != "emulated":
        pytest.skip("compute-sanitizer looks at the real device: ci/gpu")
    with emulation(sanitize=sanitize):
        compare(gpu, operation, *inputs(rng, operation, shape, FLOAT32))
