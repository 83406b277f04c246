"""Seeds and generators (the Array API standard has none).

Random numbers come from a counter-based generator, Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011): draw number d of seed s is a function of (s, d) alone. So the state of a `Generator` is two
integers, which makes resuming exact; and any device can draw the same numbers. Where a device has no kernel for that,
they are drawn on the host and handed to it.
"""

from __future__ import annotations

import operator
import secrets
from typing import Any, NamedTuple

from xnn.backends import DeviceLike, host_random
from xnn.backends import device as find_device
from xnn.backends.namespaces import Array

__all__ = ["Generator", "Key", "default_generator", "manual_seed"]


class Key(NamedTuple):
    """Names one draw: an operation that is given a key gets the same numbers whenever it is run."""

    seed: int
    draw: int


class Generator:
    """A source of random arrays, started by a seed.

    Args:
        seed: an integer in [0, 2**128); None takes one from the operating system.

    Threads that draw at the same time need a generator each: whose turn it is would decide who gets which numbers.

    >>> xnn.random.Generator(1).uniform((3,))
    array([...], dtype=float32)
    """

    def __init__(self, seed: int | None = 0) -> None:
        self.manual_seed(secrets.randbits(64) if seed is None else seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start again from ``seed``."""
        try:
            number = operator.index(seed)
        except TypeError:
            number = -1
        if not 0 <= number < 2**128:
            raise ValueError(f"seed: expected an integer in [0, 2**128), got {seed!r}")
        self.seed = number
        self.draws = 0
        return self

    def next_key(self) -> Key:
        """The key of the next draw; each call gives another."""
        key = Key(self.seed, self.draws)
        self.draws += 1
        return key

    def state_dict(self) -> dict[str, int]:
        """Where the generator stands: seed and number of draws."""
        return {"seed": self.seed, "draws": self.draws}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from where another generator stood."""
        if set(state) != {"seed", "draws"}:
            raise ValueError(f"Generator state: expected the entries 'seed' and 'draws', got {sorted(state)}")
        draws = int(state["draws"])
        if draws < 0:
            raise ValueError(f"Generator state: expected draws >= 0, got {draws}")
        self.manual_seed(int(state["seed"]))
        self.draws = draws

    def uniform(
        self,
        shape: tuple[int, ...],
        low: float = 0.0,
        high: float = 1.0,
        *,
        dtype: Any = "float32",
        device: DeviceLike = "cpu",
    ) -> Array:
        """Independent numbers, uniform in [low, high), as a plain array."""
        if not low <= high:
            raise ValueError(f"uniform: expected low <= high, got low={low} and high={high}")
        return find_device(device).uniform(self.next_key(), shape, low, high, dtype)

    def normal(
        self,
        shape: tuple[int, ...],
        mean: float = 0.0,
        std: float = 1.0,
        *,
        dtype: Any = "float32",
        device: DeviceLike = "cpu",
    ) -> Array:
        """Independent numbers, normal with the given mean and standard deviation, as a plain array."""
        if not std >= 0:
            raise ValueError(f"normal: expected std >= 0, got {std}")
        place = find_device(device)
        return place.asarray(
            host_random.normal(self.next_key(), shape, mean, std, place.dtype(dtype)), dtype=dtype
        )

    def integers(
        self, shape: tuple[int, ...], low: int, high: int, *, dtype: Any = "int64", device: DeviceLike = "cpu"
    ) -> Array:
        """Independent integers, uniform in [low, high), as a plain array."""
        if not low < high:
            raise ValueError(f"integers: expected low < high, got low={low} and high={high}")
        return find_device(device).asarray(
            host_random.integers(self.next_key(), shape, low, high), dtype=dtype
        )

    def permutation(self, n: int) -> Array:
        """The integers 0 ... n-1 in random order: int64, shape (n,), on the host."""
        return host_random.permutation(self.next_key(), n)


default_generator = Generator(0)
"""What layers draw their first weights and dropout its masks from, unless given another."""


def manual_seed(seed: int) -> Generator:
    """Start `default_generator` again from ``seed``, and return it."""
    return default_generator.manual_seed(seed)
