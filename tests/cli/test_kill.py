"""A training process that is killed without warning leaves checkpoints from which the run goes on."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from xnn.training import Run, load_checkpoint

KILLS = 8


@pytest.mark.slow
def test_killed_again_and_again_a_run_still_ends(tmp_path):
    folder = tmp_path / "run"
    last = folder / "last.safetensors"
    train = [sys.executable, "-m", "xnn", "train", "--quiet", "--save-every", "0"]
    command = [*train, "digits", "--epochs", "25", "--hidden", "512", "--device", "cpu", "--out", str(folder)]
    steps, chance = [], random.Random(0)
    for _ in range(KILLS):
        before = last.stat().st_mtime_ns if last.exists() else None
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        # It has begun when it writes; then it writes after every step, and is killed in the middle of something.
        while not last.exists() or last.stat().st_mtime_ns == before:
            assert process.poll() is None
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.1))
        process.kill()
        process.wait()
        steps.append(load_checkpoint(last)["trainer"]["step"])
        if (folder / "best.safetensors").exists():
            load_checkpoint(folder / "best.safetensors")
        Run.open(folder, device="cpu")
        command = [*train, "--resume", str(folder), "--device", "cpu"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert steps == sorted(steps)
    assert 0 < steps[-1] < 25 * 18
    assert float(ended.stdout.split("test accuracy: ")[1].split(" ")[0]) > 95
