from __future__ import annotations

import gc

import pytest
from bench.fakes import CEILINGS, FakeMeter
from xnn.backends.registry import Work

import xnn
from xnn.bench.ceilings import measure_ceilings
from xnn.bench.inputs import copied, itemsize, nbytes, random_array
from xnn.bench.measure import Candidate, alternate, quartiles, rotate


def test_times_are_those_of_the_clock():
    meter = FakeMeter()
    times = alternate(
        {"a": lambda: meter.spend(2.0), "b": lambda: meter.spend(3.0)},
        meter=meter,
        rounds=5,
        seconds_per_round=10.0,
    )
    assert times["a"].median == pytest.approx(2.0, abs=1e-5)
    assert times["b"].ratio == pytest.approx((1.5, 1.5, 1.5), rel=1e-5)
    assert times["a"].ratio == (1.0, 1.0, 1.0)
    assert len(times["a"].samples) == 5


def test_functions_take_turns_after_warm_up():
    meter, order = FakeMeter(), []

    def function(name):
        def call():
            order.append(name)
            meter.spend(1.0)

        return call

    alternate({"a": function("a"), "b": function("b")}, meter=meter, rounds=2, seconds_per_round=0)
    assert "".join(order) == "aabb" + "ab" * 3


def test_short_functions_are_repeated_within_a_round():
    meter, calls = FakeMeter(), []
    alternate(
        {"a": lambda: (calls.append(1), meter.spend(0.01))}, meter=meter, rounds=1, seconds_per_round=0.0999
    )
    assert len(calls) == 2 + 2 * 9


def test_the_time_limit_makes_fewer_rounds_but_three():
    meter = FakeMeter()
    for limit, rounds in ((10.0, 9), (1.0, 3), (1000.0, 30)):
        times = alternate(
            {"a": lambda: meter.spend(1.0)}, meter=meter, rounds=30, seconds_per_round=0, seconds=limit
        )
        assert len(times["a"].samples) == pytest.approx(rounds, abs=1)


def test_a_spike_moves_no_median():
    meter, durations = FakeMeter(), iter([1.0, 1.0, 1.0, *[1.0, 1.0, 90.0, 1.0, 1.0]])
    times = alternate({"a": lambda: meter.spend(next(durations))}, meter=meter, rounds=5, seconds_per_round=0)
    assert times["a"].median == pytest.approx(1.0, abs=1e-5)


def test_what_must_hold_around_a_candidate_holds_whenever_it_runs():
    meter, state = FakeMeter(), []

    class Around:
        def __enter__(self):
            state.append("in")

        def __exit__(self, *_):
            state.pop()

    seen = []
    alternate(
        {"a": Candidate(lambda: seen.append(list(state)), Around)}, meter=meter, rounds=1, seconds_per_round=0
    )
    assert seen
    assert all(s == ["in"] for s in seen)
    assert state == []


def test_the_garbage_collector_is_left_as_it_was():
    def fail():
        if calls.append(1) or len(calls) > 2:
            assert not gc.isenabled()
            raise ZeroDivisionError

    calls: list[int] = []
    with pytest.raises(ZeroDivisionError):
        alternate({"a": fail}, meter=FakeMeter(), seconds_per_round=0)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_rotate_takes_inputs_in_turn():
    seen = []
    call = rotate([lambda i=i: seen.append(i) for i in range(3)])
    for _ in range(5):
        call()
    assert seen == [0, 1, 2, 0, 1]


def test_quartiles():
    assert quartiles([3.0]) == (3.0, 3.0, 3.0)
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 3.0, 4.0)


def test_least_time_is_the_longer_of_moving_and_computing():
    assert CEILINGS.least_seconds(Work(1000, 1), "float32") == 1e-6
    assert CEILINGS.least_seconds(Work(1, 10_000), "float32") == 1e-6
    assert CEILINGS.least_seconds(Work(1, 10_000), "float64") == 2e-6
    assert (
        CEILINGS.least_seconds(Work(1000, 10**9), "float16") == 1e-6
    )  # a rate that was not measured is no limit


def test_ceilings_count_bytes_read_and_written_and_operations():
    class Slow(FakeMeter):
        def seconds(self, run):  # whatever it is, it takes a second
            super().seconds(run)
            return 1.0

    found = measure_ceilings(Slow(), ["float32", "bfloat16"], seconds=0.1)
    assert found.bandwidth == 2 * found.copied == 2 * (2**24 // 8)
    assert found.rates == {"float32": 2.0 * 256**3}
    assert found.sizes == {"float32": 256}


def test_a_large_copy_copies_everything():
    meter, cpu = FakeMeter(), xnn.device("cpu")
    source = random_array(cpu, (1001, 3), "float32")
    target = cpu.xp.zeros_like(source)
    meter.copy(target, source)
    assert (target == source).all()


def test_random_arrays_differ_by_seed_and_have_no_zeros():
    cpu = xnn.device("cpu")
    x = random_array(cpu, (3, 500_000), "float32")
    assert x.shape == (3, 500_000)
    assert (x != 0).all()
    assert not (x[0] == random_array(cpu, (500_000,), "float32", seed=1)).any()


def test_copies_share_nothing():
    cpu = xnn.device("cpu")
    x = random_array(cpu, (4,), "float64")
    given = ((x, [x], 3), {"state": {"x": x}})
    (y, [z], n), options = copied(cpu, given)
    for a in (y, z, options["state"]["x"]):
        assert (a == x).all()
        a += 1
        assert (a != x).all()
    assert n == 3
    assert nbytes(given) == 3 * 32


def test_itemsize_by_name():
    names = ("bool", "int8", "bfloat16", "float32", "float64")
    assert [itemsize(n) for n in names] == [1, 1, 2, 4, 8]
