from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from xnn.backends import registry
from xnn.backends.registry import KERNELS, activate, deactivate, kernel, load, without_kernels

import xnn
from xnn.optim.rule import rule


class Array(np.ndarray):
    pass


def array(values, dtype=np.float32):
    return np.asarray(values, dtype=dtype).view(Array)


@xnn.op
def double(x, *, times=2):
    return times * x, lambda dy: times * dy


@rule
def descend(param, grad, state, *, lr):
    param -= lr * grad


@pytest.fixture
def fused():
    """A kernel of each kind on a backend of this test."""
    calls = []

    @kernel(double, backend="test", dtypes=("float32",))
    def fused_double(x, *, times=2):
        if x.ndim != 1:
            return NotImplemented
        calls.append("double")
        return x * times, lambda dy: dy * times

    @kernel(descend, backend="test", dtypes=("float32",))
    def fused_descend(params, grads, states, *, lr):
        if lr == 0:
            return NotImplemented
        calls.append("descend")
        for p, g in zip(params, grads, strict=True):
            p -= lr * g
        return None

    before = registry.load
    registry.load = lambda backend: None
    activate("test", Array)
    registry.load = before
    yield calls
    deactivate(Array)
    KERNELS[:] = [k for k in KERNELS if k.backend != "test"]


def test_the_kernel_of_the_dtype_runs(fused):
    assert double(array([1, 2]), times=3).tolist() == [3, 6]
    y, backward = double.vjp(array([1]))
    assert (y.tolist(), backward(array([1])).tolist()) == ([2], [2])
    assert fused == ["double", "double"]


def test_the_operation_runs_where_the_kernel_does_not(fused):
    assert double(array([1, 2], np.float64)).tolist() == [2, 4]
    assert double(array([[1, 2]])).tolist() == [[2, 4]]
    assert double(np.asarray([1, 2], np.float32)).tolist() == [2, 4]
    with without_kernels():
        assert double(array([1, 2])).tolist() == [2, 4]
        with without_kernels():
            pass
        double(array([1, 2]))
    assert fused == []
    double(array([1, 2]))
    assert fused == ["double"]
    deactivate(Array)
    double(array([1, 2]))
    assert fused == ["double"]


def test_rules(fused):
    def step(**options):
        params, grads = [array([1.0]), array([2.0])], [array([1.0]), array([1.0])]
        descend.update_group(params, grads, [{}, {}], {"lr": 0.5, **options})
        return [p.tolist() for p in params]

    assert step() == [[0.5], [1.5]]
    assert fused == ["descend"]
    assert step(lr=0) == [[1.0], [2.0]]
    with without_kernels():
        assert step() == [[0.5], [1.5]]
    assert fused == ["descend"]


def test_every_kernel_has_what_benchmarks_need():
    """Arguments that its operation takes, and work that grows with the size of an element."""
    load("cupy")
    assert {k.operation.name for k in KERNELS} >= {"softmax", "log_softmax", "cross_entropy"}
    for entry in KERNELS:
        if entry.backend != "cupy":
            continue
        assert entry.dtypes, entry.name
        assert entry.cases, entry.name
        assert len({case.label for case in entry.cases}) == len(entry.cases)
        for case in entry.cases:
            for work in filter(None, (case.forward, case.backward)):
                assert 0 < work(2).bytes < work(4).bytes
                assert work(2).operations >= 0


def test_switched_off_by_the_environment():
    code = "from xnn.backends.registry import _switch; print(_switch.off)"
    for value, off in (("off", "True"), ("", "False")):
        env = {"XNN_KERNELS": value, "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == off
