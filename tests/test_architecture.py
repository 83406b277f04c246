"""What no file under xnn/ may do, read from the syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import xnn

ROOT = Path(xnn.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if "backends" not in path.relative_to(ROOT).parts)
LIBRARIES = {"numpy", "cupy", "cupyx", "scipy", "torch", "numba"}
COMPATIBLE = {f"array_api_compat.{name}" for name in LIBRARIES}
DEVICES = ("cpu", "cuda", "gpu", "numpy", "cupy")


def forbidden(name: str) -> bool:
    return name.partition(".")[0] in LIBRARIES or any(
        name == c or name.startswith(c + ".") for c in COMPATIBLE
    )


def device_name(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.partition(":")[0] in DEVICES
    )


def strings(node: ast.AST) -> list[ast.AST]:
    return list(node.elts) if isinstance(node, (ast.Tuple, ast.List, ast.Set)) else [node]


def violations(source: str) -> list[str]:
    """What a module does that it must not do."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [f"line {node.lineno}: import {a.name}" for a in node.names if forbidden(a.name)]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
            found += [f"line {node.lineno}: from {n}" for n in names if forbidden(n)][:1]
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__", "find_spec"):
                found += [
                    f"line {node.lineno}: {called}({a.value!r})"
                    for a in node.args
                    if isinstance(a, ast.Constant) and isinstance(a.value, str) and forbidden(a.value)
                ]
            if called in ("startswith", "endswith") and any(
                device_name(s) for a in node.args for s in strings(a)
            ):
                found.append(f"line {node.lineno}: looks at a device's name")
        elif isinstance(node, ast.Compare):
            sides = [s for side in (node.left, *node.comparators) for s in strings(side)]
            found += [f"line {node.lineno}: compares with {s.value!r}" for s in sides if device_name(s)]  # type: ignore[attr-defined]
        elif isinstance(node, ast.MatchValue) and device_name(node.value):
            found.append(f"line {node.value.lineno}: matches a device's name")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_one_code_for_every_device(path):
    assert violations(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import numpy",
        "import numpy as np",
        "import os, cupy.cuda",
        "from numpy import ones",
        "from numpy.linalg import norm",
        "def f():\n    import cupyx",
        "import array_api_compat.numpy as np",
        "from array_api_compat import cupy",
        "import importlib\nimportlib.import_module('numpy')",
        "__import__('cupy')",
        "if device == 'cuda': pass",
        "x = 'cpu' != name",
        "x = name in ('cpu', 'other')",
        "x = name.startswith('cuda')",
        "match name:\n    case 'cuda:0': pass",
    ],
)
def test_the_check_finds(source):
    assert violations(source)


@pytest.mark.parametrize(
    "source",
    ["import math", "device = find('cpu')", "from xnn.backends import device", "x = 'mean' == reduction"],
)
def test_the_check_lets_pass(source):
    assert violations(source) == []


def test_all_files_are_looked_at():
    assert len(FILES) > 20
    assert ROOT / "autodiff.py" in FILES
