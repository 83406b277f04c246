"""The examples in the docstrings of xnn.optim."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import xnn
from xnn import optim

MODULES = [m.name for m in pkgutil.walk_packages(optim.__path__, "xnn.optim.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    results = doctest.testmod(importlib.import_module(name), extraglobs={"np": np, "xnn": xnn})
    assert results.failed == 0
