"""Checkpoints: one safetensors file that holds everything a run needs to go on.

A state is a nested structure of dicts, lists, numbers, strings, None and arrays. The arrays go into the file as
tensors, named by their path (``model.0.weight``), so other programs can read them; the rest goes into the file's
metadata as JSON, with a reference in each array's place. Python writes floats to JSON so that they read back exactly.

A file is written beside its place and then moved there, which the system does at once or not at all: whenever the
process is killed, the file under the name is either the old one or the new one, whole.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xnn.backends import to_host
from xnn.backends.namespaces import is_array

FORMAT = "xnn checkpoint"
VERSION = 1

__all__ = ["CheckpointError", "load_checkpoint", "save_checkpoint", "write_atomically"]


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read or does not fit. The message names the file, what was expected and what came."""


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that, at every moment, its name leads to the old content or to the new one, whole.

    Raises:
        OSError: names ``path``; what was there is as it was.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # (tempfile would make a file that nobody else in the user's group may read.)
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        if (
            isinstance(error, OSError) and error.errno is not None
        ):  # a full disk is reported without a name, others with that of the part
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def remove_parts(path: str | os.PathLike[str]) -> None:
    """Remove what is left of writing ``path`` by processes that were killed meanwhile."""
    path = Path(path)
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            part.unlink()


def save_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write ``state`` to a safetensors file, atomically.

    Args:
        path: of the file; its folder is made if it is not there.
        state: nested dicts and lists of numbers, strings, None, bools and arrays (of any namespace and device).

    Raises:
        TypeError: something else is in ``state``; the message names its path.
    """
    from safetensors.numpy import save

    tensors: dict[str, Any] = {}
    rest = _take_arrays(state, "", tensors)
    header = {"format": FORMAT, "version": str(VERSION), "state": json.dumps(rest)}
    write_atomically(path, save(tensors, metadata=header))


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; arrays come back as NumPy arrays.

    Raises:
        CheckpointError: there is no such file, it is truncated or damaged, or it is not a checkpoint of xnn.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {path}: expected a whole safetensors file, got {path.stat().st_size} bytes that do not read "
            f"as one ({error}); it is truncated, damaged or of another format"
        ) from error
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint {path}: expected a file written by xnn, got a safetensors file without its header; to load "
            "plain weights use Module.load_state_dict"
        )
    if header.get("version") != str(VERSION):
        raise CheckpointError(
            f"checkpoint {path}: expected version {VERSION} of the format, got {header.get('version')}"
        )
    try:
        state = _put_arrays(json.loads(header["state"]), tensors)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path}: the header is damaged ({error!r})") from error
    if not isinstance(state, dict):
        raise CheckpointError(
            f"checkpoint {path}: expected the state to be a dict, got {type(state).__name__}"
        )
    return state


_ARRAY = "__array__"


def _take_arrays(value: Any, path: str, tensors: dict[str, Any]) -> Any:
    """``value`` with each array replaced by a reference, the arrays in ``tensors`` by path."""
    if is_array(value):
        host = to_host(value)
        tensors[path] = host.copy() if not host.flags.c_contiguous else host
        return {_ARRAY: path}
    if isinstance(value, Mapping):
        pairs = []
        for key, item in value.items():
            if not isinstance(key, (str, int)):
                raise TypeError(
                    f"save_checkpoint: expected str or int keys at {path or 'the top'}, got {key!r}"
                )
            pairs.append([key, _take_arrays(item, f"{path}.{key}" if path else str(key), tensors)])
        if all(isinstance(key, str) for key, _ in pairs):
            return dict(pairs)
        return {"__pairs__": pairs}  # JSON would turn integer keys into strings
    if isinstance(value, (list, tuple)):
        return [
            _take_arrays(item, f"{path}.{i}" if path else str(i), tensors) for i, item in enumerate(value)
        ]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"save_checkpoint: expected numbers, strings, None, lists, dicts and arrays, "
        f"got {type(value).__name__} at {path}"
    )


def _put_arrays(value: Any, tensors: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_put_arrays(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        return tensors[value[_ARRAY]]
    if "__pairs__" in value:
        return {key: _put_arrays(item, tensors) for key, item in value["__pairs__"]}
    return {key: _put_arrays(item, tensors) for key, item in value.items()}
