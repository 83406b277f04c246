"""The examples in the docstrings of operations and layers."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import sys

import numpy as np
import pytest

import xnn

MODULES = [
    module.name
    for package in ("xnn.functional", "xnn.nn")
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    importlib.import_module(name)
    module = sys.modules[name]  # not the function of the same name in the package
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for thing in vars(module).values():
        if getattr(thing, "__module__", None) == name and thing.__doc__:
            for example in finder.find(thing, module=False, globs={"np": np, "xnn": xnn}):
                runner.run(example)
    assert runner.summarize().failed == 0
