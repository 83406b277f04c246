"""Generators: every draw is named by a key, and another one."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from support import assert_close, host
from xnn.backends import host_random

import xnn
from xnn.random import Generator, Key, default_generator

DRAWS = {
    "uniform": lambda g, **k: g.uniform((50,), **k),
    "normal": lambda g, **k: g.normal((50,), **k),
    "integers": lambda g, **k: g.integers((50,), 0, 1000, **k),
}


@pytest.mark.parametrize("name", DRAWS)
def test_one_seed_gives_the_same_numbers_on_every_device(device, name):
    draw = DRAWS[name]
    dtypes = ["int64", "int32"] if name == "integers" else ["float32", "float64"]
    for dtype in dtypes:
        here = draw(Generator(4), dtype=dtype, device=device)
        assert_close(here, draw(Generator(4), dtype=dtype), rtol=0, atol=0, device=device)


@pytest.mark.parametrize("name", DRAWS)
def test_draws_differ(name):
    g = Generator(0)
    arrays = [DRAWS[name](g) for _ in range(20)] + [DRAWS[name](Generator(seed)) for seed in range(1, 20)]
    assert len({a.tobytes() for a in arrays}) == len(arrays)
    if name == "normal":
        correlations = np.corrcoef(np.stack(arrays)) - np.eye(len(arrays))
        assert np.max(np.abs(correlations)) < 0.6  # of 50 numbers each: 1/7 is one standard deviation


@pytest.mark.parametrize("name", DRAWS)
def test_a_loaded_state_goes_on_with_the_same_numbers(name):
    g = Generator(11)
    for _ in range(3):
        g.normal((5,))
    saved = json.loads(json.dumps(g.state_dict()))
    assert saved == {"seed": 11, "draws": 3}
    expected = [DRAWS[name](g) for _ in range(3)]
    other = Generator(None)
    other.load_state_dict(saved)
    for a in expected:
        np.testing.assert_array_equal(a, DRAWS[name](other))


def test_a_key_names_its_numbers():
    g = Generator(9)
    keys = [g.next_key() for _ in range(3)]
    assert keys == [Key(9, 0), Key(9, 1), Key(9, 2)]
    again = host_random.normal(keys[1], (4,), 0.0, 1.0, "float32")
    for key, same in ((Key(9, 1), True), (Key(9, 2), False), (Key(8, 1), False)):
        assert np.array_equal(again, host_random.normal(key, (4,), 0.0, 1.0, "float32")) == same
    g.manual_seed(9)
    g.next_key()
    np.testing.assert_array_equal(again, g.normal((4,)))


def test_numbers_stay_the_same_from_version_to_version():
    g = Generator(0)
    assert_close(g.uniform((2,), dtype="float64"), np.asarray([0.01154675, 0.2415492]), atol=1e-8)


def test_the_distributions():
    n = 100_000
    u = Generator(1).uniform((n,), -1.0, 3.0, dtype="float64")
    assert -1 <= u.min() < -0.999
    assert 2.999 < u.max() < 3
    assert abs(u.mean() - 1) < 4 * math.sqrt(16 / 12 / n)
    z = Generator(2).normal((n,), 5.0, 0.5, dtype="float64")
    assert abs(z.mean() - 5) < 4 * 0.5 / math.sqrt(n)
    assert abs(z.std() - 0.5) < 4 * 0.5 / math.sqrt(2 * n)
    k = Generator(3).integers((n,), -2, 4)
    assert set(np.unique(k)) == set(range(-2, 4))
    assert np.all(np.abs(np.bincount(k + 2) - n / 6) < 4 * math.sqrt(n * 5 / 36))


def test_uniform_never_reaches_its_upper_bound():
    # Between these bounds float32 has two numbers, and half of the sums are rounded up to the second.
    low, high = 1.0, float(np.nextafter(np.float32(1), np.float32(2)))
    assert_close(Generator(0).uniform((100,), low, high), np.ones(100, dtype="float32"), rtol=0, atol=0)
    assert_close(Generator(0).uniform((3,), 2.0, 2.0), np.full(3, 2.0, dtype="float32"))


def test_float64_has_53_random_bits(device):
    for x in (
        Generator(0).uniform((100,), dtype="float64", device=device),
        Generator(0).normal((100,), dtype="float64"),
    ):
        values = host(x)
        assert np.mean(values.astype("float32") == values) < 0.05


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_permutations(n):
    g = Generator(6)
    a, b = g.permutation(n), g.permutation(n)
    assert a.dtype == np.int64
    np.testing.assert_array_equal(np.sort(a), np.arange(n))
    np.testing.assert_array_equal(np.sort(b), np.arange(n))
    if n == 1000:
        assert np.mean(a == b) < 0.02
        assert np.mean(a == np.arange(n)) < 0.02


def test_all_orders_are_equally_likely():
    g = Generator(8)
    orders = [tuple(g.permutation(3)) for _ in range(1200)]
    counts = np.asarray([orders.count(o) for o in set(orders)])
    assert counts.size == 6
    assert ((counts - 200) ** 2 / 200).sum() < 26  # chi square of 5 degrees of freedom: 1e-4


def test_shapes():
    g = Generator(0)
    for shape in ((), (0,), (2, 3)):
        assert (
            g.uniform(shape).shape
            == g.normal(shape, 1.0, 2.0).shape
            == g.integers(shape, 0, 2).shape
            == shape
        )


def test_manual_seed_starts_the_default_generator_again():
    assert xnn.manual_seed(21) is default_generator
    a = default_generator.normal((3,))
    default_generator.normal((3,))
    xnn.manual_seed(21)
    np.testing.assert_array_equal(a, default_generator.normal((3,)))


def test_seeds():
    large = Generator(2**128 - 1).uniform((3,))
    assert not np.array_equal(large, Generator(2**64 - 1).uniform((3,)))
    assert Generator(np.int64(7)).state_dict() == {"seed": 7, "draws": 0}
    assert type(Generator(np.int64(7)).seed) is int
    assert Generator(None).seed != Generator(None).seed


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Generator(-1), r"seed: expected an integer in \[0, 2\*\*128\), got -1"),
        (lambda: Generator(2**128), "expected an integer"),
        (lambda: Generator(1.5), "got 1.5"),
        (lambda: xnn.manual_seed("seven"), "got 'seven'"),
        (
            lambda: Generator().load_state_dict({"seed": 1}),
            r"expected the entries 'seed' and 'draws', got \['seed'\]",
        ),
        (lambda: Generator().load_state_dict({"seed": 1, "draws": -1}), "expected draws >= 0, got -1"),
        (
            lambda: Generator().uniform((2,), 1.0, 0.0),
            "uniform: expected low <= high, got low=1.0 and high=0.0",
        ),
        (lambda: Generator().normal((2,), 0.0, -1.0), "normal: expected std >= 0, got -1.0"),
        (lambda: Generator().integers((2,), 3, 3), "integers: expected low < high, got low=3 and high=3"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_state_that_is_refused_changes_nothing():
    g = Generator(3)
    g.next_key()
    with pytest.raises(ValueError, match="seed"):
        g.load_state_dict({"seed": -5, "draws": 9})
    assert g.state_dict() == {"seed": 3, "draws": 1}
