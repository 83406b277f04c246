"""The error function, which the Array API standard lacks."""

from __future__ import annotations

import math

from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, Namespace, array_namespace, dtype_name
from xnn.functional._checks import check_floating

# erf(x) = tanh(x p(x²)) with p of degree 7, lowest power first. The coefficients minimize the largest
# relative error of erf over 0 < x < 3.95, where erf rounds to 1 (Lawson's iteration on weighted least squares
# in the Chebyshev basis): 7.1e-8, which is 0.6 units in the last place of float32. tanh(√(2/π) x (1 +
# 0.044715 x²)) of the GELU paper is the same idea with degree 1. Beyond 3.95, x p(x²) grows on, so tanh stays
# at 1.
_TANH = (
    1.1283792471693221,
    0.10276986428701827,
    -0.00019528856216529463,
    -0.0006148378478226174,
    8.45964014082723e-05,
    -4.794563889553127e-06,
    2.757171318538979e-08,
    5.421773512378391e-09,
)
# W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969), 631-637; with
# the digits of his program CALERF. Lowest power first.
_A = (
    3209.37758913846947,
    377.485237685302021,
    113.864154151050156,
    3.16112374387056560,
    0.185777706184603153,
)
_B = (2844.23683343917062, 1282.61652607737228, 244.024637934444173, 23.6012909523441209, 1.0)
_C = (
    *(
        1230.33935479799725,
        2051.07837782607147,
        1712.04761263407058,
        881.952221241769090,
        298.635138197400131,
    ),
    *(66.1191906371416295, 8.88314979438837594, 0.564188496988670089, 2.15311535474403846e-8),
)
_D = (
    *(
        1230.33935480374942,
        3439.36767414372164,
        4362.61909014324716,
        3290.79923573345963,
        1621.38957456669019,
    ),
    *(537.181101862009858, 117.693950891312499, 15.7449261107098347, 1.0),
)


@op
def erf(x: Array) -> tuple[Array, Backward]:
    """y = 2/√π ∫₀ˣ e^{-t²} dt, elementwise. dx = 2/√π e^{-x²} dy.

    Args:
        x: any shape, a floating-point dtype.

    float32: tanh(x p(x²)) with a polynomial p, fitted for this; within 4 units in the last place. float64:
    the rational approximations of Cody (1969), within 4 units in the last place. Smaller dtypes are computed
    in float32.

    Raises:
        TypeError: ``x`` is not floating-point.

    >>> xnn.functional.erf(np.asarray([0.0, 1.0])).round(6)
    array([0.      , 0.842701])
    """
    check_floating("erf", x)
    xp = array_namespace(x)

    def backward(dy: Array) -> Array:
        return dy * (2 / math.sqrt(math.pi) * gaussian(xp, x, 1.0))

    return erf_values(xp, x), backward


def gaussian(xp: Namespace, x: Array, factor: float) -> Array:
    """e^{-factor x²}; beyond |x| = 39, where it is 0 in every dtype, nothing overflows."""
    square = xp.clip(x, -39.0, 39.0)
    square = square * square
    square *= -factor
    return xp.exp(square)


def erf_values(xp: Namespace, x: Array) -> Array:
    """erf(x), without its derivative: for operations that have it as a part."""
    kind = dtype_name(x.dtype)
    if kind == "float64":
        return _cody(xp, x)
    if kind != "float32":
        return xp.astype(_tanh(xp, xp.astype(x, xp.float32)), x.dtype)
    return _tanh(xp, x)


def _polynomial(coefficients: tuple[float, ...], z: Array) -> Array:
    """Σ c_k zᵏ by Horner's rule, in one array."""
    *lower, highest = coefficients
    total = z * highest
    for c in lower[:0:-1]:
        total += c
        total *= z
    total += lower[0]
    return total


def _tanh(xp: Namespace, x: Array) -> Array:
    x = xp.clip(x, -10.0, 10.0)  # the powers of 1e4 would overflow
    u = _polynomial(_TANH, x * x)
    u *= x
    return xp.tanh(u)


def _cody(xp: Namespace, x: Array) -> Array:
    """|x| ≤ 0.46875: x A(x²) / B(x²). Beyond: 1 - e^{-x²} C(|x|) / D(|x|), up to 6, where erf rounds to 1."""
    size = xp.abs(x)
    near = xp.clip(x, -0.46875, 0.46875)
    square = near * near
    near = near * (_polynomial(_A, square) / _polynomial(_B, square))
    far = xp.clip(size, 0.46875, 6.0)
    far = 1.0 - xp.exp(-far * far) * (_polynomial(_C, far) / _polynomial(_D, far))
    return xp.where(size <= 0.46875, near, far * xp.sign(x))
