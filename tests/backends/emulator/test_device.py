"""The emulated device: arrays of its own, as strict as CuPy's, whose operations go to the kernels of the CUDA backend."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from support import assert_close
from xnn.backends import device_of, to_host
from xnn.backends.emulator.device import EmulatedArray
from xnn.backends.namespaces import array_namespace, reads_are_free

import xnn
from xnn.functional import linear, softmax


@pytest.fixture
def device():
    return xnn.device("emulated")


def test_it_is_found_by_its_name(device):
    assert str(device) == "emulated"
    assert device == xnn.device("emulated")
    assert device != xnn.device("cpu")
    assert "emulated" in device.describe()
    x = device.asarray([1.0, 2.0])
    assert type(x) is EmulatedArray
    assert device_of(x) == device
    assert device_of(xnn.Tensor(x)) == device
    assert xnn.device(device.xp) == device


def test_arrays_come_and_go_by_copies(device):
    values = np.arange(6.0).reshape(2, 3)
    x = device.asarray(values, dtype="float32")
    assert x.dtype == np.float32
    values[0, 0] = 7
    assert x[0, 0] == 0
    back = to_host(x)
    assert type(back) is np.ndarray
    back[0, 0] = 9
    assert x[0, 0] == 0
    assert xnn.device("cpu").asarray(x).tolist() == x.tolist()
    assert type(device.asarray(x)) is EmulatedArray


def test_reading_is_not_free(device):
    x = device.asarray([1.0])
    assert not reads_are_free(x)
    assert not reads_are_free(xnn.Tensor(x))
    assert reads_are_free(np.ones(1))
    assert reads_are_free(xnn.Tensor(np.ones(1)))


def test_all_results_are_its_arrays(device):
    xp = device.xp
    x = device.asarray([[3.0, 1.0], [2.0, 4.0]])
    results = [
        x + 1,
        2 * x,
        x @ x,
        -x,
        x.T,
        x[0],
        x[0, 0],
        x.sum(),
        x.mean(axis=0),
        x > 1,
        x[x > 1],
        x.astype(np.int32),
    ]
    results += [
        np.exp(x),
        np.sum(x),
        np.add.reduce(x),
        np.concatenate([x, x]),
        np.where(x > 1, x, 0),
        np.max(x),
        x**2,
    ]
    results += [
        xp.sum(x),
        xp.zeros(3),
        xp.arange(3),
        xp.asarray(1.0),
        xp.zeros_like(x),
        xp.linalg.inv(x),
        xp.sqrt(x),
    ]
    results += [
        *xp.unique_all(x),
        *xp.linalg.eigh(x),
        *xp.broadcast_arrays(x, x),
        xp.zeros(2, device=x.device),
    ]
    results += [
        xp.permute_dims(x, (1, 0)),
        xp.ascontiguousarray(x.T),
        xp.empty_like(x),
        xp.matmul(x, x),
        xp.sort(x),
    ]
    assert {type(r) for r in results} == {EmulatedArray}
    assert array_namespace(*results) is xp
    assert float(x.sum()) == 10
    assert xp.ascontiguousarray(x[0, 0]).shape == ()
    x += 1
    assert x.tolist() == [[4, 2], [3, 5]]
    x[0] = x[1]
    assert x.tolist() == [[3, 5], [3, 5]]
    out = xp.empty_like(x)
    assert np.add(x, x, out=out) is out
    assert out.tolist() == [[6, 10], [6, 10]]


def test_numpy_arrays_do_not_mix_in(device):
    x, host = device.asarray([1.0, 2.0]), np.ones(2)
    message = "expected arrays on the emulated device, got a numpy.ndarray"
    for mix in (
        lambda: x + host,
        lambda: host * x,
        lambda: np.where(x > 1, x, host),
        lambda: np.concatenate([x, host]),
        lambda: device.xp.matmul(x, host),
        lambda: x.__setitem__(slice(None), host),
        lambda: x[host > 0],
        lambda: np.add(host, host, out=x),
    ):
        with pytest.raises(TypeError, match=message):
            mix()
    with pytest.raises(
        TypeError, match=r"add: expected all arrays on one device, got .*EmulatedArray on emulated"
    ):
        xnn.add(x, host)
    with pytest.raises(TypeError, match="linear: expected all arrays on one device"):
        linear(xnn.Tensor(device.asarray(np.ones((2, 2)))), np.ones((2, 2)))
    with pytest.raises(TypeError):
        array_namespace(x, host)
    with pytest.raises(ValueError, match="expected the device 'emulated', got 'cpu'"):
        device.xp.zeros(2, device="cpu")


def test_copies(device):
    x = device.asarray([1.0, 2.0])
    for other in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(other) is EmulatedArray
        assert other.tolist() == [1, 2]


def test_what_the_namespace_says_of_itself(device):
    info = device.xp.__array_namespace_info__()
    assert info.default_device() == "emulated"
    assert info.devices() == ["emulated"]
    assert "float32" in info.dtypes(kind="real floating")
    assert info.default_dtypes()["real floating"] == np.float64
    assert "boolean indexing" in info.capabilities()
    assert not hasattr(device.xp, "no_such_function")
    assert "matmul" in dir(device.xp)


def test_a_network_trains_on_it(device):
    xnn.manual_seed(0)
    model = xnn.nn.Sequential(xnn.nn.Linear(4, 8), xnn.nn.ReLU(), xnn.nn.Linear(8, 3)).to(device)
    x = device.asarray(np.random.default_rng(0).standard_normal((16, 4)), dtype="float32")
    target = device.asarray(np.arange(16) % 3)
    optimizer = xnn.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = xnn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    assert all(type(p.data) is EmulatedArray for p in model.parameters())


def test_kernels_run_in_place_of_operations(device):
    """Skipped while there is no kernel for softmax."""
    if EmulatedArray not in softmax.kernels:
        pytest.skip("no CUDA kernel is registered for softmax")
    values = np.random.default_rng(0).standard_normal((5, 33)).astype(np.float32)
    y = softmax(device.asarray(values))
    assert_close(to_host(y), softmax(values), rtol=1e-5, atol=1e-7)
