"""The kernel that docs/kernels.md goes through does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from xnn.backends import registry, to_host
from xnn.backends.cupy.launch import KernelFile, ceil_div

PAGE = Path(__file__).parents[3] / "docs" / "kernels.md"


@pytest.fixture
def kernels(tmp_path):
    path = tmp_path / "scaled_square.cu"
    path.write_text(re.search(r"```cpp\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1])
    return KernelFile(path)


def test_the_example(gpu, dtype, kernels):
    values = np.arange(-300, 300).astype(dtype) / dtype.type(16)
    x = gpu.asarray(values)
    y = gpu.xp.empty_like(x)
    threads = kernels.constants["THREADS"]
    kernels["scaled_square"]((ceil_div(x.size, threads),), (threads,), x=x, y=y, n=x.size, a=0.5)
    want = (0.5 * values.astype(np.float64) ** 2).astype(dtype)
    np.testing.assert_array_equal(np.asarray(to_host(y)).astype(np.float64), want.astype(np.float64))


def test_operation_and_launch(gpu, kernels, monkeypatch):
    """Both pieces of Python as they stand on the page."""
    operation, launch = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[:2]
    monkeypatch.setattr(registry, "KERNELS", [])
    names: dict[str, object] = {}
    exec(operation, names)
    names["given"] = kernels
    exec(launch.replace('KernelFile("scaled_square")', "given"), names)
    (entry,) = registry.KERNELS
    assert entry.operation is names["scaled_square"]
    values = np.arange(-5, 5, dtype=np.float32)
    y, backward = entry.function(gpu.asarray(values), 3.0)
    y0, backward0 = entry.operation.vjp(values, 3.0)
    np.testing.assert_array_equal(to_host(y), y0)
    np.testing.assert_array_equal(to_host(backward(gpu.asarray(values))), backward0(values))
    arguments, _ = entry.cases[0].make(gpu, "float32")
    assert arguments[0].shape == (1_000_000,)
    assert entry.cases[0].backward(4).bytes == 12_000_000


def test_the_error(gpu, kernels):
    x, y = gpu.asarray(np.zeros(12, np.float32)), gpu.asarray(np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match="kernel") as caught:
        kernels["scaled_square"]((1,), (256,), x=x, y=y, n=12, a=1)
    assert str(caught.value) in PAGE.read_text(encoding="utf-8")
