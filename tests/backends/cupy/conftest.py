from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from xnn.backends.emulator.device import emulated_device

import xnn


def _cupy() -> list[str]:
    try:
        xnn.device("cuda")
    except xnn.DeviceError:
        return []
    return ["cuda"]


@pytest.fixture(params=["emulated", *_cupy()])
def gpu(request: pytest.FixtureRequest) -> xnn.Device:
    """A device that runs CUDA kernels: the emulated one, and a real one where there is one."""
    if request.param == "cuda":
        return xnn.device("cuda")
    try:
        return emulated_device()
    except xnn.DeviceError as error:
        pytest.skip(str(error))


DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    """What kernels are written for."""
    return DTYPES[request.param]
