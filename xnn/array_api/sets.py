"""Set functions of the Array API standard. The sizes of the results depend on the data: on a GPU they wait for it.

The results are made by the other functions of this package, so gradients flow to the values. NaNs are all different.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from xnn.array_api.indexing import take
from xnn.array_api.manipulation import reshape
from xnn.backends.namespaces import Array, array_namespace, unwrap
from xnn.tensor import Tensor


class UniqueAll(NamedTuple):
    """What `unique_all` returns."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """What `unique_counts` returns."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """What `unique_inverse` returns."""

    values: Array
    inverse_indices: Array


def unique_all(x: Array, /) -> UniqueAll:
    """The different elements in ascending order, where each first is, which of them each element is, and their number.

    Returns:
        ``values`` (K,), ``indices`` (K,) into the flattened ``x``, ``inverse_indices`` of the shape of ``x`` with
        ``values[inverse_indices] == x``, ``counts`` (K,).
    """
    flat = reshape(x, (-1,))
    plain = unwrap(flat)
    xp = array_namespace(plain)
    n = plain.shape[0]
    order = xp.argsort(plain, stable=True)
    if n == 0:
        none = Tensor(order) if isinstance(x, Tensor) else order
        return UniqueAll(flat, none, reshape(none, tuple(x.shape)), none)
    ordered = xp.take(plain, order, axis=0)
    differs = ordered[1:] != ordered[:-1]
    starts = xp.concat([xp.ones((1,), dtype=differs.dtype, device=plain.device), differs])
    (places,) = xp.nonzero(starts)  # where each run of equal elements starts
    indices = xp.take(order, places, axis=0)
    which = xp.cumulative_sum(xp.astype(starts, order.dtype)) - 1
    inverse = xp.reshape(xp.take(which, xp.argsort(order, stable=True), axis=0), tuple(x.shape))
    end = xp.asarray([n], dtype=places.dtype, device=plain.device)
    counts = xp.concat([places[1:], end]) - places
    found = (indices, inverse, counts)
    if isinstance(x, Tensor):
        found = tuple(map(Tensor, found))  # type: ignore[assignment]
    return UniqueAll(take(flat, found[0], axis=0), *found)


def unique_counts(x: Array, /) -> UniqueCounts:
    """The different elements in ascending order and how often each occurs; see `unique_all`."""
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Array, /) -> UniqueInverse:
    """The different elements in ascending order and which of them each element is; see `unique_all`."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Array, /) -> Any:
    """The different elements in ascending order; see `unique_all`."""
    return unique_all(x).values
