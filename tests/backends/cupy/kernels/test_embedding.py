from __future__ import annotations

import numpy as np
import pytest
from kernel_parity import assert_near, kernel_of, wide
from xnn.backends.emulator import emulation, sparse_array
from xnn.backends.emulator.device import EmulatedArray

import xnn
from xnn.functional import embedding

FLOAT32 = np.dtype(np.float32)


def run(gpu, indices, weight, dy=None, padding_idx=None, **options):
    """Result and gradient of the kernel, on the device."""
    y, backward = kernel_of(embedding)(gpu.asarray(indices), gpu.asarray(weight), padding_idx, **options)
    return y, backward(gpu.asarray(np.zeros(y.shape, weight.dtype) if dy is None else dy))[1]


def exact(indices, weight, dy, padding_idx=None, scale_grad_by_freq=False):
    """Result and gradient in float64, by NumPy's own indexed addition. Indices out of range count for nothing."""
    rows = len(weight)
    inside = (indices >= 0) & (indices < rows)
    y = np.where(inside[..., None], weight.astype(np.float64)[np.where(inside, indices, 0)], np.nan)
    dw = np.zeros(weight.shape)
    keep = inside & (indices != (-rows - 1 if padding_idx is None else padding_idx % rows))
    np.add.at(dw, indices[keep], dy.astype(np.float64)[keep])
    if scale_grad_by_freq:
        dw /= np.maximum(np.bincount(indices[inside], minlength=rows), 1)[:, None]
    return y, dw


def compare(gpu, indices, weight, rng, **options):
    dy = rng.normal(size=(*indices.shape, weight.shape[1])).astype(weight.dtype)
    y, dw = run(gpu, indices, weight, dy, **options)
    y0, dw0 = exact(indices, weight, dy, **options)
    np.testing.assert_array_equal(wide(y), y0)
    assert y.dtype == weight.dtype
    assert_near(dw, dw0, weight.dtype)


# Fewer columns than a vector has, vectors or not, one tile or several.
@pytest.mark.parametrize("columns", [1, 3, 8, 33, 64, 520])
def test_parity(gpu, dtype, columns, rng):
    weight = rng.normal(size=(11, columns)).astype(dtype)
    for shape in [(), (1,), (31,), (32,), (33,), (2, 3, 7), (300,)]:
        compare(gpu, np.asarray(rng.integers(0, 11, shape)), weight, rng)


def runs(*lengths):
    """Row 0 so many times, then row 1, ..."""
    return np.repeat(np.arange(len(lengths)), lengths)


# Chunks have 32 terms: rows that end with a chunk, begin with one, fill several, and all of these side by side.
@pytest.mark.parametrize(
    "indices",
    [
        *(runs(32, 32), runs(31, 2, 31), runs(64), runs(1, 64, 1), runs(33, 31)),
        *(runs(0, 5, 0, 600, 1), runs(1000), runs(*[3] * 70)),
    ],
    ids=lambda i: str(np.bincount(i).tolist())[:30],
)
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("by_frequency", [False, True])
def test_rows_that_span_chunks(gpu, indices, shuffle, by_frequency, rng):
    if shuffle:
        indices = rng.permutation(indices)
    rows = int(indices.max()) + 2
    for index in (np.int32, np.int64):
        weight = rng.normal(size=(rows, 5)).astype(np.float32)
        compare(gpu, indices.astype(index), weight, rng, scale_grad_by_freq=by_frequency)
    compare(gpu, indices, weight, rng, padding_idx=-1, scale_grad_by_freq=by_frequency)
    compare(gpu, indices, weight, rng, padding_idx=1, scale_grad_by_freq=by_frequency)


@pytest.mark.parametrize("index", [np.int8, np.uint8, np.int16, np.uint32])
def test_other_integers(gpu, index, rng):
    compare(gpu, np.asarray([0, 99, 3, 3]).astype(index), rng.normal(size=(300, 4)), rng)


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("columns", [3, 8])
def test_index_out_of_range(gpu, index, columns, rng):
    """NaN in its place, no gradient, and nothing read or written with it."""
    high = 2**62 if index is np.int64 else 2**31 - 1
    indices = np.asarray([0, -1, 4, high, 5, -high, 2] + [6, -7] * 50).astype(index)
    compare(gpu, indices, rng.normal(size=(5, columns)).astype(np.float32), rng)


def test_sums_of_half_precision_are_those_of_float32(gpu):
    indices, dy = np.zeros(5000, int), np.full((5000, 2), 0.1, np.float16)
    dw = run(gpu, indices, np.zeros((3, 2), np.float16), dy)[1]
    np.testing.assert_allclose(wide(dw)[0], 5000 * float(np.float16(0.1)), rtol=5e-4)


