from __future__ import annotations

import numpy as np
import pytest
from kernel_parity import assert_near, kernel_of, wide
from xnn.backends.emulator import emulation, sparse_array
from xnn.backends.emulator.device import EmulatedArray

import xnn
from xnn.functional import batch_norm, batch_norm_training

FLOAT32 = np.dtype(np.float32)

# A channel in shared memory; sums along rows, by lanes and by whole blocks, also of one sample in parts; sums down
# columns, one or several to a channel. Channels and values of each few and many.
FUSED = [
    (2, 1),
    (37, 1),
    (5, 3),
    (64, 40),
    (3, 2, 5),
    (2, 3, 4, 4),
    (2, 1, 130),
    (1, 2, 3000),
    (9, 2, 2, 2, 3),
]
ROWS = [(7, 2, 1700), (2, 3, 6100), (1, 2, 40_001), (40, 1, 301)]
COLUMNS = [(6200, 2), (2100, 45), (1600, 3, 8), (300, 128, 7)]


def inputs(rng, shape, dtype):
    """x, weight, bias, dy, and gradients of mean and variance."""
    channels = shape[1:2]
    x = rng.normal(size=shape) * rng.uniform(0.5, 2, channels).reshape(-1, *[1] * (len(shape) - 2)) + 1
    arrays = [x, *(rng.normal(size=channels) for _ in range(2)), rng.normal(size=shape)]
    return [a.astype(dtype) for a in arrays], [rng.normal(size=channels).astype(dtype) for _ in range(2)]


def run(gpu, x, weight, bias, dy, dmean, dvar, eps=0.1):
    """Results and gradients of the kernel, on the device."""
    x, weight, bias, dy, dmean, dvar = (
        None if a is None else gpu.asarray(a) for a in (x, weight, bias, dy, dmean, dvar)
    )
    results, backward = kernel_of(batch_norm_training)(x, weight, bias, eps)
    return [*results, *backward((dy, dmean, dvar))]


def original(x, weight, bias, dy, dmean, dvar, eps=0.1):
    x, weight, bias, dy, dmean, dvar = (
        None if a is None else wide(a) for a in (x, weight, bias, dy, dmean, dvar)
    )
    results, backward = batch_norm_training.vjp(x, weight, bias, eps)
    return [*results, *backward((dy, dmean, dvar))]


def compare(got, want, dtype, scale=16):
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        if b is None:
            assert a is None
        else:
            assert_near(a, np.asarray(b), dtype, scale=scale)


@pytest.mark.parametrize("shape", FUSED, ids=str)
def test_parity(gpu, dtype, shape, rng):
    arrays, gradients = inputs(rng, shape, dtype)
    compare(run(gpu, *arrays, *gradients), original(*arrays, *gradients), dtype)


@pytest.mark.parametrize("shape", ROWS + COLUMNS, ids=str)
def test_parity_in_two_steps(gpu, shape, rng):
    arrays, gradients = inputs(rng, shape, FLOAT32)
    compare(run(gpu, *arrays, *gradients), original(*arrays, *gradients), FLOAT32)


@pytest.mark.parametrize("shape", [(2, 2, 13_000), (16, 3, 2003), (1100, 48), (1100, 7)], ids=str)
def test_parity_in_two_steps_of_every_dtype(gpu, dtype, shape, rng, monkeypatch):
    without_fusing(monkeypatch)
    arrays, gradients = inputs(rng, shape, dtype)
    compare(run(gpu, *arrays, *gradients), original(*arrays, *gradients), dtype)


def without_fusing(monkeypatch):
    import xnn.backends.cupy.kernels.batch_norm as module

    monkeypatch.setattr(module, "_KEPT_BYTES", 0)


@pytest.mark.parametrize("shape", [(6, 3), (70, 5), (17, 3, 5), (2, 3, 37), (3, 4, 1100)], ids=str)
def test_small_arrays_in_two_steps(gpu, shape, rng, monkeypatch):
    without_fusing(monkeypatch)
    arrays, gradients = inputs(rng, shape, FLOAT32)
    compare(run(gpu, *arrays, *gradients), original(*arrays, *gradients), FLOAT32)


@pytest.mark.parametrize("shape", [(5, 3), (40, 4), (2, 3, 4, 4), (16, 2, 3, 3), (3, 2, 2000)], ids=str)
@pytest.mark.parametrize("affine", [True, False])
def test_given_statistics(gpu, dtype, shape, affine, rng):
    (x, weight, bias, dy), (mean, var) = inputs(rng, shape, dtype)
    of_channels = [mean, np.abs(var), *([weight, bias] if affine else [])]
    y, backward = kernel_of(batch_norm)(*(gpu.asarray(a) for a in (x, *of_channels)), eps=0.1)
    y0, backward0 = batch_norm.vjp(*(wide(a) for a in (x, *of_channels)), eps=0.1)
    compare([y, *backward(gpu.asarray(dy))], [y0, *backward0(wide(dy))], dtype)


