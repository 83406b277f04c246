"""Elementwise functions of the Array API standard, with their derivatives.

The rules of one argument are a table: name, derivative, formula. ``dy`` is the gradient of the result ``y``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from xnn.array_api._rules import like, sum_to
from xnn.autodiff import Backward, Op, op
from xnn.backends.namespaces import Array, Namespace, array_namespace

# --- functions of one argument ---------------------------------------------------------------------------------------


def _named(name: str, formula: str, forward: Callable[..., Any]) -> Op[..., Any]:
    forward.__name__ = forward.__qualname__ = name
    forward.__doc__ = (
        f"{formula}\n\n    Elementwise, for an array of any shape; see ``{name}`` in the Array API standard."
    )
    return op(forward)


def _of_input(name: str, rule: Callable[[Namespace, Array, Array], Array], formula: str) -> Op[..., Any]:
    """A function whose derivative is written in terms of its input."""

    def forward(x: Array, /) -> tuple[Array, Backward]:
        xp = array_namespace(x)
        return getattr(xp, name)(x), lambda dy: rule(xp, dy, x)

    return _named(name, formula, forward)


def _of_result(name: str, rule: Callable[[Namespace, Array, Array], Array], formula: str) -> Op[..., Any]:
    """A function whose derivative is written in terms of its result: the input need not be kept."""

    def forward(x: Array, /) -> tuple[Array, Backward]:
        xp = array_namespace(x)
        y = getattr(xp, name)(x)
        return y, lambda dy: rule(xp, dy, y)

    return _named(name, formula, forward)


def _of_neither(name: str, rule: Callable[[Namespace, Array], Array], formula: str) -> Op[..., Any]:
    """A function whose derivative depends on nothing: neither the input nor the result is kept."""

    def forward(x: Array, /) -> tuple[Array, Backward]:
        xp = array_namespace(x)
        return getattr(xp, name)(x), lambda dy: rule(xp, dy)

    return _named(name, formula, forward)


def _flat(name: str, formula: str) -> Op[..., Any]:
    """A function that is constant between its steps: its derivative is 0."""
    return _of_neither(name, lambda xp, dy: xp.zeros_like(dy), formula)


def _without(name: str, formula: str) -> Op[..., Any]:
    """A function whose result has no derivative (bool or integer)."""
    return _named(name, formula, lambda x, /: (getattr(array_namespace(x), name)(x), None))


# fmt: off
abs      = _of_input("abs",       lambda xp, dy, x: dy * xp.sign(x),                    "y = |x|, dx = sign(x) dy, 0 at 0.")
acos     = _of_input("acos",      lambda xp, dy, x: -dy / xp.sqrt(1 - x * x),           "y = arccos x, dx = -dy / √(1 - x²).")
acosh    = _of_input("acosh",     lambda xp, dy, x: dy / (xp.sqrt(x - 1) * xp.sqrt(x + 1)), "y = arcosh x, dx = dy / √(x² - 1).")
asin     = _of_input("asin",      lambda xp, dy, x: dy / xp.sqrt(1 - x * x),            "y = arcsin x, dx = dy / √(1 - x²).")
asinh    = _of_input("asinh",     lambda xp, dy, x: dy / xp.sqrt(1 + x * x),            "y = arsinh x, dx = dy / √(1 + x²).")
atan     = _of_input("atan",      lambda xp, dy, x: dy / (1 + x * x),                   "y = arctan x, dx = dy / (1 + x²).")
atanh    = _of_input("atanh",     lambda xp, dy, x: dy / (1 - x * x),                   "y = artanh x, dx = dy / (1 - x²).")
cos      = _of_input("cos",       lambda xp, dy, x: -dy * xp.sin(x),                    "y = cos x, dx = -sin(x) dy.")
cosh     = _of_input("cosh",      lambda xp, dy, x: dy * xp.sinh(x),                    "y = cosh x, dx = sinh(x) dy.")
exp      = _of_result("exp",      lambda xp, dy, y: dy * y,                             "y = eˣ, dx = y dy.")
expm1    = _of_result("expm1",    lambda xp, dy, y: dy * (y + 1),                       "y = eˣ - 1, dx = (y + 1) dy.")
log      = _of_input("log",       lambda xp, dy, x: dy / x,                             "y = ln x, dx = dy / x.")
log1p    = _of_input("log1p",     lambda xp, dy, x: dy / (1 + x),                       "y = ln(1 + x), dx = dy / (1 + x).")
log2     = _of_input("log2",      lambda xp, dy, x: dy / (x * math.log(2)),             "y = log₂ x, dx = dy / (x ln 2).")
log10    = _of_input("log10",     lambda xp, dy, x: dy / (x * math.log(10)),            "y = log₁₀ x, dx = dy / (x ln 10).")
negative = _of_neither("negative", lambda xp, dy: -dy,                                  "y = -x, dx = -dy.")
positive = _of_neither("positive", lambda xp, dy: dy,                                   "y = x, dx = dy.")
reciprocal = _of_result("reciprocal", lambda xp, dy, y: -dy * y * y,                    "y = 1 / x, dx = -y² dy.")
sin      = _of_input("sin",       lambda xp, dy, x: dy * xp.cos(x),                     "y = sin x, dx = cos(x) dy.")
sinh     = _of_input("sinh",      lambda xp, dy, x: dy * xp.cosh(x),                    "y = sinh x, dx = cosh(x) dy.")
sqrt     = _of_result("sqrt",     lambda xp, dy, y: dy / (2 * y),                       "y = √x, dx = dy / (2 y).")
square   = _of_input("square",    lambda xp, dy, x: 2 * x * dy,                         "y = x², dx = 2 x dy.")
tan      = _of_result("tan",      lambda xp, dy, y: dy * (1 + y * y),                   "y = tan x, dx = (1 + y²) dy.")
tanh     = _of_result("tanh",     lambda xp, dy, y: dy * (1 - y * y),                   "y = tanh x, dx = (1 - y²) dy.")

ceil  = _flat("ceil",  "The smallest integer not less than x; dx = 0.")
floor = _flat("floor", "The largest integer not greater than x; dx = 0.")
round = _flat("round", "The nearest integer, to even at .5; dx = 0.")
sign  = _flat("sign",  "-1, 0 or 1; dx = 0.")
trunc = _flat("trunc", "The integer part of x; dx = 0.")

bitwise_invert = _without("bitwise_invert", "Inverts every bit.")
isfinite       = _without("isfinite",       "Whether x is neither infinite nor NaN.")
isinf          = _without("isinf",          "Whether x is infinite.")
isnan          = _without("isnan",          "Whether x is NaN.")
logical_not    = _without("logical_not",    "Whether x is zero or false.")
signbit        = _without("signbit",        "Whether the sign bit of x is set.")
# fmt: on

_NUMBERS = (float, int)

# --- functions of two arguments, which broadcast ---------------------------------------------------------------------


@op
def add(x1: Array, x2: Array, /) -> tuple[Array, Backward]:
    """y = x1 + x2, dx1 = dx2 = dy."""
    like1, like2 = like(x1), like(x2)

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        return sum_to(dy, like1) if needs[0] else None, sum_to(dy, like2) if needs[1] else None

    return x1 + x2, backward


@op
def subtract(x1: Array, x2: Array, /) -> tuple[Array, Backward]:
    """y = x1 - x2, dx1 = dy, dx2 = -dy."""
    like1, like2 = like(x1), like(x2)

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        return sum_to(dy, like1) if needs[0] else None, -sum_to(dy, like2) if needs[1] else None

    return x1 - x2, backward


@op
def multiply(x1: Array, x2: Array, /) -> tuple[Array, Backward]:
    """y = x1 x2, dx1 = x2 dy, dx2 = x1 dy."""
    if type(x2) in _NUMBERS:  # then x1 need not be kept
        like1 = like(x1)
        return x1 * x2, lambda dy: sum_to(dy * x2, like1)

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        return (
            sum_to(dy * x2, like(x1)) if needs[0] else None,
            sum_to(dy * x1, like(x2)) if needs[1] else None,
        )

    return x1 * x2, backward


@op
def divide(x1: Array, x2: Array, /) -> tuple[Array, Backward]:
    """y = x1 / x2, dx1 = dy / x2, dx2 = -dy y / x2."""
    like1 = like(x1)
    if type(x2) in _NUMBERS:  # then y need not be kept
        return x1 / x2, lambda dy: sum_to(dy / x2, like1)
    y = x1 / x2

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        dx1 = dy / x2
        return sum_to(dx1, like1) if needs[0] else None, sum_to(-dx1 * y, like(x2)) if needs[1] else None

    return y, backward


@op
def pow(x1: Array, x2: Array, /) -> tuple[Array, Backward]:
    """y = x1^x2, dx1 = x2 x1^(x2 - 1) dy, dx2 = y ln(x1) dy, with 0 where x2 = 0 and where x1 = 0 respectively."""
    y = x1**x2

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        xp = array_namespace(dy)
        dx1 = dx2 = None
        if needs[0]:
            if isinstance(x2, (int, float)):
                dx1 = sum_to(dy * (x2 * x1 ** (x2 - 1)), like(x1)) if x2 else xp.zeros_like(x1)
            else:
                exponent = xp.where(x2 == 0, xp.ones_like(x2), x2)  # 0 * 0^-1 would be NaN
                dx1 = sum_to(dy * (x2 * x1 ** (exponent - 1)), like(x1))
        if needs[1]:
            if isinstance(x1, (int, float)):
                dx2 = sum_to(dy * y * (math.log(x1) if x1 else 0.0), like(x2))
            else:
                base = xp.where(x1 == 0, xp.ones_like(x1), x1)
                dx2 = sum_to(dy * y * xp.log(base), like(x2))
        return dx1, dx2

    return y, backward


def _arrays(x1: Any, x2: Any) -> tuple[Namespace, Array, Array]:
    """Both as arrays: a Python number takes the dtype of the other argument."""
    xp = array_namespace(x1, x2)
    if not hasattr(x1, "shape"):
        x1 = _as_array(xp, x1, x2)
    if not hasattr(x2, "shape"):
        x2 = _as_array(xp, x2, x1)
    return xp, x1, x2


def _as_array(xp: Namespace, number: Any, like: Array) -> Array:
    if isinstance(number, float) and not xp.isdtype(like.dtype, ("real floating", "complex floating")):
        raise TypeError(f"expected an integer to go with an array of dtype {like.dtype}, got {number!r}")
    return xp.full(
        (), number, dtype=like.dtype, device=like.device
    )  # not asarray: CuPy would copy from the host


Rule = Callable[[Namespace, Array, Array, Array, Array], Array]


def _of_two(name: str, rule1: Rule, rule2: Rule, formula: str) -> Op[..., Any]:
    """A function of two arguments by its two derivatives ``rule(xp, dy, x1, x2, y)``."""

    def forward(x1: Array, x2: Array, /) -> tuple[Array, Backward]:
        xp, x1, x2 = _arrays(x1, x2)
        y = getattr(xp, name)(x1, x2)

        def backward(dy: Array, needs: Any = (True, True)) -> Any:
            return (
                sum_to(rule1(xp, dy, x1, x2, y), like(x1)) if needs[0] else None,
                sum_to(rule2(xp, dy, x1, x2, y), like(x2)) if needs[1] else None,
            )

        return y, backward

    return _named(name, formula, forward)


def _share(xp: Namespace, dy: Array, mine: Array, other: Array) -> Array:
    """The gradient of the larger of two, given that ``mine > other`` decides; equal ones share it."""
    return dy * (0.5 * xp.astype(mine > other, dy.dtype) + 0.5 * xp.astype(mine >= other, dy.dtype))


# fmt: off
maximum = _of_two("maximum",
    lambda xp, dy, x1, x2, y: _share(xp, dy, x1, x2),
    lambda xp, dy, x1, x2, y: _share(xp, dy, x2, x1),
    "The larger of x1 and x2; the gradient goes to the larger one, half to each where they are equal.")
minimum = _of_two("minimum",
    lambda xp, dy, x1, x2, y: _share(xp, dy, x2, x1),
    lambda xp, dy, x1, x2, y: _share(xp, dy, x1, x2),
    "The smaller of x1 and x2; the gradient goes to the smaller one, half to each where they are equal.")
atan2 = _of_two("atan2",
    lambda xp, dy, x1, x2, y: dy * x2 / (x1 * x1 + x2 * x2),
    lambda xp, dy, x1, x2, y: -dy * x1 / (x1 * x1 + x2 * x2),
    "The angle of the point (x2, x1); dx1 = x2 dy / (x1² + x2²), dx2 = -x1 dy / (x1² + x2²).")
hypot = _of_two("hypot",
    lambda xp, dy, x1, x2, y: dy * x1 / y,
    lambda xp, dy, x1, x2, y: dy * x2 / y,
    "y = √(x1² + x2²), dx1 = x1 dy / y, dx2 = x2 dy / y.")
logaddexp = _of_two("logaddexp",
    lambda xp, dy, x1, x2, y: dy * xp.exp(x1 - y),
    lambda xp, dy, x1, x2, y: dy * xp.exp(x2 - y),
    "y = ln(e^x1 + e^x2), dx1 = e^(x1 - y) dy, dx2 = e^(x2 - y) dy.")
copysign = _of_two("copysign",
    lambda xp, dy, x1, x2, y: dy * xp.sign(x1) * xp.sign(y),
    lambda xp, dy, x1, x2, y: xp.zeros_like(dy),
    "|x1| with the sign of x2; dx1 = sign(x1) sign(y) dy, dx2 = 0.")
floor_divide = _of_two("floor_divide",
    lambda xp, dy, x1, x2, y: xp.zeros_like(dy),
    lambda xp, dy, x1, x2, y: xp.zeros_like(dy),
    "y = ⌊x1 / x2⌋; dx1 = dx2 = 0.")
remainder = _of_two("remainder",
    lambda xp, dy, x1, x2, y: dy,
    lambda xp, dy, x1, x2, y: -dy * xp.floor(x1 / x2),
    "y = x1 - x2 ⌊x1 / x2⌋, dx1 = dy, dx2 = -⌊x1 / x2⌋ dy.")
nextafter = _of_two("nextafter",
    lambda xp, dy, x1, x2, y: dy,
    lambda xp, dy, x1, x2, y: xp.zeros_like(dy),
    "The next floating-point number from x1 towards x2; dx1 = dy, dx2 = 0.")
# fmt: on


def _compare(name: str, operation: Callable[[Any, Any], Any], formula: str) -> Op[..., Any]:
    return _named(name, formula, lambda x1, x2, /: (operation(x1, x2), None))


def _logical(name: str, formula: str) -> Op[..., Any]:
    def forward(x1: Array, x2: Array, /) -> tuple[Array, None]:
        xp, x1, x2 = _arrays(x1, x2)
        return getattr(xp, name)(x1, x2), None

    return _named(name, formula, forward)


equal = _compare("equal", operator.eq, "Whether x1 = x2.")
not_equal = _compare("not_equal", operator.ne, "Whether x1 ≠ x2.")
less = _compare("less", operator.lt, "Whether x1 < x2.")
less_equal = _compare("less_equal", operator.le, "Whether x1 ≤ x2.")
greater = _compare("greater", operator.gt, "Whether x1 > x2.")
greater_equal = _compare("greater_equal", operator.ge, "Whether x1 ≥ x2.")
bitwise_and = _compare("bitwise_and", operator.and_, "x1 and x2, bit by bit.")
bitwise_or = _compare("bitwise_or", operator.or_, "x1 or x2, bit by bit.")
bitwise_xor = _compare("bitwise_xor", operator.xor, "x1 exclusive-or x2, bit by bit.")
bitwise_left_shift = _compare("bitwise_left_shift", operator.lshift, "x1 shifted to the left by x2 bits.")
bitwise_right_shift = _compare("bitwise_right_shift", operator.rshift, "x1 shifted to the right by x2 bits.")
logical_and = _logical("logical_and", "Whether both are true.")
logical_or = _logical("logical_or", "Whether one of them is true.")
logical_xor = _logical("logical_xor", "Whether exactly one of them is true.")


@op
def clip(x: Array, /, min: Any = None, max: Any = None) -> tuple[Array, Backward]:
    """Limit x to the interval [min, max]; either may be None, a number or an array that broadcasts to x.

    dx = dy inside and on the limits, 0 outside; a limit that is an array gets dy where it is in force.
    """
    xp = array_namespace(x, min, max)
    y = xp.clip(x, min, max)

    def backward(dy: Array, needs: Any = (True, True, True)) -> Any:
        zero = xp.zeros_like(dy)
        below = None if min is None else x < min
        above = None if max is None else x > max
        outside = [mask for mask in (below, above) if mask is not None]
        dx = dy
        for mask in outside:
            dx = xp.where(mask, zero, dx)
        dmin = dmax = None
        if len(needs) > 1 and needs[1] and below is not None:
            dmin = sum_to(xp.where(below, dy, zero), like(min))
        if len(needs) > 2 and needs[2] and above is not None:
            dmax = sum_to(xp.where(above, dy, zero), like(max))
        return dx, dmin, dmax

    return y, backward
