"""A whole training step through the public interface, against PyTorch's eager mode, on the same two threads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from alternate import alternate

import xnn
from xnn import nn, optim

torch = pytest.importorskip("torch")

CASES = {
    "784-128-10, batch 1": ((784, 128, 10), 1),
    "784-128-10, batch 32": ((784, 128, 10), 32),
    "784-128-10, batch 64": ((784, 128, 10), 64),
    "784-512-512-10, batch 128": ((784, 512, 512, 10), 128),
}
OPTIMIZERS = {"SGD": {"lr": 0.01}, "Adam": {"lr": 1e-3}}


def _build(library, sizes, **options):
    layers = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [library.Linear(n_in, n_out), library.ReLU()]
    return library.Sequential(*layers[:-1])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("case", CASES)
def test_step(case: str, optimizer: str, benchmark) -> None:
    sizes, batch = CASES[case]
    torch.set_num_threads(2)
    rng = np.random.default_rng(0)
    x, target = rng.random((batch, sizes[0]), dtype="float32"), rng.integers(0, sizes[-1], batch)

    theirs = _build(torch.nn, sizes)
    ours = _build(nn, sizes)
    ours.load_state_dict(theirs.state_dict())
    options = OPTIMIZERS[optimizer]
    our_optimizer = getattr(optim, optimizer)(ours.parameters(), **options)
    their_optimizer = getattr(torch.optim, optimizer)(theirs.parameters(), **options)
    our_loss, their_loss = nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss()
    x_torch, target_torch = torch.from_numpy(x), torch.from_numpy(target)

    def our_step():
        our_optimizer.zero_grad()
        loss = our_loss(ours(x), target)
        loss.backward()
        our_optimizer.step()
        return loss

    def their_step():
        their_optimizer.zero_grad()
        loss = their_loss(theirs(x_torch), target_torch)
        loss.backward()
        their_optimizer.step()
        return loss

    for _ in range(5):  # the same work: the same losses
        np.testing.assert_allclose(our_step().item(), their_step().item(), rtol=1e-4)
    times = alternate({"PyTorch eager": their_step, "xnn": our_step})
    ours_time, ratio = times["xnn"].median, times["xnn"]
    benchmark.extra_info.update(
        xnn_us=round(ours_time * 1e6, 1),
        pytorch_us=round(times["PyTorch eager"].median * 1e6, 1),
        ratio=round(ratio.ratio, 3),
        quartiles=[round(ratio.low, 3), round(ratio.high, 3)],
        versions={"xnn": xnn.__version__, "numpy": np.__version__, "torch": torch.__version__},
    )
    print(
        f"\n{case}, {optimizer}: xnn {ours_time * 1e6:.0f} us, PyTorch {times['PyTorch eager'].median * 1e6:.0f} us, "
        f"ratio {ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    )
    benchmark(our_step)
