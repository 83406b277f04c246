"""Checking a backward function against its forward: for everybody who writes operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from xnn.autodiff import enable_grad
from xnn.backends import device_of
from xnn.backends.namespaces import Array, array_namespace, dtype_name, is_array, unwrap
from xnn.random import Generator
from xnn.tensor import Tensor

__all__ = ["GradientError", "gradcheck"]


class GradientError(AssertionError):
    """A backward function does not fit its forward. The message names the argument and both numbers."""


def gradcheck(
    function: Callable[..., Any],
    *inputs: Any,
    eps: float = 1e-5,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    directions: int = 3,
    seed: int = 0,
) -> None:
    """Compare the gradients of ``function`` with directional derivatives, in float64.

    For random w (one per result) and, for each input, random directions v of length 1, it compares

        ⟨v, backward(w)⟩   with   (⟨w, f(x + ε v)⟩ - ⟨w, f(x - ε v)⟩) / 2ε,

    whose error is of order ε². One direction touches every element of an input at once, so the cost is that of a few
    calls, however large the input.

    Args:
        function: takes Tensors, returns a Tensor or a tuple of them; an operation, a loss, a Module.
        inputs: float64 arrays, which are checked; anything else is passed on as it is.
        eps: ε, the step.
        rtol, atol: allowed difference, atol + rtol times the larger number.
        directions: how many random directions for each input.
        seed: of the directions.

    Raises:
        GradientError: a gradient is wrong, missing or not finite, or another one when the backward pass is run again;
            or that is because the function has a kink (or a jump) within ε of the inputs.
        RuntimeError: a gradient is of another shape or dtype than its input.
        TypeError: no input is a float64 array.

    >>> xnn.gradcheck(lambda x: x**3, np.asarray([1.0, 2.0]))
    """
    plain = [unwrap(x) for x in inputs]
    checked = [i for i, x in enumerate(plain) if is_array(x) and dtype_name(x.dtype) == "float64"]
    if not checked:
        got = ", ".join(dtype_name(x.dtype) if is_array(x) else type(x).__name__ for x in plain)
        raise TypeError(f"gradcheck: expected at least one float64 array among the inputs, got {got}")
    source = Generator(seed)

    def run(arguments: Sequence[Any]) -> tuple[Tensor, ...]:
        with enable_grad():
            results = function(*arguments)
        results = results if isinstance(results, tuple) else (results,)
        for result in results:
            if not isinstance(result, Tensor):
                raise TypeError(
                    f"gradcheck: expected the function to return Tensors, got {type(result).__name__}"
                )
        return results

    leaves = [Tensor(x, requires_grad=i in checked) if is_array(x) else x for i, x in enumerate(plain)]
    results = run(leaves)
    weights = [_normal(source, r.data) for r in results]
    if not any(r.requires_grad for r in results):
        raise GradientError("gradcheck: no result depends on the inputs")
    with enable_grad():
        total = _sum_of_products(results, weights)
    total.backward(retain_graph=True)
    first = [leaves[i].grad for i in checked]
    total.backward()  # doubles every gradient, unless a backward function changed what it caught
    for i, once in zip(checked, first, strict=True):
        if once is not None and bool(array_namespace(once).any(leaves[i].grad != 2 * once)):
            if not math.isfinite(_dot(once, once)):
                continue  # reported below
            raise GradientError(
                f"gradcheck: input {i}: the backward pass gives other gradients when it is run again"
            )
        leaves[i].grad = once

    for i in checked:
        gradient = leaves[i].grad
        if gradient is None:
            raise GradientError(f"gradcheck: input {i} received no gradient")
        for _ in range(directions):
            v = _normal(source, plain[i])
            v = v / max(math.sqrt(_dot(v, v)), 1e-300)

            def along(t: float, i: int = i, v: Array = v) -> float:
                moved = [*plain]
                moved[i] = plain[i] + t * v
                arguments = [Tensor(x) if is_array(x) else x for x in moved]
                return sum(_dot(r.data, w) for r, w in zip(run(arguments), weights, strict=True))

            analytic = _dot(gradient, v)
            numeric = (along(eps) - along(-eps)) / (2 * eps)
            if not math.isfinite(analytic) or not math.isfinite(numeric):
                raise GradientError(
                    f"gradcheck: input {i}: backward gives {analytic}, differences give {numeric}"
                )
            if abs(analytic - numeric) > atol + rtol * max(abs(analytic), abs(numeric)):
                if _has_kink(along, eps):
                    raise GradientError(
                        f"gradcheck: the function has a kink within eps={eps} of input {i}: no derivative to compare "
                        f"with (backward gives {analytic}); choose inputs away from it"
                    )
                raise GradientError(
                    f"gradcheck: input {i} of shape {tuple(plain[i].shape)}: along a random direction backward gives "
                    f"{analytic!r}, differences give {numeric!r}"
                )


def _has_kink(along: Callable[[float], float], eps: float) -> bool:
    """Whether the slopes on both sides still differ at a hundredth of the step, where a smooth function's agree."""
    middle = along(0.0)

    def gap(h: float) -> float:
        return abs((along(h) - middle) / h - (middle - along(-h)) / h)

    wide, narrow = gap(eps), gap(eps / 100)
    return wide > 1e-6 * max(1.0, abs(middle)) and narrow > 0.5 * wide


def _normal(source: Generator, like: Array) -> Array:
    return source.normal(tuple(like.shape), dtype="float64", device=device_of(like))


def _dot(x: Array, y: Array) -> float:
    return float(array_namespace(x).sum(x * y))


def _sum_of_products(results: Sequence[Tensor], weights: Sequence[Array]) -> Tensor:
    xp = array_namespace(results[0])
    terms = [xp.sum(r * w) for r, w in zip(results, weights, strict=True) if r.requires_grad]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
