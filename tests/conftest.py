from __future__ import annotations

import os

import pytest
from support import DEVICES

import xnn

os.environ.pop("XNN_DEVICE", None)


@pytest.fixture(params=DEVICES)
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