def test_parameters_are_optional(gpu, rng, monkeypatch):
    for shape in ((9, 4), (2, 3, 40)):
        (x, weight, bias, dy), gradients = inputs(rng, shape, FLOAT32)
        for parameters in ((None, None), (weight, None), (None, bias)):
            compare(
                run(gpu, x, *parameters, dy, *gradients), original(x, *parameters, dy, *gradients), FLOAT32
            )
            with monkeypatch.context() as patch:
                without_fusing(patch)
                compare(
                    run(gpu, x, *parameters, dy, *gradients),
                    original(x, *parameters, dy, *gradients),
                    FLOAT32,
                )


@pytest.mark.parametrize("fuse", [True, False])
def test_only_what_is_needed_is_computed(gpu, fuse, rng, monkeypatch):
    if not fuse:
        without_fusing(monkeypatch)
    (x, weight, bias, dy), (dmean, dvar) = (
        [gpu.asarray(a) for a in of] for of in inputs(rng, (4, 3, 5), FLOAT32)
    )
    _, backward = kernel_of(batch_norm_training)(x, weight, bias)
    everything = backward((dy, dmean, dvar))
    dx, dweight, dbias = backward((dy, dmean, dvar), (False, True, True))
    assert dx is None
    np.testing.assert_allclose(wide(dweight), wide(everything[1]), rtol=1e-5)
    np.testing.assert_allclose(wide(dbias), wide(everything[2]), rtol=1e-5)
    _, backward = kernel_of(batch_norm)(x, dmean, dvar**2, weight, bias)
    for needs in (
        (True, False, False, False, False),
        (False, False, False, True, False),
        (False,) * 4 + (True,),
    ):
        assert tuple(g is not None for g in backward(dy, needs)) == needs


@pytest.mark.parametrize("fuse", [True, False])
def test_any_layout(gpu, fuse, rng, monkeypatch):
    """Views: transposed, every other column, beginning anywhere between two vectors."""
    if not fuse:
        without_fusing(monkeypatch)
    x = gpu.asarray(rng.normal(size=(20, 6, 37)).astype(np.float32))
    for view in (x.T, x[:, ::2], x[3:, 1:], x[::-1], x[..., 5:6], x[..., 0], x[:, :, 1], x[:, 0].T):
        (y, *_), backward = batch_norm_training.vjp(view)
        (y0, *_), backward0 = batch_norm_training.vjp(wide(view))
        assert_near(y, y0, FLOAT32, scale=16)
        zeros = gpu.asarray(np.zeros(view.shape[1], np.float32))
        turned = y.T.copy().T ** 2
        dx, *_ = backward((turned, zeros, zeros))
        assert_near(dx, backward0((wide(turned), wide(zeros), wide(zeros)))[0], FLOAT32, scale=64)


@pytest.mark.parametrize("offset", range(4))
@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("shape", [(3, 2, 36), (18, 8), (2, 1, 1100)], ids=str)
def test_arrays_that_begin_between_vectors(gpu, shape, fuse, offset, rng, monkeypatch):
    if not fuse:
        without_fusing(monkeypatch)
    arrays, gradients = inputs(rng, shape, FLOAT32)

    def moved(a, by):
        flat = gpu.asarray(np.concatenate([np.zeros(by, np.float32), a.reshape(-1)]))
        return flat[by:].reshape(a.shape)

    want = original(*arrays, *gradients)
    for which in (0, 3):
        x, weight, bias, dy, dmean, dvar = (
            moved(a, offset if i == which else 0) for i, a in enumerate([*arrays, *gradients])
        )
        results, backward = kernel_of(batch_norm_training)(x, weight, bias, 0.1)
        compare([*results, *backward((dy, dmean, dvar))], want, FLOAT32)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("shape", [(40, 4), (4, 3, 65), (3, 3, 1100)], ids=str)
