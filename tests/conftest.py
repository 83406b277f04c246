from __future__ import annotations

import os

import pytest
from support import DEVICES

import xnn

os.environ.pop("XNN_DEVICE", None)


def _no_gpu() -> str:
    """Why tests do not run on CuPy here; empty where they do."""
    try:
        xnn.device("cuda")
    except xnn.DeviceError as error:
        return str(error)
    return ""


NO_GPU = _no_gpu()


def pytest_report_header() -> str:
    """One line instead of a thousand skipped tests."""
    return f"not run on cupy: {NO_GPU}" if NO_GPU else f"run on cupy too: {xnn.device('cuda').describe()}"


@pytest.fixture(params=[name for name in DEVICES if name != "cupy" or not NO_GPU])
def device(request: pytest.FixtureRequest) -> xnn.Device:
    """Every namespace that operations run on: NumPy (read-only inputs), array_api_strict on its default and on a
    simulated second device, torch through array-api-compat, and CuPy where there is a GPU."""
    return DEVICES[request.param]()


@pytest.fixture(autouse=True)
def _same_numbers_in_every_test() -> None:
    xnn.manual_seed(0)


@pytest.fixture
def rng():
    import numpy as np

    return np.random.default_rng(0)
