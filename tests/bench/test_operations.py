from __future__ import annotations

import numpy as np
import pytest
from bench.fakes import FakeMeter, bench, subject, twice, twice_case
from support import needs_torch
from xnn.backends.peers import PyTorch
from xnn.backends.timing import EmulatorMeter, HostMeter, meter_of

import xnn
from xnn.bench.cases import choose, subjects
from xnn.bench.inputs import has_dtype
from xnn.bench.operations import measure_case, usable_cases

CPU = xnn.device("cpu")


def timed(meter, seconds, function):
    """A kernel that takes so long, and so long backward."""

    def kernel(x):
        meter.spend(seconds)
        y, backward = function(x)

        def slow(dy):
            meter.spend(2 * seconds)
            return backward(dy)

        return y, slow

    return kernel


def test_a_kernel_is_measured_against_its_operation():
    meter = FakeMeter(backend="fake")
    rows = measure_case(bench(meter), subject(timed(meter, 1e-3, twice.forward)), twice_case(), "float32")
    assert [(r.work, r.variant) for r in rows] == [
        ("forward", "kernel"), ("forward", "original"), ("backward", "kernel"), ("backward", "original"),
    ]  # fmt: skip
    kernel, _, backward, _ = rows
    assert kernel.seconds == pytest.approx(1e-3, rel=0.01)
    assert backward.seconds == pytest.approx(2e-3, rel=0.01)
    assert (kernel.bytes, kernel.operations) == (2048, 256)
    assert kernel.bandwidth == pytest.approx(2048 / kernel.seconds)
    assert kernel.rate == pytest.approx(256 / kernel.seconds)
    assert kernel.share == pytest.approx(2048 / 1e9 / kernel.seconds)
    assert kernel.relative == [1.0, 1.0, 1.0]
    assert kernel.error == 0.0
    assert kernel.note == ""
    assert rows[1].relative[1] < 0.01