def test_extreme_channels_stay_among_themselves(gpu, shape, fuse, rng, monkeypatch):
    if not fuse:
        without_fusing(monkeypatch)
    arrays, gradients = inputs(rng, shape, FLOAT32)
    x = arrays[0]
    x[1, 0] = np.nan
    x[0, 1] = np.inf
    x[:, 2] = 7.0  # no variance
    with np.errstate(all="ignore"):
        want = original(*arrays, *gradients)
    got = run(gpu, *arrays, *gradients)
    assert np.isnan(wide(got[0])[:, 0]).all()
    assert not np.isfinite(wide(got[0])[:, 1]).any()
    for i in (0, 3):
        np.testing.assert_allclose(wide(got[i])[:, 2:], np.asarray(want[i])[:, 2:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("shape", [(300, 3), (4, 2, 300), (2, 2, 1500)], ids=str)
def test_large_mean_loses_no_digits(gpu, shape, fuse, rng, monkeypatch):
    if not fuse:
        without_fusing(monkeypatch)
    x = (4096 + 0.1 * rng.normal(size=shape)).astype(np.float32)
    (y, mean, var), _ = kernel_of(batch_norm_training)(gpu.asarray(x))
    (y0, mean0, var0), _ = batch_norm_training.vjp(wide(x))
    np.testing.assert_allclose(wide(var), var0, rtol=1e-3)  # E x² - μ² has no digit left
    np.testing.assert_allclose(wide(mean), mean0, rtol=1e-7)
    np.testing.assert_allclose(wide(y), y0, atol=1e-2)


def test_through_the_operations_and_left_to_them(gpu, rng):
    fused, given = kernel_of(batch_norm_training), kernel_of(batch_norm)
    x, w = gpu.asarray(rng.normal(size=(4, 3))), gpu.asarray(rng.normal(size=3))
    wrong = gpu.asarray(np.ones(3, "float32"))
    for arguments in ((x[0],), (x, w[:2]), (x, wrong), (x[:1],), (x[:0],), (x[:, :0],)):
        assert fused(*arguments) is NotImplemented
    for arguments in ((x[0], w, w), (x, w[:2], w), (x, w, wrong), (x[:0], w, w)):
        assert given(*arguments) is NotImplemented
    with pytest.raises(ValueError, match="batch_norm_training: expected more than 1 value per channel"):
        batch_norm_training(x[:1])
    with pytest.raises(TypeError, match="batch_norm: expected x and running_var of one"):
        batch_norm(x, w, wrong)
    assert batch_norm(x[:0], w, w**2).shape == (0, 3)


def test_a_layer_trains_as_with_the_operation(gpu, rng):
    """Through the tape, which gives zeros as gradients of mean and variance."""
    x = rng.normal(size=(5, 3, 6)).astype(np.float32)
    gradients = []
    for kernels in (True, False):
        layer = xnn.nn.BatchNorm1d(3).to(gpu)
        leaf = xnn.Tensor(gpu.asarray(x), requires_grad=True)
        if kernels:
            xnn.sum(layer(leaf) ** 3).backward()
        else:
            with xnn.backends.without_kernels():
                xnn.sum(layer(leaf) ** 3).backward()
        gradients.append(
            [wide(a) for a in (leaf.grad, layer.weight.grad, layer.bias.grad, layer.running_var)]
        )
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(40, 5), (3, 2, 40), (16, 3, 70), (2, 1, 1100)], ids=str)
@pytest.mark.parametrize("fuse", [True, False])
def test_the_same_bits_whatever_the_order_of_threads(gpu, shape, fuse, rng, monkeypatch):
    if not fuse:
        without_fusing(monkeypatch)
    arrays, gradients = inputs(rng, shape, FLOAT32)
    results = []
    for order in ("ascending", "descending", "random"):
        with emulation(thread_order=order, block_order=order):
            results.append([wide(a) for a in run(gpu, *arrays, *gradients)])
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(70_000, 8, 4000), (2**31 // 128 + 8, 128)], ids=str)
def test_more_elements_than_32_bits_count(gpu, shape, rng):
    """The block with the last values alone, over memory that is not there until it is written."""
    if gpu.name != "emulated":
        pytest.skip("one block alone runs on the emulated device only")
    x = sparse_array(shape, np.float16)
    x[-1, -1] = rng.normal(size=shape[2:])
    mean, var = (np.full(shape[1], v, np.float16).view(EmulatedArray) for v in (0.5, 4.0))
    # Blocks go backwards. Of the rows, 2048 blocks: the last sample is for block 69,999 modulo 256 of the last channel.
    block = 0 if len(shape) == 2 else 2047 - (69_999 % 256 * 8 + 7)
    with emulation(only_blocks=[block]):
        y, _ = kernel_of(batch_norm)(x.view(EmulatedArray), mean, var)
    assert_near(y[-1, -1], (wide(x[-1, -1]) - 0.5) / np.sqrt(4.0 + 1e-5), np.dtype(np.float16))


@pytest.mark.slow
@pytest.mark.parametrize("sanitize", ["address,undefined", "thread"])
@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("shape", [(9, 5), (20, 8), (2, 2, 37), (1, 2, 1101)], ids=str)
def test_sanitizers_find_nothing(gpu, sanitize, fuse, shape, rng, monkeypatch):
    if gpu.name != "emulated":
        pytest.skip("compute-sanitizer looks at the real device: ci/gpu")
    if not fuse:
        without_fusing(monkeypatch)
    arrays, gradients = inputs(rng, shape, FLOAT32)
    with emulation(sanitize=sanitize):
        got = run(gpu, *arrays, *gradients)
    compare(got, original(*arrays, *gradients), FLOAT32)
