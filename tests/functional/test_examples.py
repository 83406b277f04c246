from __future__ import annotations

import doctest
import importlib
import pkgutil
import sys

import numpy as np
import pytest

import xnn

MODULES = [
    m.name
    for m in pkgutil.iter_modules(importlib.import_module("xnn.functional").__path__, "xnn.functional.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    importlib.import_module(name)
    module = sys.modules[name]  # not the function of the same name in the package
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for thing in vars(module).values():
        if getattr(thing, "__module__", None) == name and thing.__doc__:
            for example in finder.find(thing, module=False, globs={"np": np, "xnn": xnn}):
                runner.run(example)
    assert runner.summarize().failed == 0