@pytest.mark.parametrize(
    ("kernel", "note"),
    [
        (lambda x: NotImplemented, "the kernel leaves this case to the operation"),
        (lambda x: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_without_the_kernel_the_operation_is_measured(kernel, note):
    rows = measure_case(bench(FakeMeter(backend="fake")), subject(kernel), twice_case(), "float32")
    found = {(r.work, r.variant): r for r in rows}
    for work in ("forward", "backward"):
        assert found[work, "kernel"].note == note
        assert found[work, "kernel"].seconds is None
        assert found[work, "original"].seconds is not None
        assert found[work, "original"].relative == [1.0, 1.0, 1.0]


def test_a_wrong_kernel_is_noticed():
    meter = FakeMeter(backend="fake")
    for factor in (1.1, float("nan")):
        rows = measure_case(
            bench(meter), subject(lambda x, f=factor: (f * 2 * x, lambda dy: 2 * dy)), twice_case(), "float32"
        )
        assert rows[0].note.startswith("differs from the original by")


def test_kernels_of_other_devices_and_dtypes_are_not_run():
    meter = FakeMeter(backend="other")
    assert [
        r.variant for r in measure_case(bench(meter), subject(twice.forward), twice_case(), "float32")
    ] == (["original"] * 2)
    meter.backend = "fake"
    assert [
        r.variant for r in measure_case(bench(meter), subject(twice.forward), twice_case(), "float64")
    ] == (["original"] * 2)


def test_inputs_rotate_so_that_no_cache_holds_all():
    seen = set()

    def kernel(x):
        seen.add(id(x))
        return twice.forward(x)

    measure_case(
        bench(FakeMeter(backend="fake")), subject(kernel), twice_case(256, backward=False), "float32"
    )
    assert len(seen) == 8  # 2 x 4096 bytes of cache, 1 KiB of inputs


def test_an_update_works_on_its_own_arrays():
    case = next(s for s in subjects() if s.name == "sgd").cases[0]
    found = next(s for s in subjects() if s.name == "sgd")
    given = case.make(CPU, "float32")
    before = given[0][0][0].copy()
    rows = measure_case(bench(seconds=0.0, rounds=1), found, case._replace(make=lambda *_: given), "float32")
    assert [(r.work, r.variant) for r in rows] == [("update", "original")]
    assert (given[0][0][0] == before).all()


@needs_torch
def test_pytorch_does_the_same():
    here = bench(seconds=0.0, rounds=1, peer=PyTorch(CPU))
    small = {
        "softmax": twice_case()._replace(
            make=lambda d, t: ((np.random.default_rng(0).random((3, 5), t),), {})
        ),
    }
    for found in choose(["softmax"], subjects()):
        rows = measure_case(here, found, small[found.name], "float32")
        assert {(r.work, r.variant, r.note) for r in rows} == {
            (w, v, "") for w in ("forward", "backward") for v in ("original", "PyTorch")
        }
        assert all(r.error < 1e-6 for r in rows if r.variant == "PyTorch")


@needs_torch
@pytest.mark.parametrize("found", subjects(), ids=lambda s: s.name)
def test_pytorch_has_every_operation(found):
    """Where its result differs or a call fails, the table of names is wrong."""
    peer = PyTorch(CPU)
    case = min(found.cases, key=lambda c: c.forward(4).bytes)
    if case.forward(4).bytes > 100e6:
        pytest.skip("its smallest case is large")
    args, kwargs = case.make(CPU, "float32")
    if found.is_rule:
        if found.name == "lion":
            with pytest.raises(Exception, match="PyTorch has no lion"):
                peer.update(found.name, args, kwargs)
        else:
            peer.update(found.name, args, kwargs)()
        return
    call, leaves = peer.call(found.name, peer.function(found.name), args, kwargs)
    y, _backward = found.operation.forward(*args, **kwargs)
    if type(y) is tuple:
        y = y[0]
    theirs = call()
    if "dropout" not in found.name:
        assert peer.difference(theirs, y) < 1e-3
    if case.backward is not None:
        gradients = peer.backward(theirs, y, leaves)()
        assert any(g is not None for g in gradients)


@needs_torch
def test_what_pytorch_lacks_is_said():
    rows = measure_case(bench(seconds=0.0, rounds=1, peer=PyTorch(CPU)), subject(), twice_case(), "float32")
    assert [r.note for r in rows if r.variant == "PyTorch"] == ["PyTorch has no twice"] * 2


def test_cases_that_do_not_fit_are_left_out():
    here = bench(largest=10_000.0)
    small, middle, large = twice_case(100), twice_case(10_000), twice_case(1_000_000)
    found = subject(None, small, middle, large)
    assert usable_cases(here, found, "float32") == [small]
    assert here.notes == [
        "twice, 10000, float32: not measured on cpu: too large",
        "twice, 1000000, float32: not measured on cpu: no room",
    ]
    assert usable_cases(here, subject(None, middle), "float32") == [middle]  # the smallest in any case
    assert usable_cases(here, found, "bfloat16") == []
    assert here.notes[-1] == "cpu has no bfloat16"


def test_names_choose():
    everything = subjects()
    assert {s.name for s in choose(["*soft*"], everything)} >= {"softmax", "log_softmax"}
    assert choose([], everything) == everything
    with pytest.raises(ValueError, match=r"expected names of operations, got 'sofmax'; there are .*softmax"):
        choose(["sofmax"], everything)


def test_formulas_of_the_cases_count_inputs_and_results():
    for found in subjects():
        for case in found.cases:
            for size in (2, 4):
                work = case.forward(size)
                assert work.bytes > 0, found.name
                assert work.operations >= 0, found.name
            if case.backward is not None:
                assert case.backward(4).bytes > 0
    linear = next(s for s in subjects() if s.name == "linear").cases[0]
    assert linear.forward(4) == ((64 * 784 + 784 * 128 + 128 + 64 * 128) * 4, 2 * 64 * 784 * 128 + 64 * 128)


def test_meters_of_devices():
    assert type(meter_of(CPU)) is HostMeter
    assert meter_of(CPU).cache_bytes() > 0
    assert meter_of(CPU).free_bytes() > 0
    assert has_dtype(CPU, "float32")
    assert not has_dtype(CPU, "bfloat16")


def test_kernels_run_on_the_emulated_device():
    from xnn.backends.emulator.device import emulated_device

    try:
        device = emulated_device()
    except xnn.DeviceError as error:
        pytest.skip(str(error))
    meter = meter_of(device)
    assert isinstance(meter, EmulatorMeter)
    found = next(s for s in subjects() if s.name == "softmax")
    case = found.cases[0]._replace(make=lambda d, t: ((xnn.bench.inputs.random_array(d, (4, 10), t),), {}))
    rows = measure_case(bench(meter, seconds=0.0, rounds=1), found, case, "float32")
    assert [(r.variant, r.note) for r in rows] == [("kernel", ""), ("original", "")] * 2
    assert all(r.error < 1e-6 for r in rows if r.variant == "kernel")
