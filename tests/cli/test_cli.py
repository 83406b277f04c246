from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

import xnn
from xnn.cli import main
from xnn.data import digits
from xnn.training import load_checkpoint

SMALL = ["--epochs", "2", "--hidden", "16", "--device", "cpu"]


def run(*args: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(args))
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    text = run(
        *(
            [
                "train",
                "digits",
                "--epochs",
                "5",
                "--hidden",
                "128",
                "--dropout",
                "0",
                "--shift",
                "0",
                "--device",
                "cpu",
                "--out",
            ]
        ),
        str(folder),
    )
    return folder, text


def test_train_says_what_it_does_and_how_well(trained):
    folder, text = trained
    assert "digits: 1,213 images to train, 135 to validate, 449 to test" in text
    assert "epoch      loss  accuracy  val loss  val accuracy  samples/s\n" in text
    assert "\n  5/5    0." in text
    assert "confusion matrix (rows: true class, columns: predicted)" in text
    accuracy = float(text.split("test accuracy: ")[1].split(" ")[0])
    assert accuracy > 90
    assert {p.name for p in folder.iterdir()} == {
        *("best.safetensors", "last.safetensors", "history.csv", "result.json", "curves.png", "confusion.png")
    }
    result = json.loads((folder / "result.json").read_text())
    assert 100 * result["test_accuracy"] == pytest.approx(accuracy, abs=0.005)
    assert sum(map(sum, result["confusion"])) == 449
    for name in ("curves.png", "confusion.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_evaluate_finds_the_same_accuracy(trained):
    folder, text = trained
    assert text.split("test accuracy: ")[1].split(",")[0] in run("evaluate", str(folder), "--device", "cpu")
    assert "last weights (epoch 5)" in run("evaluate", str(folder), "--checkpoint", "last", "--device", "cpu")


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_predict_reads_images_dark_on_bright_and_bright_on_dark(trained, tmp_path, suffix):
    from PIL import Image

    folder, _ = trained
    x, target = digits().test
    paths = []
    for i in range(20):
        pixels = (255 * x[i, 0]).astype("uint8")
        pixels = pixels if i % 2 else 255 - pixels
        Image.fromarray(np.kron(pixels, np.ones((10, 10), dtype="uint8"))).save(tmp_path / f"{i}.{suffix}")
        paths.append(str(tmp_path / f"{i}.{suffix}"))
    lines = run("predict", str(folder), *paths, "--device", "cpu", "--top", "2").splitlines()
    lines = [line for line in lines if ": " in line]
    assert len(lines) == 20
    right = sum(line.split(": ")[1].startswith(str(t)) for line, t in zip(lines, target, strict=False))
    assert right >= 17
    assert lines[0].count("%") == 2


def test_predict_refuses_what_is_no_image(trained, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    assert "expected an image" in run("predict", str(trained[0]), str(tmp_path / "text.png"), code=1)
    assert "no such file" in run("predict", str(trained[0]), str(tmp_path / "none.png"), code=1)


def test_an_image_that_is_not_square_keeps_its_shape(tmp_path):
    from PIL import Image

    from xnn.cli.evaluate import read_image

    Image.new("L", (20, 40), 255).save(tmp_path / "white.png")
    pixels = read_image(tmp_path / "white.png", (1, 8, 8), "auto")
    assert pixels.shape == (1, 1, 8, 8)
    assert not np.any(pixels)
    assert np.all(read_image(tmp_path / "white.png", (1, 8, 8), "no") == 1)
    assert read_image(tmp_path / "white.png", (3, 8, 8), "auto").shape == (1, 3, 8, 8)


def test_devices_lists_the_cpu_and_says_why_there_is_no_gpu(monkeypatch):
    text = run("devices")
    assert text.startswith("cpu ")
    assert "cuda" in text


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["train", "digits", "--lrr", "1"], 2, "No such option"),
        (["train", "letters"], 2, "'letters' is not one of 'digits', 'mnist'"),
        (["train"], 2, "Missing DATASET"),
        (["train", "digits", "--hidden", "a,b"], 2, "expected sizes separated by commas"),
        (["train", "digits", "--optimizer", "sdg"], 2, "'sdg' is not one of 'sgd'"),
        (["train", "digits", "--clip-norm", "big"], 2, "expected a number or 'none', got 'big'"),
        (["train", "digits", "--epochs", "0", "--device", "cpu"], 1, "epochs: expected 1 or more, got 0"),
        (
            ["train", "digits", "--dropout", "1.5", "--device", "cpu"],
            1,
            "dropout: expected a number in [0, 1], got 1.5",
        ),
        (["train", "digits", "--lr", "-1", "--device", "cpu"], 1, "lr"),
        (["train", "digits", "--clip-norm", "0", "--device", "cpu"], 1, "clip_norm: expected a number > 0"),
        (["train", "digits", "--momentum", "0.5"], 2, "--momentum is for --optimizer sgd and rmsprop"),
        (
            ["train", "digits", "--device", "gpu"],
            1,
            "expected 'auto', 'cpu', 'cuda' or 'cuda:<number>', got 'gpu'",
        ),
        (["evaluate", "nowhere"], 1, "expected the folder of a run"),
        (["train", "--resume", "nowhere"], 1, "expected the folder of a run"),
    ],
)
def test_bad_input_gets_one_clear_line(tmp_path, monkeypatch, args, code, message):
    monkeypatch.chdir(tmp_path)
    text = run(*args, code=code)
    assert message in text
    assert "Traceback" not in text
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_is_one_clear_message(tmp_path):
    text = run("train", "digits", *SMALL, "--lr", "1e30", "--out", str(tmp_path / "a"), code=1)
    assert "the loss is nan in epoch 1" in text
    assert "last.safetensors holds the last good state; begin anew with other options" in text
    assert "Warning" not in text


