"""Fields: arrays that belong together, sample by sample, in the structure in which they came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xnn.backends import Device, device_of
from xnn.backends.namespaces import Array, array_namespace, is_array, reads_are_free, unwrap

Batch = Any
"""A tuple or a dict of arrays."""


class Fields:
    """An array, or a tuple, list or dict of arrays, with one sample per index of the first dimension.

    Args:
        name: of who asks, for errors.
        data: the arrays; Tensors stand for their arrays.

    Raises:
        TypeError: something among the data is no array.
        ValueError: the arrays differ in length or have no dimension.
    """

    def __init__(self, name: str, data: Any) -> None:
        self._single = is_array(data)
        self._named_tuple = type(data) if hasattr(data, "_fields") else None
        self._keys: tuple[Any, ...] | None = tuple(data) if isinstance(data, Mapping) else None
        values = [data] if self._single else list(data.values() if isinstance(data, Mapping) else data)
        labels = [self._label(i, data) for i in range(len(values))]
        if not values:
            raise ValueError(f"{name}: expected at least one array, got {data!r}")
        for label, value in zip(labels, values, strict=True):
            if not is_array(value):
                raise TypeError(f"{name}: expected {label} to be an array, got {type(value).__name__}")
            if len(value.shape) == 0:
                raise ValueError(f"{name}: expected {label} to have a dimension of samples, got shape ()")
            if value.shape[0] != values[0].shape[0]:
                raise ValueError(
                    f"{name}: expected arrays with equally many samples, "
                    f"got {values[0].shape[0]} in {labels[0]} and {value.shape[0]} in {label}"
                )
        self.arrays: list[Array] = [unwrap(value) for value in values]
        self.samples = int(values[0].shape[0])

    def _label(self, i: int, data: Any) -> str:
        if self._single:
            return "data"
        if self._keys is not None:
            return f"data[{self._keys[i]!r}]"
        return f"data.{data._fields[i]}" if self._named_tuple else f"data[{i}]"

    @property
    def reads_are_free(self) -> bool:
        """Whether all arrays are where the host can read them without waiting."""
        return all(reads_are_free(a) for a in self.arrays)

    def devices(self) -> list[Device]:
        """Where each array is."""
        return [device_of(a) for a in self.arrays]

    def batch(self, arrays: list[Array]) -> Batch:
        """A tuple, or a dict if the data came as one, of new arrays for the fields."""
        if self._keys is not None:
            return dict(zip(self._keys, arrays, strict=True))
        return tuple(arrays)

    def rows(self, start: int, stop: int) -> Batch:
        """A run of samples: views where the namespace has them."""
        return self.batch([a[start:stop, ...] for a in self.arrays])

    def gather(self, indices: list[Array]) -> Batch:
        """Samples by index, given on the device of each array."""
        return self.batch(
            [array_namespace(a).take(a, i, axis=0) for a, i in zip(self.arrays, indices, strict=True)]
        )

    def take(self, indices: Array) -> Any:
        """Samples by index, in the structure in which the data came (a single array, a named tuple)."""
        batch = self.gather([device.asarray(indices) for device in self.devices()])
        if self._single:
            return batch[0]
        return self._named_tuple(*batch) if self._named_tuple else batch
