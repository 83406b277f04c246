from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernel_parity import assert_near, kernel_of, wide
from xnn.backends.emulator import emulation, sparse_array
from xnn.backends.emulator.device import EmulatedArray
from xnn.backends.registry import activate, deactivate

from xnn.functional import cross_entropy

FLOAT32 = np.dtype(np.float32)

# Some lanes of a warp; a block a row; few rows in parts, whose last one is shorter; a gradient in parts.
SHAPES = [(1, 1), (70, 1), (1, 2), (70, 2), (9, 10), (33, 33), (5, 1000), (600, 1100), (3, 9001), (2, 40_001)]


def run(gpu, logits, target, dy=None, weight=None, **options):
    """Loss and gradient of the kernel, on the device."""
    weight = None if weight is None else gpu.asarray(weight)
    loss, backward = kernel_of(cross_entropy)(gpu.asarray(logits), gpu.asarray(target), weight, **options)
    dy = np.ones(loss.shape) if dy is None else dy
    return loss, backward(gpu.asarray(dy.astype(logits.dtype)))


def original(logits, target, dy=None, weight=None, **options):
    weight = None if weight is None else weight.astype(np.float64)
    loss, backward = cross_entropy.vjp(logits.astype(np.float64), target.astype(np.int64), weight, **options)
    return np.asarray(loss), backward(np.ones(loss.shape) if dy is None else dy.astype(np.float64))[0]


def compare(gpu, logits, target, *args, scale=8.0, **options):
    for got, want in zip(
        run(gpu, logits, target, *args, **options), original(logits, target, *args, **options), strict=True
    ):
        assert_near(got, want, logits.dtype, scale=scale)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_parity(gpu, dtype, shape, rng):
    logits = (3 * rng.normal(size=shape)).astype(dtype)
    target = rng.integers(0, shape[1], shape[0])
    compare(gpu, logits, target)


@pytest.mark.parametrize("classes", [7, 1030, 9001])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_options(gpu, classes, reduction, rng):
    rows = 6
    logits = (100 + 3 * rng.normal(size=(rows, classes))).astype(np.float32)
    target = rng.integers(0, classes, rows)
    target[1] = -100
    target[2] = target[3] = 3
    dy = rng.normal(size=(rows,) if reduction == "none" else ())
    weights = (None, rng.uniform(0.5, 2, classes).astype(np.float32))
    for weight, smoothing, ignore_index, index in itertools.product(
        weights, (0.0, 0.1, 1.0), (-100, 3), (np.int32, np.int64)
    ):
        t = np.where(target == -100, ignore_index, target).astype(index)
        compare(
            gpu, logits, t, dy, weight, scale=32,
            reduction=reduction, label_smoothing=smoothing, ignore_index=ignore_index,
        )  # fmt: skip


@pytest.mark.parametrize("index", [np.int8, np.uint8, np.int16])
def test_small_integers(gpu, index, rng):
    compare(gpu, rng.normal(size=(4, 5)), np.asarray([0, 4, 2, 2], dtype=index))


@pytest.mark.parametrize("shape", [(3,), (2, 5, 4), (2, 3, 2, 2), (1, 1200, 3)], ids=str)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_classes_in_the_middle(gpu, shape, reduction, rng):
    samples = shape[:1] + shape[2:] if len(shape) > 1 else ()
    classes = shape[1] if len(shape) > 1 else shape[0]
    target = np.asarray(rng.integers(0, classes, samples))
    compare(gpu, rng.normal(size=shape).astype(np.float32), target, reduction=reduction)


