from __future__ import annotations

import signal
import sys

import numpy as np
import pytest
from support import DEVICES, assert_close, host, needs_torch, torch

import xnn
from xnn import functional as F
from xnn import nn, optim
from xnn.data import DataLoader, transforms
from xnn.training import (
    Callback,
    Checkpoints,
    HistoryFile,
    Interruptible,
    NonFiniteLossError,
    Trainer,
    TrainingStopped,
    load_checkpoint,
    save_checkpoint,
)


def problem(samples: int = 60):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((samples, 1, 4, 4)).astype("float32")
    return x, np.argmax(x.reshape(samples, 16)[:, :3], axis=1)


def make(device="cpu", *, accumulate=1, schedule=True, ema=True, callbacks=(), **options):
    """A Trainer with everything that has a state: dropout, BatchNorm, momentum, schedule, average, random transform."""
    xnn.manual_seed(3)
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(16, 12, bias=False),
        nn.BatchNorm1d(12),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(12, 3),
    )
    model.to(device)
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    trainer = Trainer(
        model,
        optimizer,
        scheduler=optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40) if schedule else None,
        schedule_every="step",
        device=device,
        clip_norm=1.0,
        accumulate=accumulate,
        ema=optim.ExponentialMovingAverage(model, decay=0.9) if ema else None,
        callbacks=callbacks,
        **options,
    )
    loader = DataLoader(problem(), 9, shuffle=True, seed=5, transform=transforms.RandomTranslate(1))
    return trainer, loader, DataLoader(problem(), 25)


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            trainer.stop()


def without_times(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in history]


def assert_same_state(a, b):
    a, b = ({k: v for k, v in s.items() if k not in ("seconds", "history")} for s in (a, b))

    def compare(x, y, path):
        if isinstance(x, dict):
            assert list(x) == list(y), path
            for key in x:
                compare(x[key], y[key], f"{path}.{key}")
        elif isinstance(x, (list, tuple)):
            assert len(x) == len(y), path
            for i, pair in enumerate(zip(x, y, strict=True)):
                compare(*pair, f"{path}.{i}")
        elif hasattr(x, "shape"):
            assert host(x).dtype == host(y).dtype, path
            assert np.array_equal(host(x), host(y)), path
        else:
            assert x == y, path

    compare(a, b, "")


def test_training_lowers_the_loss_and_keeps_a_history(device):
    trainer, loader, validation = make(device)
    history = trainer.fit(loader, validation, epochs=6)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["loss"] < history[0]["loss"]
    assert set(history[0]) == {
        *(
            "epoch",
            "step",
            "lr",
            "loss",
            "accuracy",
            "seconds",
            "samples_per_second",
            "val_loss",
            "val_accuracy",
        )
    }
    assert history[-1]["step"] == 6 * len(loader)
    assert trainer.epoch == 6


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("stop", [1, 4, 7, 8, 13, 14, 20])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, stop, accumulate):
    whole, loader, validation = make(accumulate=accumulate)
    whole.fit(loader, validation, epochs=3)

    first, loader, validation = make(accumulate=accumulate, callbacks=[StopAt(stop)])
    with pytest.raises(TrainingStopped):
        first.fit(loader, validation, epochs=3)
    assert first.step == stop
    save_checkpoint(tmp_path / "a", first.state_dict())

    second, loader, validation = make(accumulate=accumulate)
    xnn.manual_seed(99)  # whatever was drawn since must not matter
    for p in second.model.parameters():
        p.data = p.data + 1
    second.load_state_dict(load_checkpoint(tmp_path / "a"))
    second.fit(loader, validation, epochs=3)
    assert_same_state(second.state_dict(), whole.state_dict())
    assert without_times(second.history) == without_times(whole.history)


def test_resuming_works_on_every_namespace(device):
    whole, loader, validation = make(device)
    whole.fit(loader, validation, epochs=2)
    first, loader, validation = make(device, callbacks=[StopAt(5)])
    with pytest.raises(TrainingStopped):
        first.fit(loader, validation, epochs=2)
    state = first.state_dict()
    second, loader, validation = make(device)
    second.load_state_dict(state)
    second.fit(loader, validation, epochs=2)
    assert_same_state(second.state_dict(), whole.state_dict())


