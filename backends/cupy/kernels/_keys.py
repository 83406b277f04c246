"""A key of `xnn.random` as the numbers that kernels take."""

from __future__ import annotations

from typing import Any

_WORD = 2**64


def key_arguments(key: tuple[int, int]) -> dict[str, Any] | None:
    """The arguments of a kernel that calls philox (philox.cuh), or None: the draw has more than 64 bits."""
    seed, draw = key
    if not (0 <= draw < _WORD and 0 <= seed < _WORD**2):
        return None
    return {"seed_low": seed % _WORD, "seed_high": seed // _WORD, "draw": draw}
