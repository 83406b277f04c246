"""Whole training steps: forward, loss, backward and optimizer, through the public interface."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from xnn import nn, optim
from xnn.backends import Device
from xnn.backends.registry import Work
from xnn.bench.inputs import random_array
from xnn.bench.measure import Candidate
from xnn.bench.operations import COMPILED, PYTORCH, Bench, _reason
from xnn.bench.report import Row
from xnn.random import Generator

__all__ = ["STEPS", "Step", "fits", "measure_step", "measure_steps", "training_step"]

XNN = "xnn"
_SAME_LOSS = 1e-3


class Step(NamedTuple):
    """A perceptron with ReLU and how it is trained.

    Attributes:
        sizes: of input, hidden layers and output.
        batch: samples per step.
        optimizer: its name in `xnn.optim` and ``torch.optim``.
        options: of the optimizer.
    """

    sizes: tuple[int, ...]
    batch: int
    optimizer: str
    options: dict[str, float]

    @property
    def name(self) -> str:
        """``"MLP 784-128-10"``."""
        return "MLP " + "-".join(map(str, self.sizes))

    @property
    def case(self) -> str:
        """``"batch 64, Adam"``."""
        return f"batch {self.batch}, {self.optimizer}"

    def work(self, dtype: str) -> Work:
        """The arithmetic of the products, two operations for each weight and sample forward and four backward (two in
        the first layer, whose input needs no gradient). What is moved depends on what is fused: not counted (0)."""
        weights = [n_in * n_out for n_in, n_out in itertools.pairwise(self.sizes)]
        return Work(0, self.batch * (6 * sum(weights) - 2 * weights[0]))

    @property
    def bytes(self) -> int:
        """About what it takes of memory in float32: weights, gradients and two averages, and activations twice."""
        weights = sum(n_in * n_out for n_in, n_out in itertools.pairwise(self.sizes))
        return 4 * (4 * weights + 3 * self.batch * sum(self.sizes))


_SGD: dict[str, float] = {"lr": 0.01}
_ADAM = {"lr": 1e-3}

STEPS = (
    Step((784, 128, 10), 1, "SGD", _SGD),
    Step((784, 128, 10), 32, "SGD", _SGD),
    Step((784, 128, 10), 64, "SGD", _SGD),
    Step((784, 128, 10), 64, "Adam", _ADAM),
    Step((784, 512, 512, 10), 128, "SGD", _SGD),
    Step((784, 512, 512, 10), 128, "Adam", _ADAM),
    Step((784, 2048, 2048, 10), 1024, "Adam", _ADAM),
    Step((784, 4096, 4096, 4096, 10), 4096, "Adam", _ADAM),
)
"""What is trained."""


def build(sizes: tuple[int, ...]) -> nn.Sequential:
    """The perceptron."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def data(step: Step, device: Device, dtype: str = "float32") -> tuple[Any, Any]:
    """A batch of random inputs and labels on the device."""
    x = random_array(device, (step.batch, step.sizes[0]), dtype)
    return x, Generator(1).integers((step.batch,), 0, step.sizes[-1], device=device)


def training_step(
    step: Step, device: Device, dtype: str = "float32"
) -> tuple[Callable[[], Any], dict[str, Any], tuple[Any, Any]]:
    """A call that does one step and returns the loss; the weights it begins with, for others to begin with the same;
    and the batch."""
    model = build(step.sizes).to(device, device.dtype(dtype))
    weights = {name: device.asarray(array, copy=True) for name, array in model.state_dict().items()}
    optimizer = getattr(optim, step.optimizer)(model.parameters(), **step.options)
    loss_of = nn.CrossEntropyLoss()
    x, target = data(step, device, dtype)

    def run() -> Any:
        optimizer.zero_grad()
        loss = loss_of(model(x), target)
        loss.backward()
        optimizer.step()
        return loss

    return run, weights, (x, target)


def measure_step(bench: Bench, step: Step, dtype: str = "float32") -> list[Row]:
    """xnn and PyTorch in turn, on the same numbers."""
    ours, weights, batch = training_step(step, bench.device, dtype)
    calls = {XNN: Candidate(ours)}
    rows: dict[str, Row] = {}

    def row(variant: str, note: str = "") -> Row:
        return Row(bench.device.name, step.name, step.case, dtype, "training step", variant, note=note)

    losses = {}
    peer = bench.peer
    for variant in (PYTORCH, COMPILED)[: 1 + bench.compiled] if peer is not None else ():
        assert peer is not None
        try:
            theirs = peer.training_step(
                step.sizes, step.optimizer, step.options, weights, *batch, compiled=variant == COMPILED
            )
            losses[variant] = float(theirs())
            calls[variant] = Candidate(theirs)
        except Exception as error:  # of whatever library; xnn is measured all the same
            rows[variant] = row(variant, _reason(error))
    first = float(ours())
    times = bench.alternate(calls)
    for variant in calls:
        done = row(variant).fill(times[variant], step.work(dtype), bench.ceilings, samples=step.batch)
        if variant in losses:
            done.error = abs(losses[variant] - first) / abs(first)
            if not done.error < _SAME_LOSS:
                done.note = f"the first loss differs from xnn's by {done.error:.1e}"
        rows[variant] = done
    return [rows[v] for v in (XNN, PYTORCH, COMPILED) if v in rows]


def fits(bench: Bench, step: Step) -> bool:
    """Whether there is room and time for it."""
    room = min(bench.largest, bench.meter.free_bytes() / 4)
    return step.bytes <= room and not bench.too_long(step.work("float32"), "float32")


def measure_steps(
    bench: Bench, steps: Iterable[Step] = STEPS, progress: Callable[[str], None] = lambda text: None
) -> Iterator[Row]:
    """Measure all steps that are not too large, one after another."""
    for step in steps:
        if not fits(bench, step):
            bench.note(f"{step.name}, {step.case}: not measured on {bench.device}: too large")
            continue
        progress(f"{bench.device}: {step.name}, {step.case}")
        yield from measure_step(bench, step)
        bench.release()
