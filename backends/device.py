"""Device: a place for arrays, and the Array API namespace of the arrays that live there."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

from xnn.backends.namespaces import Array, Namespace, array_namespace, dtype_name, is_array, unwrap

_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
)


class Memory(NamedTuple):
    """Memory of a device in bytes.

    Attributes:
        used: by the arrays of this process.
        total: of the device.
        peak: the most that this process has had to hold at once so far, or None where nobody counts.
    """

    used: int
    total: int
    peak: int | None = None


class Device(ABC):
    """A place for arrays. Two Devices are equal if they are the same place.

    Attributes:
        name: what `xnn.device` takes to find it again: ``"cpu"``, ``"cuda:0"``.
        handle: what the namespace's own functions take as ``device=``.
    """

    name: str
    handle: Any

    @property
    @abstractmethod
    def xp(self) -> Namespace:
        """The Array API namespace of the arrays that live here."""

    @abstractmethod
    def describe(self) -> str:
        """The hardware in a few words."""

    def synchronize(self) -> None:
        """Wait until all work handed to the device is done."""
        return

    def memory(self) -> Memory | None:
        """Bytes in use and in all, or None where that is not known."""
        return None

    def explaining_errors(self) -> contextlib.AbstractContextManager[None]:
        """Within it, an error that says that the device is out of memory becomes an `OutOfMemoryError`."""
        return contextlib.nullcontext()

    def overflow_is_expected(self) -> contextlib.AbstractContextManager[Any]:
        """Within it, results too large for their dtype, and what is computed from them, cause no warning."""
        return contextlib.nullcontext()

    def allow_tf32(self) -> None:
        """From now on let float32 matrix products round their factors to TF32, where the device has that.

        Raises:
            DeviceError: it is too late for that in this process.
        """
        return

    def upload(self, batches: Generator[Any, None, None], ahead: int) -> Generator[Any, None, None]:
        """Each batch (an array, or a tuple or dict of them) on this device.

        Args:
            batches: closed with the generator that is returned.
            ahead: how many batches may be on their way while one is in use. Only some devices make use of it.
        """
        try:
            for batch in batches:
                yield each_array(self.asarray, batch)
        finally:
            batches.close()

    def dtype(self, dtype: Any) -> Any:
        """The dtype of this device's namespace for a dtype of any namespace, or a name such as ``"float32"``."""
        name = dtype if isinstance(dtype, str) else dtype_name(dtype)
        if name not in _DTYPES or not hasattr(self.xp, name):
            there = ", ".join(known for known in _DTYPES if hasattr(self.xp, known))
            raise TypeError(f"dtype: expected one of {there}, got {name!r} for {self.xp.__name__}")
        return getattr(self.xp, name)

    def asarray(self, data: Any, dtype: Any = None, copy: bool | None = None) -> Array:
        """An array on this device from an array of any namespace or device, or from nested sequences of numbers."""
        dtype = None if dtype is None else self.dtype(dtype)
        data = unwrap(data)
        if is_array(data) and array_namespace(data) is not self.xp:
            from xnn.backends.numpy import to_host

            data = to_host(data)
            if not data.flags.writeable:  # PyTorch would warn
                data = data.copy()
        return self.xp.asarray(data, dtype=dtype, device=self.handle, copy=copy)

    def uniform(
        self, key: tuple[int, int], shape: tuple[int, ...], low: float, high: float, dtype: Any
    ) -> Array:
        """Random numbers, uniform in [low, high): the same for a key of `xnn.random` on every device."""
        from xnn.backends.numpy import random

        return self.asarray(random.uniform(key, shape, low, high, self.dtype(dtype)), dtype=dtype)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"device({self.name!r})"

    def __str__(self) -> str:
        return self.name


def each_array(function: Callable[[Array], Array], batch: Any) -> Any:
    """The batch with ``function`` of each array in it."""
    if isinstance(batch, Mapping):
        return {name: function(x) for name, x in batch.items()}
    if is_array(batch):
        return function(batch)
    return tuple(function(x) for x in batch)


class NamespaceDevice(Device):
    """A device of an Array API namespace that has no backend of its own (array_api_strict, torch, ...)."""

    def __init__(self, namespace: Namespace, handle: Any = None) -> None:
        self._namespace = namespace
        self.handle = handle
        self.name = namespace.__name__.removeprefix("array_api_compat.")
        if handle is not None:
            self.name += f":{handle}"

    @property
    def xp(self) -> Namespace:
        """The namespace."""
        return self._namespace

    def describe(self) -> str:
        """The namespace's name."""
        return f"Array API namespace {self._namespace.__name__}"
