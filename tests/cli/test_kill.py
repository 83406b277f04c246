"""A training process that is killed without warning leaves checkpoints from which the run goes on."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from xnn.training import Run, load_checkpoint


@pytest.mark.slow
def test_killed_again_and_again_a_run_still_ends(tmp_path):
    folder = tmp_path / "run"
    begin = [
        "digits",
        "--epochs",
        "25",
        "--hidden",
        "512",
        "--device",
        "cpu",
        "--save-every",
        "0",
        "--out",
        str(folder),
    ]
    command = [sys.executable, "-m", "xnn", "train", "--quiet", *begin]
    steps, kills, chance = [], 0, random.Random(0)
    while True:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while not (folder / "last.safetensors").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.3, 2.5))
        finished = process.poll() is not None
        process.kill()
        out, _ = process.communicate()
        if finished:
            break
        kills += 1
        state = load_checkpoint(folder / "last.safetensors")["trainer"]
        steps.append(state["step"])
        if (folder / "best.safetensors").exists():
            load_checkpoint(folder / "best.safetensors")
        Run.open(folder, device="cpu")
        assert kills < 60
        command = [
            sys.executable,
            "-m",
            "xnn",
            "train",
            "--quiet",
            "--resume",
            str(folder),
            "--save-every",
            "0",
        ]
    assert process.returncode == 0
    assert kills >= 3
    assert steps == sorted(steps)
    assert float(out.split("test accuracy: ")[1].split(" ")[0]) > 95
