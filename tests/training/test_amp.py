"""Mixed precision: against PyTorch's autocast and GradScaler, and what holds for scales, skips, clipping, state."""

from __future__ import annotations

import functools
import sys

import numpy as np
import pytest
from support import DEVICES, host, needs_torch, torch

import xnn
from xnn import nn, optim
from xnn.data import DataLoader
from xnn.training import LossScaler, Precision, Trainer, load_checkpoint, save_checkpoint

CUDA = any(report.device is not None for report in xnn.devices() if report.name != "cpu")
# array_api_strict has no half dtype.
HALVES = [("numpy", "float16"), ("torch", "float16"), ("torch", "bfloat16")]
if CUDA:
    HALVES += [("cupy", "float16"), ("cupy", "bfloat16")]


@pytest.fixture(params=HALVES, ids="-".join)
def half(request):
    """A device and a half dtype that its arrays have."""
    name, precision = request.param
    return DEVICES[name](), precision


def problem(samples: int = 48):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((samples, 16)).astype("float32")
    return x, np.argmax(x[:, :3], axis=1)


def model(norm: bool = True):
    xnn.manual_seed(3)
    layers = [nn.Linear(16, 12), nn.BatchNorm1d(12) if norm else nn.Identity(), nn.ReLU(), nn.Linear(12, 3)]
    return nn.Sequential(*layers)


def make(device, precision, *, optimizer=optim.AdamW, lr=0.01, norm=True, **options):
    net = model(norm).to(device)
    return Trainer(net, optimizer(net.parameters(), lr=lr), device=device, precision=precision, **options)


def weights(trainer):
    return {name: host(x).copy() for name, x in trainer.model.state_dict().items()}


def pretend_reads_wait(monkeypatch):
    for name, module in list(sys.modules.items()):
        if name.startswith("xnn") and hasattr(module, "reads_are_free"):
            monkeypatch.setattr(module, "reads_are_free", lambda x: False)


def test_weights_and_states_stay_float32_and_training_follows_float32(half):
    device, precision = half
    loader = DataLoader(problem(), 16)
    mixed, full = make(device, precision), make(device, "float32")
    losses = [[row["loss"] for row in t.fit(loader, epochs=8)] for t in (mixed, full)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)
    assert losses[0][-1] < 0.8 * losses[0][0]
    for p in mixed.model.parameters():
        assert p.data.dtype == device.dtype("float32")
        assert all(
            x.dtype == device.dtype("float32")
            for x in mixed.optimizer.state[p].values()
            if hasattr(x, "dtype")
        )
    assert mixed.model[1].running_var.dtype == device.dtype("float32")
    assert any(np.any(a != b) for a, b in zip(weights(mixed).values(), weights(full).values(), strict=True))


def test_layers_see_the_half_dtype_and_normalisations_float32(half):
    device, precision = half
    seen = {}

    class Watch(nn.Identity):
        def forward(self, x):
            seen["between"] = x.dtype
            return super().forward(x)

    net = nn.Sequential(nn.Linear(4, 4), Watch(), nn.LayerNorm(4), nn.Linear(4, 2)).to(device)
    trainer = Trainer(net, optim.SGD(net.parameters(), lr=0.1), device=device, precision=precision)
    inner = net[2].forward

    def forward(x):
        seen["norm"] = x.dtype
        return inner(x)

    object.__setattr__(net[2], "forward", forward)
    x = device.asarray(np.ones((3, 4), "float32"))
    with trainer.precision.lowered(net):
        output = trainer.precision.forward(net, [x])
        assert net[0].weight.dtype == device.dtype(precision)
        assert net[2].weight.dtype == device.dtype("float32")
    assert seen == {"between": device.dtype(precision), "norm": device.dtype("float32")}
    assert output.dtype == device.dtype("float32")
    assert net[0].weight.dtype == device.dtype("float32")
    assert "forward" not in vars(net[3])