def test_any_layout(gpu, rng):
    weight = gpu.asarray(rng.normal(size=(37, 40)).astype(np.float32))
    indices = gpu.asarray(rng.integers(0, 20, (6, 8)))
    for table in (weight.T, weight[:, ::2], weight[3:, 1:], weight[::-1], weight[:, 5:6]):
        for places in (indices, indices.T, indices[::2, 1::3]):
            y, backward = embedding.vjp(places, table)
            dy = y[::-1]
            y0, dw0 = exact(wide(places).astype(int), wide(table), wide(dy))
            np.testing.assert_array_equal(wide(y), y0)
            assert_near(backward(dy, (False, True))[1], dw0, FLOAT32)


@pytest.mark.parametrize("offset", [1, 3])
def test_arrays_that_begin_between_vectors(gpu, offset, rng):
    weight = gpu.asarray(rng.normal(size=9 * 12 + offset).astype(np.float32))[offset:].reshape(9, 12)
    dy = gpu.asarray(rng.normal(size=50 * 12 + 1).astype(np.float32))[1:].reshape(50, 12)
    indices = rng.integers(0, 9, 50)
    y, backward = kernel_of(embedding)(gpu.asarray(indices), weight)
    y0, dw0 = exact(indices, wide(weight), wide(dy))
    np.testing.assert_array_equal(wide(y), y0)
    assert_near(backward(dy)[1], dw0, FLOAT32)


def test_left_to_the_operation(gpu):
    table = gpu.asarray(np.zeros((5, 2)))
    with pytest.raises(TypeError, match="embedding: expected indices of an integer dtype, got float64"):
        embedding(gpu.asarray([0.0]), table)
    with pytest.raises(ValueError, match="embedding: expected weight of shape"):
        embedding(gpu.asarray([0]), gpu.asarray(np.zeros(5)))
    with pytest.raises(ValueError, match="embedding: expected padding_idx"):
        embedding(gpu.asarray([0]), table, 5)
    with pytest.raises(TypeError, match="embedding: expected a real floating-point dtype"):
        embedding(gpu.asarray([0]), gpu.asarray(np.zeros((5, 2), int)))
    for indices, shape in ((np.zeros((0, 3), int), (5, 2)), (np.zeros(3, int), (5, 0))):
        y, backward = embedding.vjp(gpu.asarray(indices), gpu.asarray(np.zeros(shape)))
        assert y.shape == (*indices.shape, shape[1])
        assert backward(y, (False, True))[1].shape == shape


def test_a_layer_trains_with_the_kernel(gpu, monkeypatch, rng):
    layer = xnn.nn.Embedding(6, 4, padding_idx=2, device=gpu)
    indices = rng.integers(0, 6, (3, 5))
    xnn.sum(layer(gpu.asarray(indices)) * 2.0).backward()
    _, want = exact(indices, np.zeros((6, 4)), np.full((3, 5, 4), 2.0), 2)
    np.testing.assert_allclose(wide(layer.weight.grad), want)


def test_a_table_of_more_elements_than_32_bits_count(gpu, rng):
    """Its last row, over memory that is not there until it is written."""
    if gpu.name != "emulated":
        pytest.skip("a real device has no memory that is not there")
    rows, columns = 2**31 // 64 + 8, 64
    weight = sparse_array((rows, columns), np.float16)
    weight[-1] = rng.normal(size=columns)
    dy = rng.normal(size=(3, columns)).astype(np.float16)
    y, backward = kernel_of(embedding)(gpu.asarray([rows - 1, 0, rows - 1]), weight.view(EmulatedArray))
    np.testing.assert_array_equal(wide(y), wide(weight[[-1, 0, -1]]))
    _, dweight = backward(gpu.asarray(dy))
    assert_near(dweight[-1], wide(dy[0]) + wide(dy[2]), np.dtype(np.float16))
    assert_near(dweight[0], wide(dy[1]), np.dtype(np.float16))


def test_the_same_bits_whatever_the_order_of_threads(gpu, rng):
    indices, weight = (rng.zipf(1.3, 500) % 40), np.zeros((40, 36), np.float32)
    dy = rng.normal(size=(500, 36)).astype(np.float32)
    results = []
    for order in ("ascending", "descending", "random"):
        with emulation(thread_order=order, block_order=order):
            results.append(wide(run(gpu, indices, weight, dy)[1]))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.slow
@pytest.mark.parametrize("sanitize", ["address,undefined", "thread"])
@pytest.mark.parametrize("columns", [3, 40])
def test_sanitizers_find_nothing(gpu, sanitize, columns, rng):
    if gpu.name != "emulated":
        pytest.skip("compute-sanitizer looks at the real device: ci/gpu")
    indices, weight = (
        rng.permutation(runs(1, 100, 3, 20)) - 1,
        rng.normal(size=(3, columns)).astype(np.float32),
    )
    with emulation(sanitize=sanitize):
        compare(gpu, indices, weight, rng)
