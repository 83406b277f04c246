"""Standardizing features: mean 0 and standard deviation 1 over the training samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xnn.backends import device_of
from xnn.backends.namespaces import Array, array_namespace, dtype_name, unwrap

__all__ = ["Standardize", "standardize"]


@dataclass(frozen=True)
class Standardize:
    """z = (x - mean) / std, with numbers learned from some samples and applied to any.

    >>> scale = xnn.data.Standardize.fit(np.asarray([[1.0, 10.0], [3.0, 30.0]]))
    >>> scale(np.asarray([[2.0, 40.0]]))
    array([[0., 2.]])

    A feature that does not vary has std 1 here: it becomes 0.
    """

    mean: Array
    std: Array

    @classmethod
    def fit(cls, x: Array, axis: int | tuple[int, ...] = 0) -> Standardize:
        """Mean and standard deviation (of the samples themselves: divided by N) of ``x`` over ``axis``.

        ``axis=0`` gives one pair per feature; ``axis=(0, 2, 3)`` one per channel of images (N, C, H, W).
        Computed in float64, in two passes, so that large means leave the small deviations their digits.
        """
        x = unwrap(x)
        xp = array_namespace(x)
        if not xp.isdtype(x.dtype, "real floating"):
            raise TypeError(f"Standardize: expected a real floating-point dtype, got {dtype_name(x.dtype)}")
        if 0 in x.shape:
            raise ValueError(f"Standardize: expected at least one sample, got shape {tuple(x.shape)}")
        exact = xp.astype(x, xp.float64, copy=False)
        mean = xp.mean(exact, axis=axis, keepdims=True)
        centred = exact - mean
        std = xp.sqrt(xp.mean(centred * centred, axis=axis, keepdims=True))
        # Rounding may leave a constant feature some deviation, which must not become a divisor.
        varies = xp.max(x, axis=axis, keepdims=True) > xp.min(x, axis=axis, keepdims=True)
        std = xp.where(varies, std, xp.ones_like(std))
        return cls(xp.astype(mean, x.dtype, copy=False), xp.astype(std, x.dtype, copy=False))

    def __call__(self, x: Array) -> Array:
        """(x - mean) / std."""
        mean, std = self._for(x)
        z = unwrap(x) - mean
        z /= std
        return z

    def inverse(self, z: Array) -> Array:
        """Back: z std + mean."""
        mean, std = self._for(z)
        x = unwrap(z) * std
        x += mean
        return x

    def _for(self, x: Array) -> tuple[Array, Array]:
        """Mean and std on the device and in the dtype of ``x``."""
        x = unwrap(x)
        place: Any = device_of(x)
        return place.asarray(self.mean, dtype=x.dtype), place.asarray(self.std, dtype=x.dtype)


def standardize(train: Array, *others: Array, axis: int | tuple[int, ...] = 0) -> tuple[Array, ...]:
    """``train`` and ``others``, all standardized with the mean and standard deviation of ``train``."""
    scale = Standardize.fit(train, axis=axis)
    return tuple(scale(x) for x in (train, *others))
