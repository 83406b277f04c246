from __future__ import annotations

import numpy as np
import pytest
from kernel_parity import ERRORS, assert_near, kernel_of, wide
from support import needs_torch, torch
from xnn.backends.emulator import emulation, sparse_array
from xnn.backends.emulator.device import EmulatedArray

from xnn.functional import bias_gelu, bias_silu, gelu, silu

FUNCTIONS = {
    "gelu": (gelu, {}),
    "gelu tanh": (gelu, {"approximate": "tanh"}),
    "silu": (silu, {}),
    "bias gelu": (bias_gelu, {}),
    "bias gelu tanh": (bias_gelu, {"approximate": "tanh"}),
    "bias silu": (bias_silu, {}),
}
every = pytest.mark.parametrize("name", FUNCTIONS)
WITH_BIAS = [name for name in FUNCTIONS if "bias" in name]
with_bias = pytest.mark.parametrize("name", WITH_BIAS)
FLOAT32 = np.dtype(np.float32)

# Vectors or not, one tile or several, rows of one block or several, fewer columns than a vector has.
SHAPES = [(), (1,), (1, 1), (7, 1), (3, 2, 5), (2, 129), (40, 16), (300, 24), (9, 640), (33, 131)]


def inputs(name, shape, dtype, rng):
    x, dy = ((3 * rng.normal(size=shape)).astype(dtype) for _ in range(2))
    return ((x, rng.normal(size=shape[-1:]).astype(dtype)) if name in WITH_BIAS else (x,)), dy


def run(gpu, name, values, dy):
    """Result and gradients of the kernel, on the device."""
    operation, options = FUNCTIONS[name]
    y, backward = kernel_of(operation)(*map(gpu.asarray, values), **options)
    gradients = backward(gpu.asarray(dy))
    return [y, *(gradients if isinstance(gradients, tuple) else (gradients,))]


def original(name, values, dy):
    operation, options = FUNCTIONS[name]
    y, backward = operation.vjp(*(v.astype(np.float64) for v in values), **options)
    gradients = backward(dy.astype(np.float64))
    return [np.asarray(y), *(gradients if isinstance(gradients, tuple) else (gradients,))]


@every
def test_parity(gpu, dtype, name, rng):
    for shape in SHAPES if name not in WITH_BIAS else SHAPES[1:]:
        values, dy = inputs(name, shape, dtype, rng)
        for got, want in zip(run(gpu, name, values, dy), original(name, values, dy), strict=True):
            assert_near(got, want, dtype)


@needs_torch
@pytest.mark.parametrize("name", ["gelu", "gelu tanh", "silu"])
def test_every_number_of_float16(gpu, name):
    """Within one unit in the last place, of the two terms of the derivative where their sum is near 0."""
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = x[np.abs(x) < 1e4]
    y, dx = run(gpu, name, (x,), np.ones_like(x))
    t = torch.tensor(x.astype(np.float64), requires_grad=True)
    exact = t * torch.special.ndtr(t) if name == "gelu" else None
    if exact is None:
        exact = (
            torch.nn.functional.silu(t) if name == "silu" else torch.nn.functional.gelu(t, approximate="tanh")
        )
    (slope,) = torch.autograd.grad(exact.sum(), t)
    for got, want, absolute in ((y, exact, 6e-8), (dx, slope, 3e-5)):
        want = want.detach().numpy()
        np.testing.assert_allclose(wide(got), want, rtol=1.5e-3, atol=absolute)


@pytest.mark.parametrize("name", ["gelu", "gelu tanh", "silu"])
def test_a_few_units_in_the_last_place_of_float32(gpu, name):
    x = np.linspace(-12, 12, 4001).astype(np.float32)
    y, dx = run(gpu, name, (x,), np.ones_like(x))
    y0, dx0 = original(name, (x,), np.ones_like(x))
    np.testing.assert_allclose(wide(dx), dx0, rtol=5e-7, atol=5e-7)
    # GELU's 1 + erf(z) loses digits where it is small, and e^{-2u} of the tanh form those of a large u.
    absolute = {"gelu": 1e-6, "gelu tanh": 1e-8, "silu": 1e-37}[name]
    np.testing.assert_allclose(wide(y), y0, rtol=6e-7, atol=absolute)


