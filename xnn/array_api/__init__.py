"""The functions of the Array API standard, differentiable: the namespace of Tensors.

One file per chapter of the standard. On plain arrays every function is the array's own; on Tensors it is recorded.
"""

from __future__ import annotations

import math
from typing import Any

from xnn.array_api import data_types
from xnn.array_api.creation import (
    arange,
    asarray,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    tril,
    triu,
    zeros,
    zeros_like,
)
from xnn.array_api.data_types import can_cast, finfo, iinfo, isdtype, result_type
from xnn.array_api.elementwise import (
    abs,
    acos,
    acosh,
    add,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    ceil,
    clip,
    copysign,
    cos,
    cosh,
    divide,
    equal,
    exp,
    expm1,
    floor,
    floor_divide,
    greater,
    greater_equal,
    hypot,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    negative,
    nextafter,
    not_equal,
    positive,
    pow,
    reciprocal,
    remainder,
    round,
    sign,
    signbit,
    sin,
    sinh,
    sqrt,
    square,
    subtract,
    tan,
    tanh,
    trunc,
)
from xnn.array_api.indexing import getitem, take, take_along_axis
from xnn.array_api.linear_algebra import matmul, matrix_transpose, tensordot, vecdot
from xnn.array_api.manipulation import (
    astype,
    broadcast_arrays,
    broadcast_to,
    concat,
    expand_dims,
    flip,
    meshgrid,
    moveaxis,
    permute_dims,
    repeat,
    reshape,
    roll,
    squeeze,
    stack,
    tile,
    to_device,
    unstack,
)
from xnn.array_api.searching import all, any, argmax, argmin, argsort, count_nonzero, nonzero, searchsorted, sort, where
from xnn.array_api.statistical import cumulative_sum, max, mean, min, prod, std, sum, var
from xnn.backends.namespaces import register_wrapper
from xnn.tensor import Tensor

e = math.e
inf = math.inf
nan = math.nan
newaxis = None
pi = math.pi

__all__ = [name for name, value in list(globals().items()) if name[0] != "_" and name not in (
    "annotations", "math", "Any", "data_types", "register_wrapper", "Tensor", "creation", "elementwise", "indexing",
    "linear_algebra", "manipulation", "searching", "statistical",
)]  # fmt: skip


def __getattr__(name: str) -> Any:
    return getattr(data_types, name)


import sys  # noqa: E402

register_wrapper(Tensor, sys.modules[__name__])
