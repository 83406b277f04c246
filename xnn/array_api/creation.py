"""Creation functions of the Array API standard.

Those that are told only a shape make Tensors, on the CPU unless told otherwise; those that are shown an array
(``zeros_like``, ``tril``, ...) answer in kind: a plain array for a plain array, a Tensor for a Tensor.
"""

from __future__ import annotations

from typing import Any

from xnn.autodiff import Backward, op
from xnn.backends import Device, DeviceLike, device_of
from xnn.backends import device as find_device
from xnn.backends.namespaces import Array, array_namespace, is_array, unwrap
from xnn.tensor import Tensor


def _place(device: DeviceLike) -> Device:
    return find_device("cpu" if device is None else device)


def _made(name: str, *args: Any, dtype: Any, device: DeviceLike, **options: Any) -> Tensor:
    place = _place(device)
    dtype = place.dtype("float32" if dtype is None else dtype)
    return Tensor(getattr(place.xp, name)(*args, dtype=dtype, device=place.handle, **options))


def asarray(obj: Any, /, *, dtype: Any = None, device: DeviceLike = None, copy: bool | None = None) -> Tensor:
    """A Tensor from an array, a Tensor, a number or nested sequences; shares memory where it can unless ``copy``."""
    if isinstance(obj, Tensor) and dtype is None and device is None and not copy:
        return obj
    place = _place(device) if device is not None or not is_array(obj) else device_of(obj)
    return Tensor(place.asarray(unwrap(obj), dtype=dtype, copy=copy))


def zeros(shape: int | tuple[int, ...], *, dtype: Any = None, device: DeviceLike = None) -> Tensor:
    """A Tensor of zeros, float32 by default."""
    return _made("zeros", shape, dtype=dtype, device=device)


def ones(shape: int | tuple[int, ...], *, dtype: Any = None, device: DeviceLike = None) -> Tensor:
    """A Tensor of ones, float32 by default."""
    return _made("ones", shape, dtype=dtype, device=device)


def empty(shape: int | tuple[int, ...], *, dtype: Any = None, device: DeviceLike = None) -> Tensor:
    """A Tensor of whatever was in memory, float32 by default."""
    return _made("empty", shape, dtype=dtype, device=device)


def full(
    shape: int | tuple[int, ...], fill_value: float, *, dtype: Any = None, device: DeviceLike = None
) -> Tensor:
    """A Tensor of one value; by default float32 for a float, int64 for an int, bool for a bool."""
    kind = {bool: "bool", int: "int64"}.get(type(fill_value))
    return _made("full", shape, fill_value, dtype=dtype or kind, device=device)


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: DeviceLike = None,
) -> Tensor:
    """Evenly spaced numbers in [start, stop), or [0, start); by default int64 if all are integers, else float32."""
    if stop is None:
        start, stop = 0, start
    integers = all(isinstance(v, int) for v in (start, stop, step))
    return _made("arange", start, stop, step, dtype=dtype or ("int64" if integers else None), device=device)


def linspace(
    start: float,
    stop: float,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: DeviceLike = None,
    endpoint: bool = True,
) -> Tensor:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, float32 by default."""
    return _made("linspace", start, stop, num, dtype=dtype, device=device, endpoint=endpoint)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: DeviceLike = None
) -> Tensor:
    """Ones on the ``k``-th diagonal, zeros elsewhere, float32 by default."""
    return _made("eye", n_rows, n_cols, k=k, dtype=dtype, device=device)


def _like(name: str, x: Array, *args: Any, dtype: Any, device: DeviceLike) -> Array:
    place = device_of(x) if device is None else find_device(device)
    of_x = place.dtype(dtype if dtype is not None else unwrap(x).dtype)
    made = getattr(place.xp, name)(x.shape, *args, dtype=of_x, device=place.handle)
    return Tensor(made) if isinstance(x, Tensor) else made


def zeros_like(x: Array, /, *, dtype: Any = None, device: DeviceLike = None) -> Array:
    """Zeros of the shape, dtype and device of ``x``."""
    return _like("zeros", x, dtype=dtype, device=device)


def ones_like(x: Array, /, *, dtype: Any = None, device: DeviceLike = None) -> Array:
    """Ones of the shape, dtype and device of ``x``."""
    return _like("ones", x, dtype=dtype, device=device)


def empty_like(x: Array, /, *, dtype: Any = None, device: DeviceLike = None) -> Array:
    """Whatever was in memory, of the shape, dtype and device of ``x``."""
    return _like("empty", x, dtype=dtype, device=device)


def full_like(x: Array, /, fill_value: float, *, dtype: Any = None, device: DeviceLike = None) -> Array:
    """One value, of the shape, dtype and device of ``x``."""
    return _like("full", x, fill_value, dtype=dtype, device=device)


def _triangle(name: str, x: Array, k: int) -> tuple[Array, Backward]:
    return getattr(array_namespace(x), name)(x, k=k), lambda dy: getattr(array_namespace(dy), name)(dy, k=k)


@op
def tril(x: Array, /, *, k: int = 0) -> tuple[Array, Backward]:
    """``x`` with zeros above the ``k``-th diagonal; dx is dy with the same zeros."""
    return _triangle("tril", x, k)


@op
def triu(x: Array, /, *, k: int = 0) -> tuple[Array, Backward]:
    """``x`` with zeros below the ``k``-th diagonal; dx is dy with the same zeros."""
    return _triangle("triu", x, k)


def from_dlpack(x: Any, /, *, device: DeviceLike = None, copy: bool | None = None) -> Tensor:
    """A Tensor of any object that speaks DLPack, in the namespace of the device the data is on."""
    if is_array(x):
        return asarray(x, device=device, copy=copy)
    return asarray(_place("cpu").xp.from_dlpack(x), device=device, copy=copy)