def test_a_full_disk_is_named_and_the_last_state_is_kept(tmp_path, monkeypatch):
    calls = iter(range(99))

    def fsync(handle):
        if next(calls) >= 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        text = run("train", "digits", *SMALL, "--out", str(tmp_path / "a"), code=1)
    assert f"{os.strerror(errno.ENOSPC)}: '{tmp_path / 'a'}" in text
    assert f"when that is mended, go on with: xnn train --resume {tmp_path / 'a'}" in text
    assert "test accuracy" in run("train", "--resume", str(tmp_path / "a"), "--device", "cpu")


def test_a_run_is_never_overwritten(trained):
    before = (trained[0] / "last.safetensors").read_bytes()
    assert "holds a run already" in run("train", "digits", *SMALL, "--out", str(trained[0]), code=2)
    assert (trained[0] / "last.safetensors").read_bytes() == before


def test_default_folders_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for expected in ("digits", "digits-2"):
        run("train", "digits", *SMALL, "--epochs", "1", "--quiet")
        assert (tmp_path / "runs" / expected / "best.safetensors").exists()


def test_a_damaged_checkpoint_is_refused(trained, tmp_path):
    whole = (trained[0] / "best.safetensors").read_bytes()
    (tmp_path / "best.safetensors").write_bytes(whole[:1000])
    (tmp_path / "last.safetensors").write_bytes(whole[:1000])
    assert "truncated, damaged or of another format" in run("evaluate", str(tmp_path), code=1)


def test_resuming_refuses_new_options_and_other_data(trained):
    assert "cannot be given anew: --lr" in run("train", "--resume", str(trained[0]), "--lr", "1", code=2)
    assert "is a run on digits, not on mnist" in run("train", "mnist", "--resume", str(trained[0]), code=2)


def test_every_optimizer_and_schedule_trains(tmp_path):
    from xnn.training.config import OPTIMIZERS, SCHEDULES

    for i, optimizer in enumerate(OPTIMIZERS):
        schedule = SCHEDULES[i % len(SCHEDULES)]
        text = run(
            *(
                "train",
                "digits",
                "--quiet",
                "--optimizer",
                optimizer,
                "--schedule",
                schedule,
                "--epochs",
                "2",
            ),
            *("--hidden", "16", "--device", "cpu", "--out", str(tmp_path / optimizer), "--ema", "0.9"),
            *("--clip-norm", "1.0"),
        )
        assert "test accuracy:" in text


@pytest.mark.parametrize("when", [1.0, 2.0])
def test_ctrl_c_saves_and_the_resumed_run_is_the_same_bit_for_bit(tmp_path, when):
    options = ["digits", "--epochs", "4000", "--hidden", "8", "--device", "cpu", "--no-batch-norm"]
    command = [sys.executable, "-m", "xnn", "train", *options, "--out", str(tmp_path / "a")]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "a" / "history.csv").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1 * when)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert f"go on with: xnn train --resume {tmp_path / 'a'}" in out
    stopped = load_checkpoint(tmp_path / "a" / "last.safetensors")["trainer"]
    assert 0 < stopped["step"] < 4000 * 18

    # The rest of 4000 epochs twice would take long: compare over the next two epochs.
    from xnn.training import Config, Run

    first = Run.open(tmp_path / "a", device="cpu")
    target = first.trainer.epoch + 2
    first.trainer.callbacks = []
    first.trainer.fit(first.train_loader, epochs=target)
    whole = Run(Config(**first.config.to_dict()), tmp_path / "b", device="cpu")
    whole.trainer.callbacks = []
    whole.trainer.fit(whole.train_loader, epochs=target)
    for name, value in whole.model.state_dict().items():
        np.testing.assert_array_equal(first.model.state_dict()[name], value, err_msg=name)


def test_version():
    assert run("--version").strip() == f"xnn, version {xnn.__version__}"
