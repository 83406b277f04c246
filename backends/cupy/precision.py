"""What CuPy needs to be told about number formats: TF32 and bfloat16."""

from __future__ import annotations

import os
from typing import Any

from xnn.backends.errors import DeviceError
from xnn.backends.namespaces import dtype_name

__all__ = ["allow_tf32", "bfloat16", "means_bfloat16", "teach_bfloat16"]

_SWITCH = "CUPY_TF32"


def allow_tf32(handle: Any) -> None:
    """Let float32 matrix products round their factors to TF32 from now on.

    CuPy reads the environment variable CUPY_TF32 once, at the first such product, and `xnn.device` has tried one to see
    whether the device works. So the choice is changed in CuPy itself. That is no public function of it; where it has
    gone, the variable must be set before the program starts.
    """
    already = os.environ.get(_SWITCH) == "1"
    os.environ[_SWITCH] = "1"  # for processes that this one starts
    if already:
        return
    try:
        import cupy
        from cupy._core import _routines_linalg as products

        with handle:
            products.set_compute_type(cupy.dtype("float32"), products.COMPUTE_TYPE_TF32)
    except (ImportError, AttributeError, TypeError) as error:
        del os.environ[_SWITCH]
        raise DeviceError(
            f"precision 'tf32': this CuPy takes the choice only at its start ({error}); "
            f"set the environment variable {_SWITCH}=1 before the program starts"
        ) from error


def means_bfloat16(dtype: Any) -> bool:
    """Whether a dtype of any namespace, or a name, is bfloat16."""
    return (dtype if isinstance(dtype, str) else dtype_name(dtype)) == "bfloat16"


def bfloat16() -> Any:
    """CuPy's dtype, which is that of ml_dtypes.

    Raises:
        TypeError: ml_dtypes is not installed, or this CuPy is older than 14.
    """
    import cupy

    if int(cupy.__version__.partition(".")[0]) < 14:
        raise TypeError(f"dtype: bfloat16 needs CuPy 14 or newer, this is {cupy.__version__}")
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError("dtype: bfloat16 needs the package ml_dtypes: pip install ml_dtypes") from None
    teach_bfloat16()
    return cupy.dtype(ml_dtypes.bfloat16)


def teach_bfloat16() -> None:
    """Let the namespace's ``isdtype`` know bfloat16, which NumPy's, that CuPy passes on, refuses to look at."""
    import array_api_compat.cupy

    namespace: Any = array_api_compat.cupy
    if getattr(namespace.isdtype, "knows_bfloat16", False):
        return
    isdtype = namespace.isdtype

    def knowing(dtype: Any, kind: Any) -> bool:
        if getattr(dtype, "name", None) != "bfloat16":
            return bool(isdtype(dtype, kind))
        kinds = kind if isinstance(kind, tuple) else (kind,)
        return any(k in ("real floating", "numeric") if isinstance(k, str) else k == dtype for k in kinds)

    knowing.knows_bfloat16 = True  # type: ignore[attr-defined]
    namespace.isdtype = knowing
