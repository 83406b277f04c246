from __future__ import annotations

import types

import numpy as np

from xnn.functional._constants import ones_for, zeros_for


class Place:
    """A device as CuPy's: equal to others by its number, and without a hash."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and other.number == self.number

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"<Place {self.number}>"


class Library:
    """A namespace that keeps what it is asked for."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int, int]] = []

    def ones(self, shape, *, dtype, device):
        self.made.append(("ones", shape[0], device.number))
        return np.ones(shape, dtype)

    def zeros(self, shape, *, dtype, device):
        self.made.append(("zeros", shape[0], device.number))
        return np.zeros(shape, dtype)


def test_devices_without_a_hash():
    library = Library()
    on = [types.SimpleNamespace(dtype=np.dtype("float32"), device=Place(n)) for n in (0, 0, 1)]
    rows = [ones_for(library, x, 3) for x in on]
    assert rows[0] is rows[1]
    assert rows[2] is not rows[0]
    assert zeros_for(library, on[0], 2).tolist() == [0.0, 0.0]
    assert library.made == [("ones", 3, 0), ("ones", 3, 1), ("zeros", 2, 0)]