def test_the_same_seed_gives_the_same_run():
    states = []
    for _ in range(2):
        trainer, loader, validation = make()
        trainer.fit(loader, validation, epochs=2)
        states.append(trainer.state_dict())
    assert_same_state(*states)


def test_all_namespaces_train_alike():
    losses = []
    for name in ("numpy", "strict", "torch"):
        if name == "torch" and torch is None:
            continue
        trainer, loader, _ = make(DEVICES[name]())
        losses.append([row["loss"] for row in trainer.fit(loader, epochs=2)])
    for other in losses[1:]:
        np.testing.assert_allclose(other, losses[0], rtol=1e-4)


def test_accumulated_small_batches_equal_one_large():
    x, target = problem(24)
    weights = []
    for batch, accumulate in ((24, 1), (6, 4)):
        xnn.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), device="cpu", accumulate=accumulate)
        trainer.fit(DataLoader((x, target), batch), epochs=3)
        weights.append(model[1].weight.data)
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-5, atol=1e-6)


def test_the_trainer_does_what_the_explicit_loop_does():
    xnn.manual_seed(0)
    x, target = problem()
    one, two = (nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) for _ in range(2))
    two.load_state_dict(one.state_dict())
    Trainer(one, optim.SGD(one.parameters(), lr=0.1), device="cpu").fit(DataLoader((x, target), 7), epochs=2)
    optimizer = optim.SGD(two.parameters(), lr=0.1)
    for _ in range(2):
        for xb, tb in DataLoader((x, target), 7):
            F.cross_entropy(two(xb), tb).backward()
            optimizer.step()
            optimizer.zero_grad()
    np.testing.assert_array_equal(one[1].weight.data, two[1].weight.data)


def test_a_loss_that_is_not_finite_stops_before_it_does_harm(tmp_path):
    x, target = problem(20)
    x[15] = np.inf
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    checkpoints = Checkpoints(tmp_path, monitor="loss", seconds=0)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), device="cpu", callbacks=[checkpoints])
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(NonFiniteLossError, match=r"the loss is nan in epoch 1, step 4 \(learning rate 0.1\)"),
    ):
        trainer.fit(DataLoader((x, target), 5), epochs=1)
    assert np.all(np.isfinite(model[1].weight.data))
    saved = load_checkpoint(checkpoints.last)["trainer"]
    assert saved["step"] == 3
    np.testing.assert_array_equal(saved["model"]["1.weight"], model[1].weight.data)


def spoiled(tmp_path, **options):
    """A Trainer whose loss becomes NaN in its second epoch, on arrays whose numbers are not read at every step."""
    x, target = problem(20)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))

    class Spoil(Callback):
        def on_epoch_begin(self, trainer):
            if trainer.epoch == 1:
                x[15] = np.inf

    checkpoints = Checkpoints(tmp_path, monitor="loss", seconds=options.pop("seconds", 60.0))
    trainer = Trainer(
        model,
        optim.SGD(model.parameters(), lr=0.1),
        device="cpu",
        callbacks=[Spoil(), checkpoints, *options.pop("callbacks", ())],
        **options,
    )
    return trainer, DataLoader((x, target), 5, prefetch=0), checkpoints


@pytest.mark.parametrize(
    ("options", "step"),
    [({}, 4), ({"seconds": 0}, 7), ({"callbacks": [StopAt(8)]}, 4)],
    ids=["end of an epoch", "checkpoint inside", "stop"],
)
def test_where_no_step_is_watched_spoiled_weights_are_not_saved(tmp_path, monkeypatch, options, step):
    monkeypatch.setattr("xnn.training.trainer.reads_are_free", lambda x: False)
    trainer, loader, checkpoints = spoiled(tmp_path, **options)
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(NonFiniteLossError, match=r"became nan in epoch 2, by step 8, .* are not saved"),
    ):
        trainer.fit(loader, epochs=3)
    saved = load_checkpoint(checkpoints.last)["trainer"]
    assert saved["step"] == step
    assert np.all(np.isfinite(saved["model"]["1.weight"]))


def test_a_loss_that_nobody_watches_goes_on_and_is_never_the_best(tmp_path):
    trainer, loader, checkpoints = spoiled(tmp_path, watch_loss=False)
    with np.errstate(invalid="ignore"):
        history = trainer.fit(loader, epochs=3)
    assert np.isnan(history[-1]["loss"])
    assert load_checkpoint(checkpoints.best)["trainer"]["epoch"] == 1
    assert not checkpoints.is_best([{"loss": 1.0}, {"loss": float("nan")}])
    assert checkpoints.is_best([{"loss": float("nan")}, {"loss": 1.0}])