@pytest.mark.parametrize("classes", [5, 1030, 9001])
def test_extreme_rows(gpu, classes, rng):
    logits = rng.normal(size=(6, classes)).astype(np.float32)
    logits[0, 2] = np.nan
    logits[1] = -np.inf
    logits[2, 1:] = -np.inf
    logits[3, 1] = -np.inf
    logits[4] += 1e6
    target = np.asarray([0, 0, 0, 1, 1, 1])
    with np.errstate(all="ignore"):
        want = original(logits, target, reduction="none")
    got = run(gpu, logits, target, reduction="none")
    assert np.isinf(want[0][3])
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(wide(g), w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("classes", [5, 1030, 9001])
@pytest.mark.parametrize("outside", [-1, "classes", 2**31 - 1, -(2**31), 2**40])
def test_target_out_of_range(gpu, classes, outside, rng):
    """NaN for that sample, nothing read with the index, and the others as ever."""
    outside = classes if outside == "classes" else outside
    logits = rng.normal(size=(3, classes)).astype(np.float32)
    target = np.asarray([1, outside, 0])
    weight = np.ones(classes, np.float32)
    loss, gradient = run(gpu, logits, target, None, weight, reduction="none")
    want, want_gradient = original(logits[::2], target[::2], None, weight, reduction="none")
    assert np.isnan(wide(loss)[1])
    assert np.isnan(wide(gradient)[1]).all()
    np.testing.assert_allclose(wide(loss)[::2], want, rtol=1e-5)
    np.testing.assert_allclose(wide(gradient)[::2], want_gradient, rtol=1e-5, atol=1e-6)
    assert np.isnan(wide(run(gpu, logits, target)[0]))


def test_all_ignored(gpu):
    logits = np.zeros((3, 4), np.float32)
    loss, gradient = run(gpu, logits, np.full(3, -100), reduction="sum")
    assert wide(loss) == 0
    assert not wide(gradient).any()
    assert np.isnan(wide(run(gpu, logits, np.full(3, -100))[0]))


def test_any_layout(gpu, rng):
    x = gpu.asarray(rng.normal(size=(40, 37)).astype(np.float32))
    targets = gpu.asarray(rng.integers(0, 9, 80))
    for view in (x.T, x[:, ::2], x[3:, 1:], x[::-1], x[:, 5:15]):
        t = targets[: 2 * view.shape[0] : 2] if view.shape[0] <= 40 else targets
        loss, backward = kernel_of(cross_entropy)(view, t, reduction="none")
        loss0, backward0 = cross_entropy.vjp(wide(view), wide(t).astype(int), reduction="none")
        assert_near(loss, loss0, FLOAT32, scale=8)
        dy = loss[::-1]
        assert_near(backward(dy), backward0(wide(dy))[0], FLOAT32, scale=8)


@pytest.mark.parametrize("offset", range(1, 4))
@pytest.mark.parametrize("classes", [13, 1100])
def test_rows_that_begin_between_vectors(gpu, rng, offset, classes):
    flat = gpu.asarray(rng.normal(size=3 * classes + offset).astype(np.float32))
    logits, target = flat[offset:].reshape(3, classes), gpu.asarray([1, 0, classes - 1])
    loss, backward = kernel_of(cross_entropy)(logits, target)
    loss0, backward0 = cross_entropy.vjp(wide(logits), np.asarray([1, 0, classes - 1]))
    assert_near(loss, np.asarray(loss0), FLOAT32)
    assert_near(backward(gpu.asarray(np.float32(1)).reshape(())), backward0(np.ones(()))[0], FLOAT32, scale=8)


@pytest.mark.parametrize(
    ("logits", "target", "options", "error", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3,), int), {}, ValueError, "expected class indices of shape"),
        (np.zeros((0, 3)), np.zeros((0,), int), {}, ValueError, "mean over an empty batch"),
        (np.zeros((2, 3)), np.zeros((2,), int), {"reduction": "max"}, ValueError, "expected reduction"),
        (np.zeros((2, 3)), np.zeros((2,), int), {"label_smoothing": 2}, ValueError, "label_smoothing in"),
        (np.zeros((2, 3), int), np.zeros((2,), int), {}, TypeError, "floating-point"),
        (
            np.zeros((2, 3)),
            np.zeros((2,), int),
            {"weight": np.zeros(2)},
            ValueError,
            "expected weight of shape",
        ),
    ],
)
def test_errors_are_those_of_the_operation(gpu, logits, target, options, error, message):
    options = {k: gpu.asarray(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    with pytest.raises(error, match=f"cross_entropy: .*{message}"):
        cross_entropy(gpu.asarray(logits), gpu.asarray(target), **options)


def test_left_to_the_operation(gpu, rng):
    """Class probabilities, and no rows at all."""
    logits, q = rng.normal(size=(3, 4)), rng.dirichlet(np.ones(4), 3)
    assert kernel_of(cross_entropy)(gpu.asarray(logits), gpu.asarray(q)) is NotImplemented
    got = cross_entropy(gpu.asarray(logits), gpu.asarray(q))
    np.testing.assert_allclose(wide(got), cross_entropy(logits, q), rtol=1e-14)
    empty = cross_entropy(gpu.asarray(np.zeros((0, 3))), gpu.asarray(np.zeros(0, int)), reduction="sum")
    assert wide(empty) == 0


def test_the_operation_runs_the_kernel(gpu, rng):
    logits, target = gpu.asarray(rng.normal(size=(3, 40))), gpu.asarray([1, 2, 3])
    fused = kernel_of(cross_entropy)
    assert wide(cross_entropy(logits, target)) == wide(fused(logits, target)[0])
    kernels = dict(cross_entropy.kernels)
    try:
        deactivate(type(logits))
        assert type(logits) not in cross_entropy.kernels
    finally:
        activate("cupy", type(logits))
    assert cross_entropy.kernels.keys() == kernels.keys()


@pytest.mark.parametrize("shape", [(700, 10), (5, 1500), (2, 9001)], ids=str)
def test_the_same_bits_whatever_the_order_of_threads(gpu, rng, shape):
    logits, target = rng.normal(size=shape).astype(np.float32), rng.integers(0, shape[1], shape[0])
    results = []
    for order in ("ascending", "descending", "random"):
        with emulation(thread_order=order, block_order=order):
            results.append([wide(a) for a in run(gpu, logits, target, label_smoothing=0.1)])
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("classes", [1025, 4099])
def test_past_2_to_the_31_elements(gpu, rng, classes):
    """Addresses of the last row, in memory that is there only where it is touched."""
    if gpu.name != "emulated":
        pytest.skip("the last block alone runs on the emulated device only")
    rows = 2**31 // classes + 8
    logits = sparse_array((rows, classes), np.float16)
    logits[-1] = rng.normal(size=classes)
    target = sparse_array((rows,), np.int32)
    target[-1] = classes - 1
    want, want_gradient = original(logits[-1:], target[-1:], np.asarray([2.0]), reduction="none")
    shares = -(-rows // 8) if classes == 1025 else rows
    with emulation(only_blocks=[(shares - 1) % 4096]):
        loss, backward = kernel_of(cross_entropy)(
            logits.view(EmulatedArray), target.view(EmulatedArray), reduction="none"
        )
    assert_near(loss[-1:], want, np.dtype(np.float16))
    with emulation(only_blocks=[shares - 1]):
        gradient = backward(np.full(rows, 2, np.float16).view(EmulatedArray))
    assert_near(gradient[-1:], want_gradient, np.dtype(np.float16))


@pytest.mark.slow
@pytest.mark.parametrize("sanitize", ["address,undefined", "thread"])
@pytest.mark.parametrize("shape", [(40, 7), (2, 1031), (1, 9001)], ids=str)
def test_sanitizers_find_nothing(gpu, rng, sanitize, shape):
    if gpu.name != "emulated":
        pytest.skip("compute-sanitizer looks at the real device: ci/gpu")
    logits, target = rng.normal(size=shape).astype(np.float32), rng.integers(0, shape[1], shape[0])
    target[-1] = shape[1]  # past the last logit, and past the last weight
    target[0] = -1  # before the first
    weight = rng.uniform(1, 2, shape[1]).astype(np.float32)
    with emulation(sanitize=sanitize):
        loss, _ = run(gpu, logits, target, None, weight, label_smoothing=0.1, reduction="none")
    assert np.isnan(wide(loss)[0])
