"""How a matrix is shared out among blocks that go down its rows: the other half of tile.cuh."""

from __future__ import annotations

from typing import NamedTuple

from xnn.backends.cupy.launch import ceil_div

MAX_TILES = 65_535
"""CUDA's limit of blocks in the second direction of a grid."""


class Tiles(NamedTuple):
    """What each block gets.

    Attributes:
        lanes: threads side by side, a 16-byte vector each.
        down: threads one below the other.
        tiles: blocks side by side.
    """

    lanes: int
    down: int
    tiles: int

    @classmethod
    def of(cls, columns: int, itemsize: int, threads: int) -> Tiles:
        """For rows of ``columns`` elements, and blocks of ``threads``."""
        vectors = ceil_div(columns * itemsize, 16)
        lanes = min(32, 1 << (vectors - 1).bit_length())
        return cls(lanes, threads // lanes, ceil_div(vectors, lanes))
