"""How rows are shared out among threads: one decision for all kernels that work along rows."""

from __future__ import annotations

import math
from typing import NamedTuple

from xnn.backends.cupy.launch import ceil_div

MAX_COLUMNS = 2**30  # columns are counted in 32 bits; room is left for the step past the end
_SHORT_ROW = 4096  # bytes
_MAX_BLOCKS = 2**31 - 1


class Rows(NamedTuple):
    """How an array is seen by a kernel that works along its last dimension.

    Attributes:
        rows: all other dimensions, taken together.
        columns: the length of the last.
        itemsize: bytes of an element.
    """

    rows: int
    columns: int
    itemsize: int

    @classmethod
    def of(cls, shape: tuple[int, ...], itemsize: int) -> Rows:
        """The rows of an array of this shape."""
        return cls(math.prod(shape[:-1]), shape[-1], itemsize)

    @property
    def short(self) -> bool:
        """Whether a row is for lanes of a warp; else a whole block works on it."""
        return self.columns * self.itemsize <= _SHORT_ROW

    @property
    def lanes(self) -> int:
        """How many lanes a short row gets: a 16-byte vector each, as far as there are 32."""
        return min(32, 1 << (ceil_div(self.columns * self.itemsize, 16) - 1).bit_length())

    def blocks(self, threads: int, limit: int = _MAX_BLOCKS) -> int:
        """How many blocks short rows need, with ``threads`` each; with fewer, a block takes several shares."""
        return min(limit, ceil_div(self.rows, threads // self.lanes))

    @property
    def threads(self) -> int:
        """How many threads a block gets that works on one long row: some vectors each, and 512 at most."""
        vectors = ceil_div(self.columns * self.itemsize, 16)
        return 128 if vectors <= 1024 else 256 if vectors <= 2048 else 512