@needs_torch
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("init_scale", [2.0**10, 2.0**40])
def test_float16_steps_are_those_of_pytorch(init_scale, clip):
    """The same model under autocast with GradScaler; a scale that is too large at first, so steps are skipped."""
    x, target = problem()
    device = DEVICES["torch"]()
    scaler = LossScaler(device, init_scale, growth_interval=5)
    # With a large ε, AdamW does not blow up differences in rounding of gradients near 0.
    adamw = functools.partial(optim.AdamW, eps=0.05)
    mine = make(
        device, Precision("float16", device, scaler), optimizer=adamw, norm=False, lr=0.02, clip_norm=clip
    )

    theirs = torch.nn.Sequential(
        torch.nn.Linear(16, 12), torch.nn.Identity(), torch.nn.ReLU(), torch.nn.Linear(12, 3)
    )
    theirs.load_state_dict({name: torch.asarray(value.copy()) for name, value in weights(mine).items()})
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.02, eps=0.05)
    their_scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, growth_interval=5)
    for i in range(40):
        xb, tb = x[i % 3 * 16 :][:16], target[i % 3 * 16 :][:16]
        mine.train_step((xb, tb))
        with torch.autocast("cpu", torch.float16):
            loss = torch.nn.functional.cross_entropy(theirs(torch.asarray(xb)).float(), torch.asarray(tb))
        their_scaler.scale(loss).backward()
        if clip is not None:
            their_scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        their_scaler.step(optimizer)
        their_scaler.update()
        optimizer.zero_grad()
        assert float(scaler.scale) == their_scaler.get_scale()
    if init_scale > 2.0**20:
        assert mine.precision.settle(mine.optimizer)["skipped_steps"] >= 10
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(weights(mine)[name], value.numpy(), atol=2e-3, rtol=0.02, err_msg=name)
    counts = {int(state["step"]) for state in optimizer.state.values()}
    assert {state["step"] for state in mine.optimizer.state.values()} == counts


def test_undone_steps_leave_the_same_bits_as_steps_not_taken(monkeypatch):
    """As on a GPU, where nobody waits to learn whether a step is to be taken."""
    x, target = problem()

    def run(momentum):
        net = model()
        trainer = Trainer(
            net,
            optim.SGD(net.parameters(), lr=0.1, momentum=momentum),
            device="cpu",
            precision=Precision("float16", xnn.device("cpu"), LossScaler(xnn.device("cpu"), 2.0**30)),
            watch_loss=False,
        )
        for i in range(30):
            trainer.train_step((x[i % 3 * 16 :][:16], target[i % 3 * 16 :][:16]))
        return weights(trainer), trainer.precision.settle(trainer.optimizer)

    for momentum in (0.0, 0.9):
        skipped, row = run(momentum)
        assert row["skipped_steps"] > 0
        with monkeypatch.context() as patch:
            pretend_reads_wait(patch)
            undone, other = run(momentum)
        assert row == other
        for name, value in skipped.items():
            np.testing.assert_array_equal(value, undone[name], err_msg=name)


def test_counts_of_undone_steps_are_put_right_at_the_end_of_the_epoch(monkeypatch):
    pretend_reads_wait(monkeypatch)
    device = xnn.device("cpu")
    trainer = make(device, Precision("float16", device, LossScaler(device, 2.0**26)), watch_loss=False)
    row = trainer.fit(DataLoader(problem(), 4), epochs=1)[-1]
    assert 0 < row["skipped_steps"] < 12
    assert row["loss_scale"] == 2.0 ** (26 - row["skipped_steps"])
    assert {state["step"] for state in trainer.optimizer.state.values()} == {12 - row["skipped_steps"]}


