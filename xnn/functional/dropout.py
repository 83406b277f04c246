"""Dropout: a random mask."""

from __future__ import annotations

from typing import Any

from xnn.autodiff import Backward, op
from xnn.backends import device_of, host_random
from xnn.backends.namespaces import Array, array_namespace
from xnn.functional._checks import check_floating
from xnn.random import Generator, Key, default_generator


def dropout(x: Array, p: float = 0.5, training: bool = True, generator: Generator | None = None) -> Any:
    """Set each element to 0 with probability ``p`` and divide the others by 1 - p; y = x without ``training``.

    Args:
        x: any shape, a floating-point dtype.
        p: in [0, 1]. With 1, everything is 0.
        training: False returns ``x`` itself and draws nothing.
        generator: where the mask comes from; `xnn.random.default_generator` by default. p = 0 draws nothing
            from it.

    Raises:
        ValueError: ``p`` is not in [0, 1].
        TypeError: ``x`` is not floating-point.

    The same seed gives the same mask on every device. See `keyed_dropout` for the formula.

    >>> y = xnn.functional.dropout(np.ones(1000), p=0.5)
    >>> sorted(set(y.tolist()))
    [0.0, 2.0]
    """
    check_probability("dropout", p)
    if not training or p == 0.0:
        return x
    return keyed_dropout(x, p=p, key=(default_generator if generator is None else generator).next_key())


@op
def keyed_dropout(x: Array, *, p: float, key: Key) -> tuple[Array, Backward]:
    """y = m x / (1 - p), dx = m dy / (1 - p), with a random mask m.

    The elements of m are independent, each 1 with probability 1 - p. The factor keeps the expectation of y at x.
    ``key`` alone decides the mask, so that the operation, run again, gives the same.

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014).
    """
    check_floating("dropout", x)
    xp = array_namespace(x)
    if p == 1.0:
        return xp.zeros_like(x), lambda dy: xp.zeros_like(dy)
    # One byte an element goes to the device, and the mask is the same for every dtype.
    keep = host_random.uniform(key, tuple(x.shape), 0.0, 1.0, "float32") >= p
    mask = xp.astype(device_of(x).asarray(keep), x.dtype)
    mask *= 1.0 / (1.0 - p)
    return x * mask, lambda dy: dy * mask


def check_probability(name: str, p: float) -> None:
    """Raise ValueError unless ``p`` is in [0, 1]."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: expected a probability p in [0, 1], got {p!r}")