@every
def test_extreme_numbers(gpu, dtype, name):
    large = 6e4 if dtype == np.float16 else 1e30
    x = np.asarray([np.nan, large, -large, 200, -200, 60, -60, 0.0, -0.0, 5e-8, np.inf]).astype(dtype)
    values = (x, np.zeros_like(x)) if name in WITH_BIAS else (x,)
    y, dx, *_ = run(gpu, name, values, np.ones_like(x))
    y, dx = wide(y), wide(dx)
    assert np.isnan([y[0], dx[0]]).all()
    x = x.astype(np.float64)
    want, slope = np.where(x < 1, 0, x), np.where(np.abs(x) < 1, 0.5, x > 0)
    np.testing.assert_allclose(y[1:-1], want[1:-1], rtol=ERRORS[dtype.name], atol=1e-7)
    np.testing.assert_allclose(dx[1:-1], slope[1:-1], rtol=ERRORS[dtype.name], atol=1e-7)
    assert y[-1] == np.inf


@every
def test_any_layout(gpu, name, rng):
    x = gpu.asarray(rng.normal(size=(40, 37)).astype(np.float32))
    bias = gpu.asarray(rng.normal(size=80).astype(np.float32))
    operation, options = FUNCTIONS[name]
    for view in (x.T, x[:, ::2], x[3:, 1:], x[::-1], x[:, 5:6], x[:, :32][2:]):
        values = (view, bias[: 2 * view.shape[-1] : 2]) if name in WITH_BIAS else (view,)
        y, backward = operation.vjp(*values, **options)
        dy = y.T.copy().T
        want = original(name, [np.asarray(wide(v)) for v in values], wide(dy))
        gradients = backward(dy)
        for got, exact in zip(
            [y, *(gradients if type(gradients) is tuple else (gradients,))], want, strict=True
        ):
            assert_near(got, exact, FLOAT32)


@every
@pytest.mark.parametrize("offsets", [(1, 0, 0), (0, 1, 0), (3, 3, 3), (0, 0, 2)], ids=str)
def test_arrays_that_begin_between_vectors(gpu, name, offsets, rng):
    x, dy, bias = (
        gpu.asarray(rng.normal(size=size + offset).astype(np.float32))[offset:]
        for size, offset in zip((9 * 40, 9 * 40, 40), offsets, strict=True)
    )
    x, dy = x.reshape(9, 40), dy.reshape(9, 40)
    values = (x, bias) if name in WITH_BIAS else (x,)
    operation, options = FUNCTIONS[name]
    y, backward = kernel_of(operation)(*values, **options)
    gradients = backward(dy)
    want = original(name, [wide(v) for v in values], wide(dy))
    for got, exact in zip([y, *(gradients if type(gradients) is tuple else (gradients,))], want, strict=True):
        assert_near(got, exact, FLOAT32)


@with_bias
def test_only_what_is_needed(gpu, name, rng):
    values, dy = inputs(name, (50, 12), FLOAT32, rng)
    operation, options = FUNCTIONS[name]
    _, backward = kernel_of(operation)(*map(gpu.asarray, values), **options)
    dx, dbias = backward(gpu.asarray(dy))
    only_dx, only_dbias = backward(gpu.asarray(dy), (True, False)), backward(gpu.asarray(dy), (False, True))
    assert only_dx[1] is None
    assert only_dbias[0] is None
    np.testing.assert_array_equal(wide(only_dx[0]), wide(dx))
    np.testing.assert_array_equal(wide(only_dbias[1]), wide(dbias))


@pytest.mark.parametrize("shape", [(20_000, 3), (5_000, 68)], ids=str)
def test_long_columns(gpu, shape, rng):
    """The sums of float32 are better than a running sum's, and of float16 are those of float32."""
    for dtype in (np.float32, np.float16):
        x, bias = np.full(shape, 20, dtype), np.zeros(shape[1], dtype)
        dy = rng.uniform(0.0, 1.0, shape).astype(dtype)
        dbias = run(gpu, "bias silu", (x, bias), dy)[2]
        rtol = 5e-7 if dtype is np.float32 else 5e-4
        np.testing.assert_allclose(wide(dbias), dy.astype(np.float64).sum(0), rtol=rtol)


