"""Which Array API namespace an array belongs to, and whether arrays may meet in one operation.

Every operation asks for its namespace once, so the answer is kept per array type: one dictionary look-up.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import array_api_compat

Array: TypeAlias = Any
"""An array of any Array API namespace (NumPy, CuPy, ...), or a Tensor where an operation is differentiated again."""

Namespace: TypeAlias = Any
"""A module of Array API functions."""


class _Kind(NamedTuple):
    namespace: Namespace
    one_device: bool  # all arrays of this type live on one device
    wraps: bool  # a Tensor: mixes with plain arrays and wins
    reads_wait: bool = False  # taken for a GPU: looking at a value is not free


_kinds: dict[type, _Kind | None] = {}
_types_of_one_device: set[type] = set()


def register_wrapper(array_type: type, namespace: Namespace) -> None:
    """Make ``namespace`` the namespace of ``array_type`` and of every plain array that it meets."""
    _kinds[array_type] = _Kind(namespace, one_device=True, wraps=True)


def register_device_array(array_type: type, namespace: Namespace) -> None:
    """Make ``array_type`` the arrays of a device of their own, on which reading a value is not free."""
    _kinds[array_type] = _Kind(namespace, one_device=True, wraps=False, reads_wait=True)
    _types_of_one_device.add(array_type)


def _find_kind(x: Any) -> _Kind | None:
    for base in type(x).__mro__:
        kind = _kinds.get(base)
        if kind is not None:
            break
    else:
        kind = None
        # (A class is no array, though numpy.float32, a dtype, looks like one.)
        if not isinstance(x, type) and array_api_compat.is_array_api_obj(x):
            namespace = array_api_compat.array_namespace(x)
            _prepare(namespace)
            kind = _Kind(namespace, array_api_compat.is_numpy_namespace(namespace), wraps=False)
    _kinds[type(x)] = kind
    if kind is not None and kind.one_device:
        _types_of_one_device.add(type(x))
    return kind


@functools.cache  # once a process
def _prepare(namespace: Namespace) -> None:
    """Let the backend of ``namespace``, if it has one, make ready before its arrays are first used."""
    for backend in ("numpy", "cupy"):
        if namespace.__name__ == f"array_api_compat.{backend}":
            importlib.import_module(f"xnn.backends.{backend}").prepare()


def _kind(x: Any) -> _Kind | None:
    try:
        return _kinds[type(x)]
    except KeyError:
        return _find_kind(x)


def is_array(x: Any) -> bool:
    """Whether ``x`` is an array of an Array API namespace (a Tensor included); numbers and lists are not."""
    return _kind(x) is not None


def reads_are_free(x: Array) -> bool:
    """Whether looking at the values costs no waiting for a device: everywhere but on CUDA devices."""
    plain = unwrap(x)
    kind = _kind(plain)
    if kind is not None and kind.one_device:
        return not kind.reads_wait
    return not array_api_compat.is_cupy_array(plain) and "cuda" not in str(array_api_compat.device(plain))


def unwrap(x: Any) -> Any:
    """The plain array of a Tensor; anything else as it is."""
    kind = _kind(x)
    return x.data if kind is not None and kind.wraps else x


def array_namespace(*arrays: Array) -> Namespace:
    """The Array API namespace that ``arrays`` share. Numbers and None among them have no say.

    Raises:
        TypeError: there is no array among them, or they are of different namespaces.
    """
    found: _Kind | None = None
    for x in arrays:
        try:
            kind = _kinds[type(x)]
        except KeyError:
            kind = _find_kind(x)
        if kind is None or kind is found:
            continue
        if found is None or (kind.wraps and not found.wraps):
            found = kind
        elif kind.namespace is not found.namespace and not found.wraps:
            raise TypeError(_mixed("array_namespace", arrays))
    if found is None:
        names = ", ".join(type(x).__name__ for x in arrays) or "nothing"
        raise TypeError(f"expected an array (NumPy, CuPy, a Tensor, ...), got {names}")
    return found.namespace


def check_same_device(name: str, values: Sequence[Any]) -> None:
    """Raise TypeError or ValueError if the arrays among ``values`` are of two libraries or on two devices."""
    if len(values) == 2:  # the most frequent case, made short: two arrays of one type that has one device
        array_type = type(values[0])
        if array_type is type(values[1]) and array_type in _types_of_one_device:
            return
    first = first_kind = None
    for x in values:
        try:
            kind = _kinds[type(x)]
        except KeyError:
            kind = _find_kind(x)
        if kind is None:
            continue
        if first_kind is None:
            first, first_kind = x, kind
        elif kind is first_kind and kind.one_device:
            continue
        elif kind is not first_kind and kind.namespace is not first_kind.namespace:
            raise TypeError(_mixed(name, values))
        elif not kind.one_device and array_api_compat.device(x) != array_api_compat.device(first):
            raise ValueError(_mixed(name, values))
    if first is None:
        got = ", ".join(type(x).__name__ for x in values)
        raise TypeError(f"{name}: expected an array (NumPy, CuPy, a Tensor, ...), got {got}")


def _mixed(name: str, values: Sequence[Any]) -> str:
    what = ", ".join(
        f"{_library(x)} on {getattr(x, 'device', None) or array_api_compat.device(x)}"
        for x in values
        if is_array(x)
    )
    return (
        f"{name}: expected all arrays on one device, got {what}; "
        "move them with Tensor.to(device), Module.to(device) or device.asarray(array)"
    )


def _library(x: Array) -> str:
    return f"{type(x).__module__.partition('.')[0]}.{type(x).__name__}"


_dtype_kinds: dict[tuple[type, Any, str], bool] = {}


def has_dtype(x: Array, kind: str) -> bool:
    """Whether the dtype of ``x`` is of a kind that the standard names ("real floating", "integral", ...)."""
    x = unwrap(x)
    key = (type(x), x.dtype, kind)
    try:
        return _dtype_kinds[key]  # isdtype takes microseconds, and every operation asks
    except KeyError:
        # NumPy and CuPy have bfloat16 from ml_dtypes, and their isdtype does not know it.
        is_bfloat16 = kind == "real floating" and dtype_name(x.dtype) == "bfloat16"
        return _dtype_kinds.setdefault(key, is_bfloat16 or bool(array_namespace(x).isdtype(x.dtype, kind)))


def dtype_name(dtype: Any) -> str:
    """The standard's name of a dtype of any namespace: ``"float32"``, ``"int64"``, ``"bool"``."""
    return (
        getattr(dtype, "name", None)  # numpy.dtype
        or getattr(dtype, "__name__", None)  # a class: numpy.float32
        or str(dtype).rpartition(".")[2]  # torch.float32
    )
