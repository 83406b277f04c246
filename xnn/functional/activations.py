"""Activation functions, elementwise."""

from __future__ import annotations

from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, array_namespace


@op
def relu(x: Array) -> tuple[Array, Backward]:
    """y = max(x, 0), dx = dy where x > 0, 0 elsewhere (also at 0).

    Args:
        x: any shape, a real dtype.
    """
    xp = array_namespace(x)
    # A row of zeros, not the number 0: NumPy's maximum is twice as fast on two arrays as on an array and a number.
    y = xp.maximum(x, xp.zeros(x.shape[-1:], dtype=x.dtype, device=x.device))
    return y, lambda dy: dy * xp.astype(y > 0, dy.dtype)