@every
def test_left_to_the_operation(gpu, name):
    operation, options = FUNCTIONS[name]
    x, bias = gpu.asarray(np.zeros((2, 3))), (gpu.asarray(np.zeros(2)),) if name in WITH_BIAS else ()
    if "gelu" in name:
        with pytest.raises(ValueError, match=f"{operation.name}: expected approximate"):
            operation(x, *bias, approximate="erf")
    if bias:
        with pytest.raises(ValueError, match=f"{operation.name}: expected x of shape"):
            operation(x, *bias, **options)
    with pytest.raises(TypeError, match=f"{operation.name}: expected a real floating-point dtype"):
        operation(gpu.asarray([1, 2]), *(gpu.asarray([1, 2]) for _ in bias), **options)


@every
@pytest.mark.parametrize("shape", [(0, 4), (2, 0), (3, 0, 2)], ids=str)
def test_empty(gpu, name, shape):
    operation, options = FUNCTIONS[name]
    values = [np.zeros(shape)] + ([np.zeros(shape[-1:])] if name in WITH_BIAS else [])
    y, backward = operation.vjp(*map(gpu.asarray, values), **options)
    gradients = backward(gpu.asarray(np.zeros(shape)))
    assert y.shape == shape
    for g, v in zip(gradients if type(gradients) is tuple else (gradients,), values, strict=True):
        assert g.shape == v.shape
        assert not wide(g).any()


@pytest.mark.parametrize("name", ["gelu", "bias gelu"])
def test_the_operation_runs_the_kernel(gpu, name, rng):
    values, dy = inputs(name, (6, 10), FLOAT32, rng)
    operation, options = FUNCTIONS[name]
    y, backward = operation.vjp(*map(gpu.asarray, values), **options)
    want = run(gpu, name, values, dy)
    np.testing.assert_array_equal(wide(y), wide(want[0]))
    assert kernel_of(operation).__code__ is not operation.forward.__code__
    assert "kernels" in backward.__code__.co_filename


@with_bias
@pytest.mark.parametrize("shape", [(700, 10), (90, 520)], ids=str)
def test_the_same_bits_whatever_the_order_of_threads(gpu, name, rng, shape):
    values, dy = inputs(name, shape, FLOAT32, rng)
    results = []
    for order in ("ascending", "descending", "random"):
        with emulation(thread_order=order, block_order=order):
            results.append([wide(a) for a in run(gpu, name, values, dy)])
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "shape"), [("silu", (2**31 + 5000,)), ("bias silu", (2**31 // 64 + 50, 64))], ids=str
)
def test_more_elements_than_32_bits_count(gpu, name, shape, rng):
    """The last block alone, over memory that is not there until it is written."""
    if gpu.name != "emulated":
        pytest.skip("one block alone runs on the emulated device only")
    x, dy = (sparse_array(shape, np.float16) for _ in range(2))
    x[-1:], dy[-1:] = rng.normal(size=x[-1:].shape), rng.normal(size=x[-1:].shape)
    bias = [np.full(shape[1], 0.5, np.float16)] if name in WITH_BIAS else []
    want = original(name, [x[-1:], *bias], dy[-1:])
    arrays = [a.view(EmulatedArray) for a in (x, *bias)]
    with emulation(only_blocks=slice(-1, None)):
        y, backward = kernel_of(FUNCTIONS[name][0])(*arrays)
        dx = backward(dy.view(EmulatedArray), (True, False))[0] if bias else backward(dy.view(EmulatedArray))
    assert_near(y[-1:], want[0], np.dtype(np.float16))
    assert_near(dx[-1:], want[1], np.dtype(np.float16))


@pytest.mark.slow
@pytest.mark.parametrize("sanitize", ["address,undefined", "thread"])
@pytest.mark.parametrize("name", ["gelu", "bias gelu", "bias silu"])
@pytest.mark.parametrize("shape", [(40, 7), (65, 136)], ids=str)
def test_sanitizers_find_nothing(gpu, name, sanitize, shape, rng):
    if gpu.name != "emulated":
        pytest.skip("compute-sanitizer looks at the real device: ci/gpu")
    values, dy = inputs(name, shape, FLOAT32, rng)
    with emulation(sanitize=sanitize):
        results = run(gpu, name, values, dy)
    for got, want in zip(results, original(name, values, dy), strict=True):
        assert_near(got, want, FLOAT32)
