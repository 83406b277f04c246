from __future__ import annotations

import numpy as np
import pytest
from kernel_parity import wide
from xnn.backends.cupy.kernels.uniform import fill_uniform
from xnn.backends.emulator import emulation
from xnn.backends.numpy import random as host_random

import xnn
from xnn.random import Generator, Key

KEYS = [Key(0, 0), Key(2**64 + 5, 2**64 - 1), Key(2**128 - 1, 3)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize(
    "limits", [(0.0, 1.0), (-0.25, 0.25), (3.0, 3.0), (1e6, 1e6 + 0.1), (-1.0, 1e-3)], ids=str
)
def test_the_bits_are_those_of_the_host(gpu, dtype, key, limits):
    for shape in [(), (1,), (3, 5), (8,), (2, 1029)]:
        out = gpu.xp.empty(shape, dtype=gpu.dtype(dtype))
        assert fill_uniform(out, key, *limits)
        want = np.asarray(host_random.uniform(key, shape, *limits, dtype))
        np.testing.assert_array_equal(wide(out), want.astype(np.float64))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_views(gpu, dtype):
    whole = gpu.xp.zeros(100, dtype=gpu.dtype(dtype))
    assert fill_uniform(whole[1:90], Key(1, 1))
    values = wide(whole)
    np.testing.assert_array_equal(values[1:90], host_random.uniform(Key(1, 1), (89,), 0.0, 1.0, dtype))
    assert not values[[0, *range(90, 100)]].any()


def test_nothing_to_fill_and_keys_that_are_too_large(gpu):
    assert fill_uniform(gpu.xp.zeros((0, 3), dtype=gpu.dtype("float32")), Key(0, 0))
    out = gpu.xp.zeros(3, dtype=gpu.dtype("float32"))
    assert not fill_uniform(out, Key(0, 2**64))
    assert not wide(out).any()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_generators_draw_on_the_device(gpu, dtype, monkeypatch):
    want = Generator(5).uniform((4, 5), -3.0, 7.0, dtype=dtype)
    with monkeypatch.context() as patch:
        patch.setattr(host_random, "uniform", lambda *_: pytest.fail("drawn on the host"))
        got = Generator(5).uniform((4, 5), -3.0, 7.0, dtype=dtype, device=gpu)
        weight = xnn.nn.Linear(3, 4, device=gpu).weight
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(wide(got), want.astype(np.float64))
    xnn.manual_seed(0)
    np.testing.assert_array_equal(wide(weight), wide(xnn.nn.Linear(3, 4).weight))
    with xnn.backends.without_kernels():
        got = Generator(5).uniform((4, 5), -3.0, 7.0, dtype=dtype, device=gpu)
    np.testing.assert_array_equal(wide(got), want.astype(np.float64))


@pytest.mark.slow
@pytest.mark.parametrize("sanitize", ["address,undefined", "thread"])
def test_sanitizers_find_nothing(gpu, sanitize):
    if gpu.name != "emulated":
        pytest.skip("compute-sanitizer looks at the real device: ci/gpu")
    out = gpu.xp.zeros(2501, dtype=gpu.dtype("float32"))
    with emulation(sanitize=sanitize):
        assert fill_uniform(out, Key(1, 1))
    np.testing.assert_array_equal(wide(out), host_random.uniform(Key(1, 1), (2501,), 0.0, 1.0, "float32"))
