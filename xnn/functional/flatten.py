"""Several dimensions into one, and one into several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xnn.array_api.manipulation import reshape
from xnn.backends.namespaces import Array
from xnn.functional._checks import normalize_dim


def flatten(x: Array, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Join dimensions ``start_dim`` to ``end_dim`` (included) into one: (N, C, H, W) to (N, C H W) for 1, -1.

    A reshape: elements keep their order, and the gradient is reshaped back.

    Raises:
        IndexError: there is no such dimension.
        ValueError: ``start_dim`` comes after ``end_dim``.

    >>> xnn.functional.flatten(np.zeros((8, 3, 4, 5)), 1).shape
    (8, 60)
    """
    shape = tuple(x.shape)
    start, end = (normalize_dim("flatten", d, len(shape)) for d in (start_dim, end_dim))
    if start > end:
        raise ValueError(
            f"flatten: expected start_dim before end_dim, got {start_dim} and {end_dim} for shape {shape}"
        )
    return reshape(x, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def unflatten(x: Array, dim: int, sizes: Sequence[int]) -> Any:
    """Split dimension ``dim`` into several of the given sizes, of which one may be -1: `flatten` undone.

    Raises:
        IndexError: there is no such dimension.
        ValueError: the sizes do not multiply to the length of the dimension.
    """
    shape, sizes = tuple(x.shape), tuple(sizes)
    dim = normalize_dim("unflatten", dim, len(shape))
    known = math.prod(n for n in sizes if n != -1)
    free = sizes.count(-1)
    fits = (
        shape
        and sizes
        and (shape[dim] == known if not free else free == 1 and known > 0 and shape[dim] % known == 0)
    )
    if not fits:
        raise ValueError(
            f"unflatten: expected sizes whose product is the length of dimension {dim}, "
            f"got {sizes} for shape {shape}"
        )
    return reshape(
        x, (*shape[:dim], *(shape[dim] // known if n == -1 else n for n in sizes), *shape[dim + 1 :])
    )
