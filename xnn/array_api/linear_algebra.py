"""Linear algebra functions of the Array API standard's main namespace, with their derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xnn.array_api._rules import like, sum_to
from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, array_namespace


@op
def matmul(x1: Array, x2: Array, /) -> tuple[Array, Backward]:
    """Y = X1 X2, dX1 = dY X2ᵀ, dX2 = X1ᵀ dY; shapes (..., N, K) and (..., K, M) give (..., N, M).

    The leading dimensions broadcast. A one-dimensional argument is a row (left) or a column (right).
    """
    y = x1 @ x2

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        row, column = len(x1.shape) == 1, len(x2.shape) == 1
        a = x1[None, :] if row else x1
        b = x2[:, None] if column else x2
        if column:
            dy = dy[..., None]
        if row:
            dy = dy[..., None, :]
        da = db = None
        if needs[0]:
            da = dy @ _transposed(b)
            da = sum_to(da[..., 0, :] if row else da, like(x1))
        if needs[1]:
            if (
                len(b.shape) == 2 and len(a.shape) > 2
            ):  # one matrix for a whole batch: one product over all rows
                xp = array_namespace(dy)
                db = xp.reshape(a, (-1, a.shape[-1])).T @ xp.reshape(dy, (-1, dy.shape[-1]))
            else:
                db = _transposed(a) @ dy
            db = sum_to(db[..., 0] if column else db, like(x2))
        return da, db

    return y, backward


def _transposed(x: Array) -> Array:
    """The last two dimensions exchanged. (CuPy 13's arrays have no ``mT``.)"""
    return x.T if len(x.shape) == 2 else array_namespace(x).matrix_transpose(x)


@op
def matrix_transpose(x: Array, /) -> tuple[Array, Backward]:
    """The last two dimensions exchanged; dx exchanges them back."""
    xp = array_namespace(x)
    return xp.matrix_transpose(x), lambda dy: array_namespace(dy).matrix_transpose(dy)


@op
def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> tuple[Array, Backward]:
    """y = Σ x1 x2 over ``axis``, dx1 = x2 dy, dx2 = x1 dy. Real dtypes."""
    xp = array_namespace(x1, x2)

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        dy = array_namespace(dy).expand_dims(dy, axis=axis)
        return (
            sum_to(dy * x2, like(x1)) if needs[0] else None,
            sum_to(dy * x1, like(x2)) if needs[1] else None,
        )

    return xp.vecdot(x1, x2, axis=axis), backward


def tensordot(x1: Array, x2: Array, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Array:
    """Products summed over pairs of dimensions, as one matrix product."""
    from xnn.array_api.manipulation import permute_dims, reshape

    n1, n2 = len(x1.shape), len(x2.shape)
    pairs = (range(n1 - axes, n1), range(axes)) if isinstance(axes, int) else axes
    sum1, sum2 = ([a % n for a in side] for side, n in zip(pairs, (n1, n2), strict=True))
    if [x1.shape[a] for a in sum1] != [x2.shape[a] for a in sum2]:
        raise ValueError(
            f"tensordot: shapes {tuple(x1.shape)} and {tuple(x2.shape)} do not match over axes {axes}"
        )
    keep1 = [a for a in range(n1) if a not in sum1]
    keep2 = [a for a in range(n2) if a not in sum2]
    inner = math.prod(x1.shape[a] for a in sum1)
    left = reshape(permute_dims(x1, (*keep1, *sum1)), (math.prod(x1.shape[a] for a in keep1), inner))
    right = reshape(permute_dims(x2, (*sum2, *keep2)), (inner, math.prod(x2.shape[a] for a in keep2)))
    return reshape(matmul(left, right), (*(x1.shape[a] for a in keep1), *(x2.shape[a] for a in keep2)))
