"""Batch normalisation, with the statistics of the batch and with given ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, Namespace, array_namespace
from xnn.functional._checks import check_floating, check_same_dtype
from xnn.functional._constants import ones_for


@op
def batch_norm_training(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> tuple[tuple[Array, Array, Array], Backward]:
    """Normalise each channel with the mean and variance of the batch, then scale and shift it.

        μ_c = 1/m Σ x,    σ²_c = 1/m Σ (x - μ_c)²,    x_hat = (x - μ_c) / √(σ²_c + ε),    y = γ_c x_hat + β_c

    with sums over the m = N d1 ... dk values of channel c. The variance is that of the centred values: taking
    the difference of E x² and μ² instead would lose all digits where |μ| is much larger than σ.

    Args:
        x: shape (N, C) or (N, C, d1, ..., dk), a floating-point dtype, m ≥ 2.
        weight: γ, shape (C,), the dtype of ``x``, or None for 1.
        bias: β, shape (C,), the dtype of ``x``, or None for 0.
        eps: ε, added to the variance.

    Returns:
        y, of the shape of ``x``; μ and σ² (biased: divided by m), shape (C,), for the running statistics of a
        layer.

    Backward (Ioffe, Szegedy, "Batch normalization", ICML 2015, section 3, with the terms collected). μ and σ²
    depend on every x of the channel, so two reductions come back, which are also the gradients of β and γ:

        dβ = Σ dy,    dγ = Σ dy x_hat,
        dx = γ / √(σ² + ε) (dy - dβ / m - x_hat dγ / m)  +  dμ / m  +  2/m (x - μ) dσ²

    the last two terms for whoever uses μ and σ² in a differentiable way. For each channel this is
    dx = a dy + b x_hat + c with three numbers.

    Raises:
        ValueError: the shapes do not fit, or a channel has fewer than two values (a variance of one is always
            0).
        TypeError: the dtypes differ or are not floating-point.

    >>> y, mean, var = xnn.functional.batch_norm_training(np.asarray([[1.0], [3.0]]))
    >>> y.round(3).tolist(), mean, var
    ([[-1.0], [1.0]], array([2.]), array([1.]))
    """
    name = "batch_norm_training"
    xp = array_namespace(x)
    shape = _check(name, x, weight=weight, bias=bias)
    m = math.prod(shape) // shape[1] if shape[1] else shape[0] * math.prod(shape[2:])
    if m < 2:
        raise ValueError(
            f"{name}: expected more than 1 value per channel when training, got x of shape {shape}"
        )
    channel_sum, along = _over_channels(xp, x, shape)

    mean = channel_sum(x)
    mean /= m
    x_hat = x - along(mean)
    var = channel_sum(x_hat * x_hat)
    var /= m
    inv_std = 1.0 / xp.sqrt(var + eps)
    x_hat *= along(inv_std)
    y = x_hat * (1.0 if weight is None else along(weight))  # a new array: x_hat is kept for the backward pass
    if bias is not None:
        y += along(bias)

    def backward(dys: tuple[Array, Array, Array], needs: Any = (True, True, True)) -> Any:
        dy, dmean, dvar = dys
        dbias = channel_sum(dy)
        dweight = channel_sum(dy * x_hat)
        dx = None
        if needs[0]:
            a = inv_std if weight is None else inv_std * weight
            b = (2.0 * dvar / inv_std - a * dweight) / m  # x - μ = x_hat / inv_std
            c = (dmean - a * dbias) / m
            dx = dy * along(a)
            dx += x_hat * along(b)
            dx += along(c)
        return dx, None if weight is None else dweight, None if bias is None else dbias

    return (y, mean, var), backward


@op
def batch_norm(
    x: Array,
    running_mean: Array,
    running_var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Backward]:
    """Normalise each channel with a given mean and variance: y = γ_c (x - μ_c) / √(σ²_c + ε) + β_c.

    Args:
        x: shape (N, C) or (N, C, d1, ..., dk), a floating-point dtype.
        running_mean: μ, shape (C,). No gradient flows into it or into the variance, as in PyTorch.
        running_var: σ², shape (C,).
        weight: γ, shape (C,), the dtype of ``x``, or None for 1.
        bias: β, shape (C,), the dtype of ``x``, or None for 0.
        eps: ε, added to the variance.

    Returns:
        y, of the shape of ``x``.

    Backward: dx = γ / √(σ² + ε) dy,  dγ = Σ dy (x - μ) / √(σ² + ε),  dβ = Σ dy, summed over all but the
    channels.

    As ``torch.nn.functional.batch_norm`` with ``training=False``; for training see `batch_norm_training`.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the dtypes differ or are not floating-point.
    """
    xp = array_namespace(x)
    shape = _check(
        "batch_norm", x, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    channel_sum, along = _over_channels(xp, x, shape)
    inv_std = 1.0 / xp.sqrt(running_var + eps)
    a = inv_std if weight is None else inv_std * weight
    y = x - along(running_mean)
    y *= along(a)
    if bias is not None:
        y += along(bias)

    def backward(dy: Array, needs: Any = (True, False, False, True, True)) -> Any:
        dx = dweight = dbias = None
        if needs[0]:
            dx = dy * along(a)
        if weight is not None and needs[3]:
            centred = x - along(running_mean)
            dweight = channel_sum(centred * dy) * inv_std
        if bias is not None and needs[4]:
            dbias = channel_sum(dy)
        return dx, None, None, dweight, dbias

    return y, backward


def _check(name: str, x: Array, **of_channels: Array | None) -> tuple[int, ...]:
    """The shape of ``x``, if everything fits."""
    shape = tuple(x.shape)
    if len(shape) < 2:
        raise ValueError(f"{name}: expected x of shape (N, C) or (N, C, d1, ...), got {shape}")
    check_floating(name, x)
    for what, a in of_channels.items():
        if a is None:
            continue
        if tuple(a.shape) != shape[1:2]:
            raise ValueError(
                f"{name}: expected {what} of shape {shape[1:2]} for x of shape {shape}, got {tuple(a.shape)}"
            )
        if a.dtype != x.dtype:
            check_same_dtype(name, "x", x, what, a)
    return shape


def _over_channels(
    xp: Namespace, x: Array, shape: tuple[int, ...]
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Two functions: the sum over all but the channels, (N, C, ...) to (C,); and a (C,) made to broadcast to ``shape``.

    Sums are products with ones: on NumPy three to six times as fast as xp.sum.
    """
    rows, channels, *rest = shape
    ones = ones_for(xp, x, rows)
    if not rest:
        return lambda a: ones @ a, lambda v: v
    length = math.prod(rest)
    along_length = ones_for(xp, x, length)
    column = (channels,) + (1,) * len(rest)

    def channel_sum(a: Array) -> Array:
        return ones @ xp.reshape(xp.reshape(a, (rows * channels, length)) @ along_length, (rows, channels))

    return channel_sum, lambda v: xp.reshape(v, column)