def test_signals_are_given_back_when_training_cannot_begin(tmp_path):
    (tmp_path / "file").touch()
    before = signal.getsignal(signal.SIGINT)
    trainer, loader, _ = make(callbacks=[Interruptible(), Checkpoints(tmp_path / "file")])
    with pytest.raises(OSError, match="file"):
        trainer.fit(loader, epochs=1)
    assert signal.getsignal(signal.SIGINT) is before


@needs_torch
def test_no_step_reads_a_number_from_the_device(monkeypatch):
    """Counted where PyTorch hands a number to Python; its arrays are told to be on a device that one waits for."""
    from torch.utils._python_dispatch import TorchDispatchMode

    for name, module in list(sys.modules.items()):
        if name.startswith("xnn") and hasattr(module, "reads_are_free"):
            monkeypatch.setattr(module, "reads_are_free", lambda x: False)

    class Count(TorchDispatchMode):
        reads = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if "_local_scalar_dense" in str(function):
                Count.reads += 1
            return function(*args, **(kwargs or {}))

    trainer, loader, _ = make(DEVICES["torch"]())
    batches = list(loader)
    trainer.train_step(batches[0])
    with Count():
        for batch in batches[1:]:
            trainer.train_step(batch)
        assert Count.reads == 0
        trainer.running()
    assert Count.reads == 2  # loss and accuracy, when somebody asks


def test_best_and_last_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, {"name": "test"})
    trainer, loader, validation = make(callbacks=[checkpoints, HistoryFile(tmp_path / "history.csv")])
    history = trainer.fit(loader, validation, epochs=4)
    last, best = (load_checkpoint(path) for path in (checkpoints.last, checkpoints.best))
    assert last["config"] == {"name": "test"}
    assert last["trainer"]["epoch"] == 4
    ranks = [(row["val_accuracy"], -row["val_loss"]) for row in history]
    assert best["trainer"]["epoch"] == 1 + ranks.index(max(ranks))
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("epoch,step,lr,loss,accuracy,")


def test_an_unknown_monitor_is_named(tmp_path):
    trainer, loader, _ = make(callbacks=[Checkpoints(tmp_path, monitor="val_f1")])
    with pytest.raises(ValueError, match=r"expected monitor to be one of epoch, .*, got 'val_f1'"):
        trainer.fit(loader, epochs=1)


def test_a_plateau_schedule_sees_the_validation_loss():
    trainer, loader, validation = make(schedule=False)
    trainer.scheduler = optim.lr_scheduler.ReduceLROnPlateau(
        trainer.optimizer, factor=0.5, patience=0, threshold=10.0
    )
    trainer.schedule_every = "epoch"
    history = trainer.fit(loader, validation, epochs=4)
    assert history[-1]["lr"] < history[0]["lr"]


def test_states_that_do_not_fit_change_nothing():
    trainer, _, _ = make()
    state = trainer.state_dict()
    with pytest.raises(ValueError, match=r"expected the entries .*'ema'"):
        trainer.load_state_dict({k: v for k, v in state.items() if k != "ema"})
    plain, _, _ = make(ema=False)
    with pytest.raises(ValueError, match="this Trainer has no ema, the state has one"):
        plain.load_state_dict(state)


def test_predict_and_evaluate_leave_the_mode_as_it_was():
    trainer, loader, validation = make()
    trainer.fit(loader, epochs=1)
    trainer.model.train()
    before = trainer.model.state_dict()
    output = trainer.predict(validation)
    assert output.shape == (60, 3)
    assert trainer.model.training
    figures = trainer.evaluate(validation)
    accuracy = np.mean(np.argmax(output, axis=1) == problem()[1])
    assert figures["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    for name, value in trainer.model.state_dict().items():
        assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule_every": "batch"}, "schedule_every 'epoch' or 'step', got 'batch'"),
        ({"accumulate": 0}, "accumulate of 1 or more, got 0"),
    ],
)
def test_wrong_options(options, message):
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=message):
        Trainer(model, optim.SGD(model.parameters(), lr=0.1), device="cpu", **options)
