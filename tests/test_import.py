"""`import xnn` is light: what is only sometimes needed is imported when it is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    *("cupy", "cupyx", "torch", "scipy", "numba"),
    *("pooch", "click", "tqdm", "matplotlib", "PIL", "safetensors", "requests"),
)


def loaded_after(code: str) -> set[str]:
    code = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    return loaded_after("import xnn")


@pytest.mark.parametrize("name", HEAVY)
def test_import_leaves_out(loaded, name):
    assert name not in loaded


@pytest.mark.parametrize("name", ["xnn.data", "xnn.optim", "xnn.training", "xnn.models", "xnn.cli"])
def test_packages_come_when_asked_for(loaded, name):
    assert name not in loaded


def test_import_resolves_no_namespace(loaded):
    """array_api_compat.numpy imports all of NumPy, numpy.random and numpy.fft among it."""
    assert "array_api_compat.numpy" not in loaded
    assert "array_api_compat.cupy" not in loaded
    beyond = loaded - loaded_after("import numpy")
    assert [m for m in beyond if m.startswith(("numpy.random", "numpy.linalg", "numpy.fft"))] == []


def test_looking_for_a_device_imports_no_other_library():
    loaded = loaded_after("import xnn, logging\nlogging.disable()\nxnn.devices()\nxnn.tensor([1.0]) * 2.0")
    assert not loaded & {"torch", "array_api_strict", "scipy", "numba", "matplotlib"}
