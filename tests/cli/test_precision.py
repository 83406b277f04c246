"""``xnn train --precision`` and ``--accumulate``."""

from __future__ import annotations

import click.testing
import pytest

from xnn.cli import main
from xnn.training import load_checkpoint, save_checkpoint

SMALL = ("--epochs", "2", "--hidden", "32", "--shift", "0", "--device", "cpu")


def run(*args: str, code: int = 0) -> str:
    result = click.testing.CliRunner().invoke(main, list(args))
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("--precision", "float16"), "batch 64, float16, seed 0"),
        (("--precision", "tf32"), "batch 64, tf32, seed 0"),
        (("--accumulate", "2", "--batch-size", "32"), "batch 32 x 2, seed 0"),
    ],
)
def test_it_trains_and_says_in_what(tmp_path, options, shown):
    text = run("train", "digits", *SMALL, *options, "--out", str(tmp_path / "a"))
    assert shown in text
    assert float(text.split("test accuracy: ")[1].split(" ")[0]) > 75
    again = run("evaluate", str(tmp_path / "a"), "--device", "cpu")
    assert again.split("test accuracy: ")[1] == text.split("test accuracy: ")[1].split(", epoch")[0] + ")\n"
    state = load_checkpoint(tmp_path / "a" / "last.safetensors")
    assert {str(x.dtype) for x in state["trainer"]["model"].values()} <= {"float32", "int64"}
    assert state["trainer"]["precision"]["name"] == (options[1] if "precision" in options[0] else "float32")
    header = (tmp_path / "a" / "history.csv").read_text().splitlines()[0]
    assert ("loss_scale" in header) is (options[1] == "float16")


def test_the_schedule_ends_with_the_run_when_batches_are_accumulated(tmp_path):
    run("train", "digits", *SMALL, "--accumulate", "4", "--quiet", "--out", str(tmp_path / "a"))
    rates = [
        float(row.split(",")[2]) for row in (tmp_path / "a" / "history.csv").read_text().splitlines()[1:]
    ]
    assert rates[-1] < 0.05 * max(rates)


def test_what_a_device_has_not_is_one_clear_line(tmp_path):
    text = run("train", "digits", *SMALL, "--precision", "bfloat16", "--out", str(tmp_path / "a"), code=1)
    assert text.startswith("Error: precision 'bfloat16': cpu has no arrays of it")
    assert "--accumulate" in run("train", "--help")
    assert "accumulate: expected 1 or more, got 0" in run("train", "digits", "--accumulate", "0", code=1)


def test_a_run_in_a_precision_that_the_device_has_not_is_evaluated_in_float32(tmp_path, caplog):
    folder = tmp_path / "a"
    run("train", "digits", *SMALL, "--out", str(folder))
    for name in ("best", "last"):
        state = load_checkpoint(folder / f"{name}.safetensors")
        state["config"]["precision"] = "bfloat16"
        save_checkpoint(folder / f"{name}.safetensors", state)
    assert "test accuracy: " in run("evaluate", str(folder), "--device", "cpu")
    assert "xnn: computing in float32; precision 'bfloat16': cpu has no arrays of it" in caplog.text
