"""``clip`` as array-api-compat should have it for CuPy."""

from __future__ import annotations

from typing import Any

from xnn.backends.namespaces import Array, Namespace

__all__ = ["clip_of", "clip_without_waiting"]


def clip_without_waiting() -> None:
    """Give the namespace of CuPy's arrays a ``clip`` that the host need not wait for.

    That of array-api-compat writes through masks, and to index by a mask CuPy first counts its elements on the host.
    """
    import array_api_compat.cupy

    namespace: Any = array_api_compat.cupy
    if not getattr(namespace.clip, "does_not_wait", False):
        namespace.clip = clip_of(namespace)


def clip_of(xp: Namespace) -> Any:
    """The standard's ``clip``, by ``maximum`` and ``minimum`` of a namespace that takes numbers in them."""

    def clip(x: Array, /, min: Any = None, max: Any = None) -> Array:
        y = x
        if xp.isdtype(x.dtype, "integral"):  # a bound outside of the dtype, which CuPy refuses, is none
            limits = xp.iinfo(x.dtype)
            min = None if type(min) is int and min <= limits.min else min
            max = None if type(max) is int and max >= limits.max else max
        if min is not None:
            y = xp.maximum(y, min)
        if max is not None:
            y = xp.minimum(y, max)
        return xp.asarray(y, copy=True) if y is x else xp.astype(y, x.dtype, copy=False)

    clip.does_not_wait = True  # type: ignore[attr-defined]
    return clip
