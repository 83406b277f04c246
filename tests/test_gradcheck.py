"""The check itself: it accepts what is right and notices what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from support import put

import xnn

X = np.asarray([[0.5, -1.5, 2.0], [1.0, 0.7, -0.3]])


def planted(backward):
    """x² + y (y broadcasts), with a backward of one's own."""

    def forward(x, y):
        return x * x + y, lambda dy: backward(x, y, dy)

    return xnn.op(forward)


def right(x, y, dy):
    return 2 * x * dy, np.sum(dy, axis=0)


WRONG = {
    "factor": lambda x, y, dy: (x * dy, np.sum(dy, axis=0)),
    "sign": lambda x, y, dy: (-2 * x * dy, np.sum(dy, axis=0)),
    "missing term": lambda x, y, dy: (2 * x, np.sum(dy, axis=0)),
    "one element": lambda x, y, dy: (2 * x * dy * (1 + 1e-3 * (x == 2.0)), np.sum(dy, axis=0)),
    "mean for sum": lambda x, y, dy: (2 * x * dy, np.mean(dy, axis=0)),
    "order": lambda x, y, dy: (np.flip(2 * x * dy, axis=0), np.sum(dy, axis=0)),
    "second argument": lambda x, y, dy: (2 * x * dy, np.sum(dy, axis=0) * 1.001),
}


def test_right_gradients_pass(device):
    xnn.gradcheck(planted(right), X, X[0])
    xnn.gradcheck(lambda x: x**3, put(device, X))
    xnn.gradcheck(lambda x: x**3, np.ones((0, 2)))
    xnn.gradcheck(xnn.functional.relu, put(device, X))


@pytest.mark.parametrize("name", WRONG)
def test_wrong_gradients_are_found(name):
    with pytest.raises(xnn.GradientError, match=r"input [01] of shape .* backward gives .* differences give"):
        xnn.gradcheck(planted(WRONG[name]), X, X[0])


def test_the_message_names_the_input():
    with pytest.raises(xnn.GradientError, match=r"input 1 of shape \(3,\)"):
        xnn.gradcheck(planted(WRONG["second argument"]), X, X[0])


def test_gradients_of_wrong_shape_are_found():
    with pytest.raises(RuntimeError, match=r"expected a gradient of shape \(3,\).*returned shape \(2, 3\)"):
        xnn.gradcheck(planted(lambda x, y, dy: (2 * x * dy, dy)), X, X[0])


def test_missing_gradients_are_found():
    with pytest.raises(xnn.GradientError, match="input 1 received no gradient"):
        xnn.gradcheck(planted(lambda x, y, dy: (2 * x * dy, None)), X, X[0])
    with pytest.raises(xnn.GradientError, match="no result depends on the inputs"):
        xnn.gradcheck(lambda x: x.detach(), X)


@pytest.mark.parametrize("function", [lambda x: xnn.clip(x, 0.0, 1.0), xnn.functional.relu])
def test_kinks_are_named(function):
    with pytest.raises(xnn.GradientError, match="the function has a kink within eps"):
        xnn.gradcheck(function, np.asarray([0.0]))


def test_nan_is_found():
    with np.errstate(all="ignore"), pytest.raises(xnn.GradientError, match="backward gives nan"):
        xnn.gradcheck(lambda x: xnn.sqrt(x) * 0.0, np.asarray([0.0]))
    with pytest.raises(xnn.GradientError, match="backward gives nan"):
        xnn.gradcheck(planted(lambda x, y, dy: (x * np.nan, np.sum(dy, axis=0))), X, X[0])


def test_backward_functions_that_change_what_they_caught_are_found():
    def spoils(x):
        kept = np.ones_like(x)

        def backward(dy):
            kept[...] *= 2
            return kept * dy

        return 2 * x, backward

    with pytest.raises(xnn.GradientError, match="gives other gradients when it is run again"):
        xnn.gradcheck(xnn.op(spoils), X)


def test_several_results_and_other_arguments():
    xnn.gradcheck(lambda x, n, y: (x * n, xnn.sum(x * y), y), X, 3, X + 1.0)
    xnn.gradcheck(lambda x, i: xnn.take(x, i, axis=1), X, np.asarray([0, 0, 2]))


def test_inputs_without_float64():
    with pytest.raises(
        TypeError, match="expected at least one float64 array among the inputs, got float32, int"
    ):
        xnn.gradcheck(lambda x, n: x, X.astype("float32"), 3)


def test_functions_must_return_tensors():
    with pytest.raises(TypeError, match="expected the function to return Tensors, got float"):
        xnn.gradcheck(lambda x: 1.0, X)


def test_nothing_is_changed():
    x, t = X.copy(), xnn.Tensor(X.copy(), requires_grad=True)
    with xnn.no_grad():
        xnn.gradcheck(lambda a, b: a * b, x, t)
    assert x.tolist() == X.tolist()
    assert t.grad is None