def test_the_scale_grows_and_shrinks_and_stays_finite():
    device = xnn.device("cpu")
    scaler = LossScaler(device, 2.0**126, growth_interval=2)
    p = nn.Parameter(np.zeros(2, "float32"))
    optimizer = optim.SGD([p], lr=1.0)

    def step(value):
        p.grad = np.full(2, value, "float32")
        scaler.update(optimizer, [p])
        return float(scaler.scale)

    scales = [step(g) for g in (1, 1, 1, 1, 1, np.inf, np.nan, 1, 1)]
    exponents = [126, 127, 127, 127, 127, 126, 125, 125, 126]
    assert scales == [2.0**e for e in exponents]
    assert np.all(np.isfinite(p.data))
    assert int(scaler._skipped) == 2
    p.grad = None
    scaler.update(optimizer, [p])
    assert float(scaler.scale) == 2.0**126


def test_clipping_sees_gradients_without_the_scale():
    steps = []
    for scale in (1.0, 2.0**12):
        device = xnn.device("cpu")
        precision = Precision("float16", device, LossScaler(device, scale))
        trainer = make(device, precision, optimizer=optim.SGD, lr=1.0, clip_norm=0.01)
        before = weights(trainer)
        trainer.train_step(problem())
        after = weights(trainer)
        names = [name for name, _ in trainer.model.named_parameters()]
        steps.append(np.sqrt(sum(np.sum((after[n] - before[n]) ** 2) for n in names)))
    np.testing.assert_allclose(steps, 0.01, rtol=1e-3)


@pytest.mark.parametrize("name", ["numpy", "torch", *(["cupy"] if CUDA else [])])
def test_accumulated_small_batches_equal_one_large(name):
    device = DEVICES[name]()
    results = []
    for size, accumulate in ((48, 1), (12, 4)):
        trainer = make(device, "float16", optimizer=optim.SGD, lr=0.1, norm=False, accumulate=accumulate)
        trainer.fit(DataLoader(problem(), size), epochs=3)
        results.append(weights(trainer))
    for key, value in results[0].items():
        np.testing.assert_allclose(value, results[1][key], atol=2e-3, err_msg=key)


def test_an_overflow_in_one_small_batch_skips_the_whole_update():
    x, target = problem(24)
    trainer = make("cpu", "float16", accumulate=2, norm=False, optimizer=optim.SGD)
    before = weights(trainer)
    trainer.train_step((x, target))
    trainer.precision.scaler.scale = np.asarray(2.0**60, dtype="float32")
    trainer.train_step((x, target))
    for name, value in weights(trainer).items():
        np.testing.assert_array_equal(value, before[name])
    assert all(p.grad is None for p in trainer.model.parameters())


@pytest.mark.parametrize("name", ["numpy", "torch", *(["cupy"] if CUDA else [])])
def test_a_stopped_float16_run_goes_on_bit_for_bit(tmp_path, name):
    device = DEVICES[name]()
    batches = [(b[0], b[1]) for b in DataLoader(problem(), 8)] * 3

    def fresh():
        scaler = LossScaler(device, 2.0**20, growth_interval=3)
        return make(device, Precision("float16", device, scaler), accumulate=2)

    whole = fresh()
    for batch in batches:
        whole.train_step(batch)
    first = fresh()
    for batch in batches[:7]:
        first.train_step(batch)
    save_checkpoint(tmp_path / "a", first.state_dict())
    second = fresh()
    second.load_state_dict(load_checkpoint(tmp_path / "a"))
    for batch in batches[7:]:
        second.train_step(batch)
    for key, value in weights(whole).items():
        np.testing.assert_array_equal(value, weights(second)[key], err_msg=key)
    assert float(whole.precision.scaler.scale) == float(second.precision.scaler.scale)
    with pytest.raises(ValueError, match=r"LossScaler state: expected the entries .*'scale'.*, got \['x'\]"):
        second.precision.load_state_dict({"name": "float16", "scaler": {"x": 1}})


