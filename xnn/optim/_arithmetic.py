"""Steps that the rules of several optimizers share. A name that ends in ``_`` changes its first argument in place."""

from __future__ import annotations

from xnn.backends.namespaces import Array


def downhill(param: Array, grad: Array, weight_decay: float, maximize: bool) -> Array:
    """±g + λ θ: the gradient of what is minimized, with the penalty ½ λ ‖θ‖². ``grad`` itself if nothing is to do."""
    if maximize:
        grad = -grad
    if weight_decay:
        penalty = weight_decay * param
        penalty += grad
        return penalty
    return grad


def decay_(param: Array, lr: float, weight_decay: float) -> None:
    """θ ← (1 - η λ) θ: weight decay apart from the gradient (Loshchilov and Hutter 2019)."""
    if weight_decay:
        param *= 1 - lr * weight_decay


def average_(mean: Array, x: Array, beta: float) -> None:
    """m ← β m + (1 - β) x."""
    mean *= beta
    mean += (1 - beta) * x


def average_square_(mean: Array, x: Array, beta: float) -> None:
    """v ← β v + (1 - β) x²."""
    square = x * x
    square *= 1 - beta
    mean *= beta
    mean += square
