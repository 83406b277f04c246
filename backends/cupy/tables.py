"""Tables: how one launch takes many arrays. The kernel's side is kernels/tables.cuh.

    steps = Tables(kernels["sgd"], {"params": params, "grads": grads, "momentum_buffer": None}, part=4096)
    for table in steps.launches():
        kernels["sgd"]((table.blocks,), (256,), table=table, ...)

A table is passed by value, as a struct among the kernel's parameters: nothing is copied to the device and nothing has to
be kept there. What does not fit into one goes to another launch.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xnn.backends.cupy.launch import Kernel, runtime_of
from xnn.backends.cupy.source import Parameter
from xnn.backends.namespaces import Array

__all__ = ["Memory", "Table", "Tables"]

MAX_BLOCKS = 2**31 - 1


class Table(np.ndarray):
    """The words of one launch's table: one element, which CuPy and the emulator pass by value.

    Attributes:
        blocks: how many blocks the launch needs.
        lists: the arrays, as the kernel's parameter lists them; None for a list that is left out.
        pointers: where each address stands: the byte at which it begins, and the array. The emulator, which runs a
            kernel in another process when a sanitizer looks on, needs to know.
    """

    blocks: int
    lists: Sequence[Sequence[Array] | None]

    @property
    def pointers(self) -> list[tuple[int, Array]]:
        """See above."""
        words = self.view(np.ndarray).view(np.uint64)
        header = (words.size, int(words[0]))[1]
        return [
            (8 * (self.header + row * header + i), array)
            for row, arrays in enumerate(self.lists)
            if arrays is not None
            for i, array in enumerate(arrays)
        ]
