"""Items: samples that come one by one, put together to batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xnn.backends import Device
from xnn.backends import device as find_device
from xnn.backends.namespaces import Array, array_namespace, is_array, unwrap
from xnn.data.fields import Batch


class Items:
    """An object with ``__len__`` and ``__getitem__(i)``, and perhaps ``__getitems__(indices)``."""

    reads_are_free = True  # what it does is done by Python, on the host

    def __init__(self, data: Any) -> None:
        self._data = data
        self.samples = len(data)

    def devices(self) -> list[Device]:
        """Where indices are wanted."""
        return [find_device("cpu")]

    def rows(self, start: int, stop: int) -> Batch:
        """A run of samples."""
        return self.gather([find_device("cpu").xp.arange(start, stop)])

    def gather(self, indices: list[Array]) -> Batch:
        """Samples by index."""
        if hasattr(self._data, "__getitems__"):
            got = self._data.__getitems__(indices[0])
            if not isinstance(got, list):
                return _as_batch(got)
        else:
            got = [self._data[i] for i in indices[0].tolist()]
        return collate(got)


def _as_batch(got: Any) -> Batch:
    if is_array(got):
        return (unwrap(got),)
    if isinstance(got, Mapping):
        return {name: unwrap(x) for name, x in got.items()}
    return tuple(unwrap(x) for x in got)


def collate(samples: Sequence[Any]) -> Batch:
    """A tuple or dict of arrays, (N, ...) each, from N samples that are alike.

    A sample is an array or a number, or a tuple, list or dict of them. Python's integers become int64, its
    floats float32, as in `xnn.tensor`.

    Raises:
        ValueError: the samples have different fields, or arrays of different shapes.
        TypeError: something is neither array nor number.
    """
    first = samples[0]
    if isinstance(first, Mapping):
        for sample in samples:
            if set(sample) != set(first):
                raise ValueError(
                    f"DataLoader: expected samples with the keys {list(first)}, got {list(sample)}"
                )
        return {name: _stack(f"[{name!r}]", [sample[name] for sample in samples]) for name in first}
    if isinstance(first, (tuple, list)):
        for sample in samples:
            if len(sample) != len(first):
                raise ValueError(
                    f"DataLoader: expected samples of {len(first)} fields, got one of {len(sample)}"
                )
        return tuple(_stack(f"[{i}]", [sample[i] for sample in samples]) for i in range(len(first)))
    return (_stack("", list(samples)),)


def _stack(field: str, values: list[Any]) -> Array:
    if all(is_array(value) for value in values):
        arrays = [unwrap(value) for value in values]
        shapes = {tuple(a.shape): None for a in arrays}
        if len(shapes) > 1:
            raise ValueError(
                f"DataLoader: expected sample{field} of one shape, got {', '.join(map(str, shapes))}"
            )
        xp = array_namespace(*arrays)
        return xp.stack([xp.asarray(a) for a in arrays])
    if all(isinstance(value, (bool, int, float)) for value in values):
        if any(isinstance(value, float) for value in values):
            dtype = "float32"
        else:
            dtype = "bool" if all(isinstance(value, bool) for value in values) else "int64"
        return find_device("cpu").asarray(values, dtype=dtype)
    kinds = ", ".join(sorted({type(value).__name__ for value in values}))
    raise TypeError(f"DataLoader: expected sample{field} to be arrays or numbers, got {kinds}")
