from __future__ import annotations

import numpy as np
import pytest
from kernel_parity import assert_near, kernel_of, wide
from xnn.backends.cupy.kernels.dropout import kernels
from xnn.backends.emulator import emulation, sparse_array
from xnn.backends.numpy import random as host_random

import xnn
import xnn.functional as F
from xnn.functional import keyed_dropout
from xnn.random import Generator, Key

FLOAT32 = np.dtype(np.float32)
KEYS = [
    Key(0, 0),
    Key(1, 2),
    Key(2**64 - 1, 2**64 - 1),
    Key(2**64 + 3, 7),
    Key(2**128 - 1, 2**40),
    Key(12345, 1),
]

# A part of a warp's 256 elements, all of them, several blocks and a bit.
SHAPES = [(), (1,), (7,), (8, 1), (3, 5), (256,), (257,), (2, 1024), (5, 1031)]


def run(gpu, x, dy, p, key):
    """Result and gradient of the kernel, on the device."""
    y, backward = kernel_of(keyed_dropout)(gpu.asarray(x), p=p, key=key)
    return y, backward(gpu.asarray(dy))


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_the_bits_are_those_of_the_cpu(gpu, dtype, key, rng):
    for shape in SHAPES:
        for p in (0.0, 0.1, 0.5, 0.9):
            kept = host_random.uniform(key, shape, 0.0, 1.0, "float32") >= p
            x, dy = (np.asarray(rng.uniform(1, 2, shape)).astype(dtype) for _ in range(2))
            for got, of in zip(run(gpu, x, dy, p, key), (x, dy), strict=True):
                np.testing.assert_array_equal(wide(got) != 0, kept)
                assert_near(got, np.asarray(kept * of.astype(np.float64) / (1 - p)), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_bit_of_the_result_is_that_of_the_cpu(gpu, dtype, rng):
    x = rng.normal(size=(33, 65)).astype(dtype)
    x[0, :8] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, 3e38, -1.0]
    for p in (0.1, 0.3, 0.5):
        with np.errstate(all="ignore"):
            y0, backward0 = keyed_dropout.vjp(x, p=p, key=Key(3, 4))
            dx0 = backward0(x)
            y, dx = run(gpu, x, x, p, Key(3, 4))
        np.testing.assert_array_equal(wide(y), y0.astype(np.float64))
        np.testing.assert_array_equal(np.signbit(wide(y)[1:]), np.signbit(y0[1:]))
        np.testing.assert_array_equal(wide(dx), dx0.astype(np.float64))


def test_probabilities_between_two_numbers_of_the_generator(gpu):
    """The comparison is made between float32 numbers, also where p is none."""
    x, key = np.ones(5000, np.float32), Key(9, 9)
    u = host_random.uniform(key, (5000,), 0.0, 1.0, "float32")
    for p in (
        float(u[17]),
        np.nextafter(float(u[17]), 1),
        np.nextafter(float(u[17]), 0),
        1e-9,
        1 - 1e-7,
        1 - 1e-12,
    ):
        np.testing.assert_array_equal(wide(run(gpu, x, x, p, key)[0]) != 0, u >= np.float32(p))


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_arrays_that_begin_between_vectors(gpu, offset, rng):
    x = gpu.asarray(rng.normal(size=1000 + offset).astype(np.float32))[offset:]
    y, _ = kernel_of(keyed_dropout)(x, p=0.5, key=Key(1, 1))
    np.testing.assert_array_equal(
        wide(y), wide(keyed_dropout(np.asarray(wide(x), np.float32), p=0.5, key=Key(1, 1)))
    )


def test_any_layout(gpu, rng):
    x = gpu.asarray(rng.normal(size=(40, 37)).astype(np.float32))
    for view in (x.T, x[:, ::2], x[3:, 1:], x[::-1]):
        y, backward = keyed_dropout.vjp(view, p=0.4, key=Key(1, 1))
        mask = keyed_dropout(np.ones(view.shape, np.float32), p=0.4, key=Key(1, 1))
        np.testing.assert_array_equal(wide(y), (np.asarray(wide(view), np.float32) * mask).astype(np.float64))
        dy = view[::-1]
        np.testing.assert_array_equal(
            wide(backward(dy)), (np.asarray(wide(dy), np.float32) * mask).astype(np.float64)
        )


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_empty(gpu, shape):
    y, dx = run(gpu, np.zeros(shape, np.float32), np.zeros(shape, np.float32), 0.5, Key(0, 0))
    assert y.shape == dx.shape == shape


