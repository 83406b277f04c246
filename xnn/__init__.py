"""xnn: neural networks on arrays that you understand, with one code for NumPy and CUDA."""

from __future__ import annotations

import importlib
from typing import Any

from xnn.tensor import Tensor, tensor  # isort: skip  (first: the engine and the array functions meet in it)
from xnn import array_api, functional, init, nn, random
from xnn.array_api import *  # noqa: F403
from xnn.autodiff import enable_grad, grad, is_grad_enabled, no_grad, op, value_and_grad, vjp
from xnn.backends import Device, DeviceError, OutOfMemoryError, array_namespace, device, devices
from xnn.gradcheck import GradientError, gradcheck
from xnn.random import manual_seed

__version__ = "0.1.0"

__all__ = [
    "Device",
    "DeviceError",
    "GradientError",
    "OutOfMemoryError",
    "Tensor",
    "array_api",
    "array_namespace",
    "device",
    "devices",
    "enable_grad",
    "functional",
    "grad",
    "gradcheck",
    "init",
    "is_grad_enabled",
    "manual_seed",
    "nn",
    "no_grad",
    "op",
    "random",
    "tensor",
    "value_and_grad",
    "vjp",
]
__all__ += array_api.__all__

_ON_DEMAND = ("data", "models", "optim", "training")


def __getattr__(name: str) -> Any:  # xnn.optim and the like, imported when first asked for
    if name in _ON_DEMAND:
        return importlib.import_module(f"xnn.{name}")
    if name in array_api.data_types.NAMES:  # float32, int64, ...
        return getattr(array_api, name)
    raise AttributeError(f"module 'xnn' has no attribute {name!r}")
