"""Training steps of xnn and PyTorch, each in a process of its own, in turn.

In one process the thread pools of NumPy's BLAS and of PyTorch disturb each other: threads of the one still wait in a
loop when the other begins. That makes small steps of either look slow. Here nothing is shared.

    python benchmarks/steps_apart.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

THREADS = "2"
ROUNDS = 5
CASES = [(1, "SGD"), (32, "SGD"), (32, "Adam"), (64, "SGD")]


def measure(library: str, batch: int, optimizer: str) -> float:
    """Seconds of one step of 784-128-10: the median of 60 rounds of 20 steps, after 200."""
    import numpy as np

    rng = np.random.default_rng(0)
    x, target = rng.random((batch, 784), dtype="float32"), rng.integers(0, 10, batch)
    if library == "xnn":
        from xnn import nn, optim
    else:
        import torch
        from torch import nn, optim

        torch.set_num_threads(int(THREADS))
        x, target = torch.from_numpy(x), torch.from_numpy(target)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    update = getattr(optim, optimizer)(model.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss()

    def step() -> None:
        update.zero_grad()
        criterion(model(x), target).backward()
        update.step()

    for _ in range(200):
        step()
    times = []
    for _ in range(60):
        start = time.perf_counter()
        for _ in range(20):
            step()
        times.append((time.perf_counter() - start) / 20)
    return statistics.median(times)


def in_its_own_process(library: str, batch: int, optimizer: str) -> float:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), THREADS)
    command = [sys.executable, __file__, library, str(batch), optimizer]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **threads}
    )
    return float(output.stdout)


def main() -> None:
    for batch, optimizer in CASES:
        times: dict[str, list[float]] = {"xnn": [], "PyTorch": []}
        for _ in range(ROUNDS):
            for library, of_library in times.items():
                of_library.append(in_its_own_process(library, batch, optimizer))
        ratios = sorted(a / b for a, b in zip(*times.values(), strict=True))
        ours, theirs = (1e6 * statistics.median(t) for t in times.values())
        print(
            f"784-128-10, batch {batch}, {optimizer}: xnn {ours:.0f} us, PyTorch {theirs:.0f} us, "
            f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
    else:
        main()