def test_left_to_the_operation(gpu):
    x = gpu.asarray(np.ones(3, np.float32))
    fused = kernel_of(keyed_dropout)
    assert fused(x, p=1.0, key=Key(0, 0)) is NotImplemented
    assert fused(x, p=0.5, key=Key(0, 2**64)) is NotImplemented
    assert not wide(F.dropout(x, 1.0)).any()
    with pytest.raises(TypeError, match="dropout: expected a real floating-point dtype"):
        F.dropout(gpu.asarray([1, 2]))


def test_the_layer_runs_the_kernel_and_gives_the_mask_of_the_cpu(gpu, monkeypatch):
    layer = xnn.nn.Dropout(0.3, generator=Generator(5))
    monkeypatch.setattr(host_random, "uniform", lambda *_: pytest.fail("drawn on the host"))
    x = xnn.Tensor(gpu.asarray(np.ones((10, 30), np.float32)), requires_grad=True)
    y = layer(x)
    xnn.sum(y).backward()
    monkeypatch.undo()
    want = F.dropout(np.ones((10, 30), np.float32), 0.3, generator=Generator(5))
    np.testing.assert_array_equal(wide(y), want.astype(np.float64))
    np.testing.assert_array_equal(wide(x.grad), want.astype(np.float64))


def numpy_uniforms(key, first, count):
    """The float32 numbers ``first`` ... of a draw, without drawing those before. ``first`` is a multiple of 8."""
    bits = np.random.Philox(key=np.asarray([key.seed, 0], np.uint64), counter=(key.draw << 192) + first // 8)
    return np.random.Generator(bits).random(count, dtype=np.float32)


def test_numbers_far_beyond_32_bits(gpu):
    """Only the last blocks of an array of 2^32 + 1000 elements, which is there only where it is touched."""
    if gpu.name != "emulated":
        pytest.skip("a real device has no memory that is not there")
    key, elements, tail = Key(7, 3), 2**32 + 1000, 1000 + 2048
    x, y = (gpu.asarray(np.zeros(0, np.float16)) for _ in range(2))
    x, y = (sparse_array(elements, np.float16).view(type(x)) for _ in range(2))
    x[-tail:] = 1
    with emulation(only_blocks=slice(-2, None)):
        kernels["dropout"](
            (-(-elements // 2048),), (256,), x=x, y=y, elements=elements, seed_low=7, seed_high=0, draw=3,
            threshold=2**23, scale=2.0,
        )  # fmt: skip
    np.testing.assert_array_equal(wide(y[-tail:]) != 0, numpy_uniforms(key, elements - tail, tail) >= 0.5)


def test_the_same_bits_whatever_the_order_of_threads(gpu, rng):
    x = rng.normal(size=3000).astype(np.float32)
    results = []
    for order in ("ascending", "descending", "random"):
        with emulation(thread_order=order, block_order=order):
            results.append([wide(a) for a in run(gpu, x, x, 0.5, Key(1, 1))])
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.slow
@pytest.mark.parametrize("sanitize", ["address,undefined", "thread"])
@pytest.mark.parametrize("size", [1, 255, 2500])
def test_sanitizers_find_nothing(gpu, sanitize, size):
    if gpu.name != "emulated":
        pytest.skip("compute-sanitizer looks at the real device: ci/gpu")
    x = np.ones(size, np.float32)
    with emulation(sanitize=sanitize):
        y, _ = run(gpu, x, x, 0.5, Key(1, 1))
    np.testing.assert_array_equal(wide(y), keyed_dropout(x, p=0.5, key=Key(1, 1)).astype(np.float64))
