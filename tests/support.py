"""What tests share: the namespaces that everything runs on, and comparisons that look at more than values."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
import pytest
from xnn.backends import device_of, to_host
from xnn.backends.namespaces import dtype_name, unwrap

import xnn

try:
    import torch
except ImportError:
    torch = None

NEEDS_TORCH = "PyTorch, the oracle of this test, is not installed (pip install torch)"
needs_torch = pytest.mark.skipif(torch is None, reason=NEEDS_TORCH)


def _strict(handle: str | None = None) -> xnn.Device:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    if handle is None:
        return xnn.device(strict)
    return device_of(strict.asarray(0.0, device=strict.Device(handle)))


def _torch() -> xnn.Device:
    if torch is None:
        pytest.skip(NEEDS_TORCH)
    import array_api_compat.torch

    return xnn.device(array_api_compat.torch)


def _cuda() -> xnn.Device:
    try:
        return xnn.device("cuda")
    except xnn.DeviceError as error:
        pytest.skip(str(error))


def _emulated() -> xnn.Device:
    """CUDA kernels on the CPU: what a kernel covers runs on the emulator, everything else on NumPy."""
    try:
        return xnn.device("emulated")
    except xnn.DeviceError as error:
        pytest.skip(str(error))


DEVICES = {
    "numpy": lambda: xnn.device("cpu"),
    "strict": _strict,
    "strict-device1": lambda: _strict("device1"),
    "torch": _torch,
    "emulated": _emulated,
    "cupy": _cuda,
}


def put(device: xnn.Device, values: Any, dtype: Any = None) -> Any:
    """A plain array on ``device``. NumPy arrays are read-only: an operation that writes into its input fails."""
    array = device.asarray(np.asarray(values), dtype=dtype, copy=True)
    if isinstance(array, np.ndarray):
        array.flags.writeable = False
    return array


def leaf(device: xnn.Device, values: Any, dtype: Any = None) -> xnn.Tensor:
    """A Tensor on ``device`` that requires a gradient."""
    return xnn.Tensor(put(device, values, dtype), requires_grad=True)


def host(x: Any) -> np.ndarray:
    """The values of an array, Tensor or torch tensor as a NumPy array."""
    if torch is not None and isinstance(x, torch.Tensor):
        return x.detach().cpu().numpy()
    return to_host(unwrap(x)) if not isinstance(x, (int, float, list, tuple, np.generic)) else np.asarray(x)


def assert_close(
    actual: Any, expected: Any, *, rtol: float | None = None, atol: float | None = None, device: Any = None
) -> None:
    """Same shape, same dtype, same device (if given), and values within the dtype's error."""
    want = host(expected)
    plain = unwrap(actual)
    if device is not None:
        assert device_of(plain) == device, f"expected an array on {device}, got one on {device_of(plain)}"
    assert tuple(plain.shape) == want.shape, f"expected shape {want.shape}, got {tuple(plain.shape)}"
    assert dtype_name(plain.dtype) == want.dtype.name, f"expected dtype {want.dtype}, got {plain.dtype}"
    default = {"float16": 2e-3, "float32": 2e-5, "float64": 1e-11}.get(want.dtype.name, 0.0)
    np.testing.assert_allclose(
        host(plain), want, rtol=default if rtol is None else rtol, atol=default if atol is None else atol
    )


def is_plain(x: Any) -> bool:
    """Whether ``x`` is an array and not a Tensor."""
    return array_api_compat.is_array_api_obj(x) and not isinstance(x, xnn.Tensor)
