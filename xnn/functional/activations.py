"""Activation functions, elementwise."""

from __future__ import annotations

import math

from xnn.array_api.elementwise import tanh
from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, Namespace, array_namespace, dtype_name
from xnn.functional._checks import check_floating
from xnn.functional._constants import zeros_for
from xnn.functional.erf import erf_values, gaussian

__all__ = ["elu", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "softplus", "tanh"]


def _row(xp: Namespace, x: Array, value: float) -> Array:
    """``value`` as a row that broadcasts to x.

    NumPy's maximum and minimum take two arrays twice as fast as an array and a number.
    """
    return xp.full(x.shape[-1:], value, dtype=x.dtype, device=x.device)


def _is_positive(xp: Namespace, x: Array) -> Array:
    """1 where x > 0, else 0, in the dtype of x: multiplying by it is several times as fast as ``where``."""
    return xp.astype(x > 0, x.dtype)


@op
def relu(x: Array) -> tuple[Array, Backward]:
    """y = max(x, 0), dx = dy where x > 0, 0 elsewhere (also at 0).

    Args:
        x: any shape, a real dtype.

    >>> xnn.functional.relu(np.asarray([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    xp = array_namespace(x)
    y = xp.maximum(x, zeros_for(xp, x, x.shape[-1]) if x.shape else xp.zeros_like(x))
    return y, lambda dy: dy * xp.astype(y > 0, dy.dtype)


@op
def leaky_relu(x: Array, negative_slope: float = 0.01) -> tuple[Array, Backward]:
    """y = x where x > 0, else a x, with a = ``negative_slope``. dx = dy where x > 0, else a dy (also at 0).

    Args:
        x: any shape, a floating-point dtype.
        negative_slope: a, any number.

    Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic models", ICML 2013.
    """
    check_floating("leaky_relu", x)
    xp = array_namespace(x)
    a = negative_slope
    y = (xp.maximum if a <= 1 else xp.minimum)(x, a * x)

    def backward(dy: Array) -> Array:
        positive = _is_positive(xp, x)
        slope = 1 - positive
        slope *= a
        slope += positive
        return dy * slope

    return y, backward


@op
def elu(x: Array, alpha: float = 1.0) -> tuple[Array, Backward]:
    """y = x where x > 0, else α (eˣ - 1). dx = dy where x > 0, else α eˣ dy = (y + α) dy.

    Args:
        x: any shape, a floating-point dtype.
        alpha: α, to which -y tends for x → -∞.

    Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by exponential linear units",
    ICLR 2016.
    """
    check_floating("elu", x)
    xp = array_namespace(x)
    zero = _row(xp, x, 0.0)
    below = xp.expm1(xp.minimum(x, zero))  # 0 for x > 0, so nothing overflows
    if alpha != 1.0:
        below *= alpha
    y = xp.maximum(x, zero)
    y += below

    def backward(dy: Array) -> Array:
        slope = below + 1.0
        if alpha != 1.0:
            slope += (alpha - 1.0) * (1 - _is_positive(xp, x))
        slope *= dy
        return slope

    return y, backward


@op
def gelu(x: Array, *, approximate: str = "none") -> tuple[Array, Backward]:
    """y = x Φ(x), Φ the distribution function of the standard normal, φ its density.

    "none":  Φ(x) = (1 + erf(x / √2)) / 2,    dy/dx = Φ(x) + x φ(x),   φ(x) = e^{-x²/2} / √(2π)
    "tanh":  y = x (1 + t) / 2,   t = tanh(u),   u = √(2/π) (x + 0.044715 x³),
             dy/dx = (1 + t) / 2 + x (1 - t²) / 2 · √(2/π) (1 + 3 · 0.044715 x²)

    Args:
        x: any shape, a floating-point dtype.
        approximate: "none" or "tanh".

    Hendrycks, Gimpel, "Gaussian error linear units (GELUs)", arXiv 1606.08415, section 2.

    Raises:
        ValueError: ``approximate`` is something else.
        TypeError: ``x`` is not floating-point.
    """
    check_floating("gelu", x)
    xp = array_namespace(x)
    if approximate == "none":
        cdf = erf_values(xp, x * math.sqrt(0.5))
    elif approximate == "tanh":
        k, c = math.sqrt(2 / math.pi), 0.044715
        # Behind |x| = 10, t is ±1 in every dtype. Held there, x² does not overflow, and 0 · ∞ is no part of dy/dx.
        square = x * x
        square = xp.minimum(square, _row(xp, x, 100.0))
        u = square * (k * c)
        u += k
        u *= x
        cdf = xp.tanh(u)
    else:
        raise ValueError(f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}")
    t = cdf
    cdf = 0.5 * t
    cdf += 0.5

    def backward(dy: Array) -> Array:
        if approximate == "none":
            slope = gaussian(xp, x, 0.5)
            slope *= 1 / math.sqrt(2 * math.pi)
        else:
            slope = square * (1.5 * k * c)
            slope += 0.5 * k
            slope *= 1 - t * t
        slope *= x
        slope += cdf
        slope *= dy
        return slope

    return x * cdf, backward


# Where 1 / (1 + e^{-x}) reaches the smallest normal number: held there, e^{-x} does not overflow.
_LOWEST = {"float16": -9.7, "bfloat16": -87.0, "float32": -87.3, "float64": -708.3}


def sigmoid_values(xp: Namespace, x: Array) -> Array:
    """1 / (1 + e^{-x}), without its derivative: for operations that have it as a part."""
    z = xp.maximum(x, _row(xp, x, _LOWEST[dtype_name(x.dtype)]))
    z *= -1.0
    z = xp.exp(z)
    z += 1.0
    return 1.0 / z


@op
def sigmoid(x: Array) -> tuple[Array, Backward]:
    """y = 1 / (1 + e^{-x}), dx = y (1 - y) dy.

    Exact to a few units in the last place for all x down to where y is the smallest normal number of the
    dtype (x = -87.3 in float32, -708.3 in float64); for smaller x, y stays there.

    Args:
        x: any shape, a floating-point dtype.
    """
    check_floating("sigmoid", x)
    y = sigmoid_values(array_namespace(x), x)

    def backward(dy: Array) -> Array:
        slope = 1.0 - y
        slope *= y
        slope *= dy
        return slope

    return y, backward


@op
def silu(x: Array) -> tuple[Array, Backward]:
    """y = x σ(x) with σ the sigmoid, dx = (σ + x σ (1 - σ)) dy = σ (1 + x (1 - σ)) dy.

    Args:
        x: any shape, a floating-point dtype.

    Elfwing, Uchibe, Doya, "Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning", 2018; named swish by Ramachandran et al., 2017.
    """
    check_floating("silu", x)
    s = sigmoid_values(array_namespace(x), x)

    def backward(dy: Array) -> Array:
        slope = 1.0 - s
        slope *= x
        slope += 1.0
        slope *= s
        slope *= dy
        return slope

    return x * s, backward


@op
def softplus(x: Array, beta: float = 1.0, threshold: float = 20.0) -> tuple[Array, Backward]:
    """y = ln(1 + e^{βx}) / β, a smooth relu; y = x where βx > ``threshold``. dx = σ(βx) dy, there dy.

    Computed as (max(βx, 0) + ln(1 + e^{-|βx|})) / β, in which nothing overflows.

    Args:
        x: any shape, a floating-point dtype.
        beta: β, not 0.
        threshold: from here on the difference to x is neglected; above e^{-20} = 2e-9 that is visible in
            float64 only.

    Raises:
        ValueError: ``beta`` is 0.
        TypeError: ``x`` is not floating-point.

    >>> xnn.functional.softplus(np.asarray([-1e4, 0.0, 1e4])).round(4)
    array([0.000e+00, 6.931e-01, 1.000e+04])
    """
    check_floating("softplus", x)
    if beta == 0:
        raise ValueError("softplus: expected beta other than 0, got 0")
    xp = array_namespace(x)
    z = x * beta if beta != 1.0 else x
    y = xp.log1p(xp.exp(-xp.abs(z)))
    y += xp.maximum(z, _row(xp, z, 0.0))
    if beta != 1.0:
        y /= beta
    linear = z > threshold

    def backward(dy: Array) -> Array:
        return xp.where(linear, dy, dy * sigmoid_values(xp, z))

    return xp.where(linear, x, y), backward
