"""Data types of the Array API standard: what they promote to and what numbers they can hold.

A dtype is given as that of any namespace (``x.dtype``) or by its name (``"float32"``).
"""

from __future__ import annotations

from typing import Any

from xnn.backends import device as find_device
from xnn.backends import device_of
from xnn.backends.namespaces import array_namespace, is_array, unwrap

NAMES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64", "complex64", "complex128"),
)


def _host_dtype(dtype: Any) -> Any:
    return find_device("cpu").dtype(dtype)


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind: a dtype, ``"real floating"``, ``"integral"``, ..., or a tuple of these."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    host = tuple(k if isinstance(k, str) and k not in NAMES else _host_dtype(k) for k in kinds if k != "bool")
    if "bool" in kinds:
        host = (*host, "bool")
    return bool(find_device("cpu").xp.isdtype(_host_dtype(dtype), host))


def finfo(type: Any, /) -> Any:
    """Limits of a floating-point dtype: bits, eps, max, min, smallest_normal, dtype."""
    return find_device("cpu").xp.finfo(_host_dtype(type.dtype if is_array(type) else type))


def iinfo(type: Any, /) -> Any:
    """Limits of an integer dtype: bits, max, min, dtype."""
    return find_device("cpu").xp.iinfo(_host_dtype(type.dtype if is_array(type) else type))


def result_type(*arrays_and_dtypes: Any) -> Any:
    """The dtype to which arrays, dtypes and Python numbers promote."""
    values = [unwrap(v) for v in arrays_and_dtypes]
    arrays = [v for v in values if is_array(v)]
    place = device_of(arrays[0]) if arrays else find_device("cpu")
    array_namespace(*arrays, place.xp.asarray(0))  # raises if they are of several
    return place.xp.result_type(
        *(v if is_array(v) or isinstance(v, (bool, int, float, complex)) else place.dtype(v) for v in values)
    )


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether a dtype (or the one of an array) can be cast to another by the standard's promotion rules."""
    if is_array(from_):
        from_ = from_.dtype
    return bool(find_device("cpu").xp.can_cast(_host_dtype(from_), _host_dtype(to)))


def __getattr__(name: str) -> Any:  # float32, int64, ...: NumPy's dtypes, found only when asked for
    if name in NAMES:
        return _host_dtype(name)
    if name in ("conj", "imag", "real"):
        raise AttributeError(f"{name}: complex numbers are not supported yet")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