def test_a_run_may_go_on_in_another_precision():
    first = make("cpu", "float16")
    first.train_step(problem())
    second = make("cpu", "float32")
    second.load_state_dict(first.state_dict())
    second.train_step(problem())
    assert second.step == 2


def test_an_error_inside_of_a_step_gives_the_weights_back():
    x, target = problem(8)
    trainer = make("cpu", "float16", norm=False, accumulate=2)
    trainer.train_step((x, target))
    gradients = [p.grad for p in trainer.model.parameters()]
    before = weights(trainer)
    with pytest.raises(ValueError, match="linear"):
        trainer.train_step((x[:, :5], target))
    for p, gradient in zip(trainer.model.parameters(), gradients, strict=True):
        assert p.grad is gradient
        assert p.data.dtype == np.float32
    for name, value in weights(trainer).items():
        np.testing.assert_array_equal(value, before[name])


@needs_torch
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_no_step_reads_a_number_from_the_device(monkeypatch, precision):
    from torch.utils._python_dispatch import TorchDispatchMode

    pretend_reads_wait(monkeypatch)

    class Count(TorchDispatchMode):
        reads = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if "_local_scalar_dense" in str(function):
                Count.reads += 1
            return function(*args, **(kwargs or {}))

    trainer = make(DEVICES["torch"](), precision, clip_norm=1.0)
    batch = problem()
    trainer.train_step(batch)
    with Count():
        for _ in range(3):
            trainer.train_step(batch)
        assert Count.reads == 0
        trainer.running()
    assert Count.reads == 2


def test_evaluation_and_prediction_use_the_precision(half):
    device, precision = half
    trainer = make(device, precision)
    loader = DataLoader(problem(), 16)
    trainer.fit(loader, loader, epochs=2)
    output = trainer.predict(loader)
    assert output.dtype == device.dtype("float32")
    trainer.model.eval()
    full = host(trainer.model(device.asarray(problem()[0])))
    assert 0 < np.max(np.abs(host(output) - full)) < 0.05
    assert trainer.evaluate(loader)["loss"] == pytest.approx(trainer.history[-1]["val_loss"], abs=1e-6)


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (
            lambda: Precision("half", xnn.device("cpu")),
            "expected one of float32, tf32, bfloat16, float16, got",
        ),
        (lambda: Precision("bfloat16", xnn.device("cpu")), "precision 'bfloat16': cpu has no arrays of it"),
        (lambda: LossScaler(xnn.device("cpu"), 0.0), "expected init_scale > 0"),
        (lambda: LossScaler(xnn.device("cpu"), backoff_factor=2.0), "backoff_factor in"),
    ],
)
def test_wrong_options(make_it, message):
    with pytest.raises(ValueError, match=message):
        make_it()


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.AdamW])
def test_with_kernels_undone_steps_are_those_not_taken(optimizer):
    """On the emulated GPU the optimizer's kernels write in place, and nobody reads whether a step is to be undone."""
    try:
        gpu = xnn.device("emulated")
    except xnn.DeviceError as error:
        pytest.skip(str(error))
    results = []
    for device in (gpu, xnn.device("cpu")):
        scaler = LossScaler(device, 2.0**26)
        options = {"optimizer": optimizer, "norm": False, "watch_loss": False, "clip_norm": 1.0}
        trainer = make(device, Precision("float16", device, scaler), **options)
        with np.errstate(over="ignore", invalid="ignore"):  # NumPy's; a GPU has no such warnings
            for batch in list(DataLoader(problem(), 16)) * 4:
                trainer.train_step(batch)
        results.append((weights(trainer), trainer.precision.settle(trainer.optimizer)))
    assert results[0][1] == results[1][1]
    assert 0 < results[0][1]["skipped_steps"] < 12
    if optimizer is optim.SGD:  # the other counts undone steps until the end of the epoch
        for name, value in results[1][0].items():
            np.testing.assert_allclose(results[0][0][name], value, atol=1e-4, err_msg=name)
