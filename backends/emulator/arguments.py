"""Check the arguments of a launch against the kernel's parameters: all that CuPy does not."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from xnn.backends.emulator.compiler import Parameter
from xnn.backends.emulator.errors import ArgumentError

# The dtypes that may meet a C type. bfloat16 is a dtype of ml_dtypes; uint16 carries its bits where that is missing.
_DTYPES: dict[str, tuple[str, ...]] = {
    "bool": ("bool",),
    "char": ("int8",),
    "signed char": ("int8",),
    "unsigned char": ("uint8",),
    "short": ("int16",),
    "unsigned short": ("uint16",),
    "int": ("int32",),
    "unsigned": ("uint32",),
    "long": ("int64",),
    "unsigned long": ("uint64",),
    "long long": ("int64",),
    "unsigned long long": ("uint64",),
    "float": ("float32",),
    "double": ("float64",),
    "__half": ("float16",),
    "__nv_bfloat16": ("bfloat16", "uint16"),
}
_VECTORS = {
    "char": "int8", "uchar": "uint8", "short": "int16", "ushort": "uint16", "int": "int32", "uint": "uint32",
    "long": "int64", "ulong": "uint64", "longlong": "int64", "ulonglong": "uint64",
    "float": "float32", "double": "float64",
}  # fmt: skip
for _name, _dtype in _VECTORS.items():
    _DTYPES |= {f"{_name}{n}": (_dtype,) for n in (1, 2, 3, 4)}
_DTYPES["float2"] = ("float32", "complex64")
_DTYPES["double2"] = ("float64", "complex128")
_DTYPES["__half2"] = _DTYPES["__half"]
_DTYPES["__nv_bfloat162"] = _DTYPES["__nv_bfloat16"]


def check(
    kernel: str, names: Sequence[str], parameters: Sequence[Parameter], arguments: Sequence[Any]
) -> list[Any]:
    """The arguments in the form that a launch takes: arrays, None for a null pointer, bytes for a value."""
    if not isinstance(arguments, (tuple, list)):
        raise ArgumentError(f"{kernel}: expected a tuple of arguments, got {type(arguments).__name__}")
    if len(arguments) != len(parameters):
        raise ArgumentError(
            f"{kernel}: expected {len(parameters)} arguments ({', '.join(names)}), got {len(arguments)}"
        )
    checked = []
    for i, (parameter, argument) in enumerate(zip(parameters, arguments, strict=True)):
        name = names[i] if i < len(names) else "?"
        try:
            checked.append(
                _pointer(parameter, argument) if parameter.is_pointer else _value(parameter, argument)
            )
        except _Unfit as unfit:
            raise ArgumentError(
                f"{kernel}: parameter {i} ({_declaration(parameter, name)}): expected {unfit.expected}, got {unfit.got}"
            ) from None
    return checked


class Struct(bytes):
    """A struct passed by value, in which addresses of arrays may stand: at which byte, and of which array."""

    pointers: tuple[tuple[int, np.ndarray], ...] = ()


class _Unfit(Exception):
    def __init__(self, expected: str, got: str) -> None:
        super().__init__(expected, got)
        self.expected, self.got = expected, got


def _declaration(parameter: Parameter, name: str) -> str:
    if parameter.is_pointer:
        return f"{'const ' if parameter.is_const else ''}{parameter.type}* {name}"
    return f"{parameter.type} {name}"


def _wanted(parameter: Parameter) -> str:
    return " or ".join(_DTYPES.get(parameter.type, (f"{parameter.size} bytes",)))


def _pointer(parameter: Parameter, a: Any) -> Any:
    if a is None:
        return None
    wanted = _wanted(parameter) if parameter.type != "void" else "any dtype"
    if not isinstance(a, np.ndarray):
        raise _Unfit(f"an array of {wanted}, or None", _describe(a))
    if parameter.type in _DTYPES:
        fits = a.dtype.name in _DTYPES[parameter.type]
    else:
        fits = parameter.type == "void" or a.dtype.itemsize == parameter.size
    if not fits:
        raise _Unfit(f"an array of {wanted}", f"one of {a.dtype.name}")
    if not a.dtype.isnative:
        raise _Unfit("an array in the byte order of this machine", f"dtype {a.dtype.str}")
    if not a.flags.c_contiguous:
        raise _Unfit(
            "a C-contiguous array (a kernel does not see strides)",
            f"shape {a.shape} with strides {a.strides}",
        )
    if not parameter.is_const and not a.flags.writeable:
        raise _Unfit("a writeable array, because the parameter is no pointer to const", "a read-only array")
    if a.nbytes and (a.ctypes.data - owner_address(a)) % parameter.alignment:
        raise _Unfit(
            f"an address aligned to {parameter.alignment} bytes",
            f"a view that begins {a.ctypes.data - owner_address(a)} bytes into its array",
        )
    if parameter.size and a.nbytes % parameter.size:
        raise _Unfit(f"whole elements of {parameter.size} bytes", f"an array of {a.nbytes} bytes")
    return a.view(np.ndarray)


def owner_address(a: np.ndarray) -> int:
    """Where the memory of which ``a`` is a view begins. (A CUDA allocation begins at a multiple of 256.)"""
    owner: Any = a
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return owner.ctypes.data


def _value(parameter: Parameter, a: Any) -> bytes:
    wanted = _DTYPES.get(parameter.type)
    if type(a) in (bool, int, float, complex):
        scalar = f"np.{wanted[0]}({a!r})" if wanted and wanted[0] != "bool" else "np.bool_(...)"
        raise _Unfit(
            f"{scalar}, a number of the parameter's exact type",
            f"the Python {type(a).__name__} {a!r}, which CuPy would pass as {np.asarray(a).dtype}",
        )
    if isinstance(a, np.ndarray) and a.size == 1 and a.dtype.kind == "V" and wanted is None:
        return _struct(parameter, a)
    if isinstance(a, np.generic):
        dtype, raw = a.dtype, a.tobytes()
    elif isinstance(a, ctypes._SimpleCData):
        dtype, raw = np.dtype(type(a)), bytes(a)
    elif isinstance(a, ctypes.Structure) and wanted is None:
        raw = bytes(a)
        if len(raw) != parameter.size:
            raise _Unfit(f"a structure of {parameter.size} bytes", f"one of {len(raw)} bytes")
        return raw
    else:
        raise _Unfit(f"a scalar of {_wanted(parameter)}", _describe(a))
    if len(raw) != parameter.size or (wanted is not None and dtype.name not in wanted):
        raise _Unfit(f"a scalar of {_wanted(parameter)}", f"{dtype.name}")
    return raw


def _struct(parameter: Parameter, a: np.ndarray) -> Struct:
    """CuPy passes an array of NumPy's with one element by value."""
    raw = Struct(a.tobytes())
    if len(raw) != parameter.size:
        raise _Unfit(f"a structure of {parameter.size} bytes", f"one of {len(raw)} bytes")
    raw.pointers = tuple((int(at), x.view(np.ndarray)) for at, x in getattr(a, "pointers", ()))
    return raw


def _describe(a: Any) -> str:
    if isinstance(a, np.ndarray):
        return f"an array of {a.dtype.name} and shape {a.shape}"
    return f"{type(a).__name__} {a!r}"[:80]
