from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from support import assert_close, put
from xnn.backends import cupy, device_of, is_array, to_host
from xnn.backends import numpy as host_backend
from xnn.backends.device import Device, NamespaceDevice
from xnn.backends.namespaces import array_namespace, reads_are_free, unwrap

import xnn


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("XNN_DEVICE", "XNN_MALLOC")}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**kept, **environment}, check=False
    )


# --- finding one ------------------------------


def test_names():
    cpu = xnn.device("cpu")
    assert cpu is xnn.device("cpu:0") is xnn.device(cpu) is host_backend.HOST
    assert (repr(cpu), str(cpu), cpu.name) == ("device('cpu')", "cpu", "cpu")


@pytest.mark.parametrize("name", ["nonsense", "", "cpu:1", "cuda:x", "cuda:-1", "CUDA", "cuda:1:2", "gpu"])
def test_unknown_names(name):
    with pytest.raises(
        xnn.DeviceError, match="device: expected 'auto', 'cpu', 'cuda' or 'cuda:<number>', got "
    ):
        xnn.device(name)


def test_namespaces():
    strict = pytest.importorskip("array_api_strict")
    device = xnn.device(strict)
    assert isinstance(device, NamespaceDevice)
    assert device.xp is strict
    assert device == xnn.device(strict)
    assert hash(device) == hash(xnn.device(strict))
    other = device_of(strict.ones(1, device=strict.Device("device1")))
    assert device != other
    assert device != xnn.device("cpu")
    assert "array_api_strict" in repr(device)
    assert device.describe() == "Array API namespace array_api_strict"
    assert device.memory() is None
    device.synchronize()
    assert xnn.device(np) == xnn.device("cpu")


@pytest.mark.parametrize("wrong", [3, 1.5, object(), os])
def test_neither_name_nor_namespace(wrong):
    with pytest.raises(xnn.DeviceError, match=r"device: expected a name such as 'cuda:0'.*got"):
        xnn.device(wrong)


def test_devices_are_keys():
    assert (
        len(
            {xnn.device("cpu"), xnn.device("cpu"), cupy.CudaDevice(0), cupy.CudaDevice(0), cupy.CudaDevice(1)}
        )
        == 3
    )
    assert xnn.device("cpu") != "cpu"
    assert repr(cupy.CudaDevice(1)) == "device('cuda:1')"


def test_environment(monkeypatch):
    monkeypatch.setenv("XNN_DEVICE", "cpu")
    assert xnn.device() is xnn.device("auto") is xnn.device(None) is xnn.device("cpu")
    monkeypatch.setenv("XNN_DEVICE", "nonsense")
    with pytest.raises(
        xnn.DeviceError, match=r"XNN_DEVICE=nonsense: device: expected 'auto', 'cpu'.*got 'nonsense'"
    ):
        xnn.device()
    assert xnn.device("cpu").name == "cpu"


def test_the_fallback_is_announced_once():
    code = "import xnn; d = [xnn.device() for _ in range(3)]; xnn.devices(); assert d[0].name in ('cpu', 'cuda:0'), d"
    done = run(code, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("xnn: using the CPU; no usable CUDA device: ")
    quiet = run("import xnn; xnn.device(); xnn.device('cpu')", XNN_DEVICE="cpu")
    assert (quiet.returncode, quiet.stderr) == (0, "")


# --- what a device does ------------------------------


def test_the_cpu():
    cpu = xnn.device("cpu")
    assert "cores, NumPy " in cpu.describe()
    memory = cpu.memory()
    assert memory is None or 0 < memory.used < memory.total
    cpu.synchronize()
    report = xnn.devices()[0]
    assert report == ("cpu", cpu, cpu.describe(), "")


def test_arrays_from_everywhere(device):
    values = [[1.0, 2.0], [3.0, 4.0]]
    for source in (values, np.asarray(values), put(device, values), xnn.Tensor(put(device, values))):
        assert_close(device.asarray(source, dtype="float64"), np.asarray(values), device=device)
    mine = device.asarray(np.asarray(values), copy=True)
    assert device_of(mine) == device_of(xnn.Tensor(mine)) == device
    assert device.asarray(mine) is mine or array_namespace(mine).all(device.asarray(mine) == mine)
    with pytest.raises(TypeError, match="dtype: expected one of bool, int8"):
        device.asarray([1.0], dtype="float33")


def test_to_host(device):
    x = np.arange(6.0).reshape(2, 3)
    for given in (put(device, x), xnn.Tensor(put(device, x))):
        assert isinstance(to_host(given), np.ndarray)
        assert to_host(given).tolist() == x.tolist()
    mine = np.ones(2)
    assert np.shares_memory(to_host(mine), mine)


def test_equality_needs_the_same_class():
    class Other(Device):
        name = "cpu"
        xp = None

        def describe(self) -> str:
            return ""

    assert Other() != xnn.device("cpu")
    assert Other() == Other()


# --- namespaces ------------------------------


def test_array_namespace(device):
    x = put(device, [1.0])
    t = xnn.Tensor(x)
    assert array_namespace(x) is device.xp
    assert array_namespace(x, 2.0, None) is device.xp
    assert array_namespace(x, t) is array_namespace(t, x) is array_namespace(t) is xnn.array_api
    assert is_array(x)
    assert is_array(t)
    assert unwrap(t) is x
    assert unwrap(x) is x
    assert unwrap(3) == 3
    assert reads_are_free(x) == reads_are_free(t) == (not device.name.startswith(("cuda", "emulated")))


@pytest.mark.parametrize("value", [1, 2.0, None, [1.0], "x", np.float32, np.dtype("float32"), float])
def test_what_is_no_array(value):
    assert not is_array(value)
    with pytest.raises(TypeError, match=r"expected an array \(NumPy, CuPy, a Tensor, ...\), got "):
        array_namespace(value)
    with pytest.raises(TypeError, match="got nothing"):
        array_namespace()


def test_numpy_scalars_and_subclasses_are_arrays():
    class Mine(np.ndarray):
        pass

    assert is_array(np.float64(1.0))
    assert array_namespace(np.float64(1.0)) is array_namespace(np.ones(1).view(Mine)) is xnn.device("cpu").xp


def test_two_namespaces():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(
        TypeError, match=r"expected all arrays on one device, got numpy.ndarray on cpu, array_api_strict"
    ):
        array_namespace(np.ones(1), strict.ones(1))


def test_unknown_attribute_of_the_package():
    from xnn import backends

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        backends.nonsense  # noqa: B018
