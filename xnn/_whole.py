"""Whole numbers of any kind."""

from __future__ import annotations

import operator
from typing import Any


def whole(value: Any) -> int:
    """``value`` as an int if it is a whole number of Python or of an array library, else -1.

    Sizes are often computed with an array library (``np.prod(shape)``), whose integers are no Python int.
    """
    if isinstance(value, bool):
        return -1
    try:
        return operator.index(value)
    except TypeError:
        return -1
