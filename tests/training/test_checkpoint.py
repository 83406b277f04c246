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
from support import put

import xnn
from xnn.training import CheckpointError, load_checkpoint, save_checkpoint
from xnn.training.checkpoint import remove_parts, write_atomically


def same(a, b) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (np.ndarray, np.generic)):
        return (
            a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        )
    return type(a) is type(b) and (a == b or a != a)


STATE = {
    "model": {"0.weight": np.arange(6, dtype="float32").reshape(2, 3), "0.n": np.asarray(3)},
    "optimizer": {
        "state": {0: {"m": np.ones((2, 0)), "step": 4}},
        "param_groups": [{"lr": 0.1 + 0.2, "params": [0]}],
    },
    "none": None,
    "numbers": [1, -2.5e-310, 1e308, float("inf"), float("nan"), True, "text ü"],
    "large": 2**100,
    "flags": np.asarray([True, False]),
}


def test_what_is_saved_comes_back_to_the_last_bit(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", STATE)
    assert same(load_checkpoint(tmp_path / "a.safetensors"), STATE)


def test_random_floats_survive_json(tmp_path, rng):
    numbers = rng.standard_normal(1000).tolist()
    save_checkpoint(tmp_path / "a", {"numbers": numbers})
    assert load_checkpoint(tmp_path / "a")["numbers"] == numbers


def test_arrays_of_every_namespace_and_layout(tmp_path, device, rng):
    values = rng.standard_normal((3, 4)).astype("float32")
    x = put(device, values)
    transposed = device.xp.permute_dims(x, (1, 0))
    save_checkpoint(tmp_path / "a", {"x": x, "t": transposed, "tensor": xnn.Tensor(x)})
    back = load_checkpoint(tmp_path / "a")
    np.testing.assert_array_equal(back["x"], values)
    np.testing.assert_array_equal(back["t"], values.T)
    np.testing.assert_array_equal(back["tensor"], values)


def test_other_programs_can_read_the_tensors(tmp_path):
    from safetensors.numpy import load_file

    save_checkpoint(tmp_path / "a.safetensors", STATE)
    np.testing.assert_array_equal(
        load_file(tmp_path / "a.safetensors")["model.0.weight"], STATE["model"]["0.weight"]
    )


def test_what_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"got object at a\.1"):
        save_checkpoint(tmp_path / "a", {"a": [1, object()]})
    with pytest.raises(TypeError, match=r"str or int keys at a, got 1\.5"):
        save_checkpoint(tmp_path / "a", {"a": {1.5: 1}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, STATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        CheckpointError, match=r"a\.safetensors: expected a whole safetensors file, got \d+ bytes"
    ):
        load_checkpoint(path)


def test_foreign_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    (tmp_path / "text").write_bytes(b"hello, I am no checkpoint " * 10)
    with pytest.raises(CheckpointError, match="expected a whole safetensors file"):
        load_checkpoint(tmp_path / "text")
    save_file({"w": np.zeros(2)}, tmp_path / "weights")
    with pytest.raises(CheckpointError, match="expected a file written by xnn"):
        load_checkpoint(tmp_path / "weights")
    save_file(
        {"w": np.zeros(2)}, tmp_path / "newer", {"format": "xnn checkpoint", "version": "99", "state": "{}"}
    )
    with pytest.raises(CheckpointError, match="expected version 1 of the format, got 99"):
        load_checkpoint(tmp_path / "newer")
    broken = {"format": "xnn checkpoint", "version": "1", "state": json.dumps({"x": {"__array__": "y"}})}
    save_file({"w": np.zeros(2)}, tmp_path / "broken", broken)
    with pytest.raises(CheckpointError, match="header is damaged"):
        load_checkpoint(tmp_path / "broken")
    save_file(
        {"w": np.zeros(2)}, tmp_path / "list", {"format": "xnn checkpoint", "version": "1", "state": "[1]"}
    )
    with pytest.raises(CheckpointError, match="expected the state to be a dict, got list"):
        load_checkpoint(tmp_path / "list")
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "nothing")


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"no space left on device: .*a'$"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(os.name != "posix", reason="files of other systems have no mode")
def test_files_may_be_read_by_whom_the_user_allows(tmp_path):
    write_atomically(tmp_path / "a", b"new")
    (tmp_path / "b").write_bytes(b"new")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_what_killed_writers_left_is_removed(tmp_path):
    for name in ("a", ".a.12ab.part", ".b.12ab.part", "a.part"):
        (tmp_path / name).touch()
    remove_parts(tmp_path / "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".b.12ab.part", "a", "a.part"]


WRITER = """
import sys, numpy as np
from xnn.training import save_checkpoint
for i in range(10**6):
    save_checkpoint(sys.argv[1], {"i": i, "x": np.full(200_000, i)})
    if i == 0:
        print("ready", flush=True)
"""


def test_killing_the_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a.safetensors"
    for delay in (0.0, 0.003, 0.011, 0.024):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        state = load_checkpoint(path)
        assert np.all(state["x"] == state["i"])
