"""Muon: momentum whose matrices are made orthogonal."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from xnn.backends.namespaces import Array, array_namespace
from xnn.optim._arithmetic import average_, decay_
from xnn.optim._limits import ANY, FRACTION, NON_NEGATIVE
from xnn.optim.optimizer import Optimizer
from xnn.optim.rule import State, rule

__all__ = ["Muon", "muon", "orthogonalize"]

_ADJUSTMENTS = (None, "original", "match_rms_adamw")


def orthogonalize(g: Array, coefficients: tuple[float, float, float], steps: int, eps: float) -> Array:
    """About U Vᵀ, where G = U S Vᵀ is the singular value decomposition, from matrix products alone.

    X ← a X + (b A + c A²) X with A = X Xᵀ maps every singular value s to a s + b s³ + c s⁵ and leaves U and V
    as they are. X starts as G / ‖G‖, whose singular values are at most 1; with Muon's coefficients five steps
    bring all but the smallest of them to about 0.7 ... 1.2.

    Args:
        g: G, shape (A, B).
        coefficients: (a, b, c).
        steps: how often.
        eps: the least ‖G‖ to divide by.
    """
    xp = array_namespace(g)
    a, b, c = coefficients
    tall = g.shape[0] > g.shape[1]
    x = g.T if tall else g  # the products X Xᵀ are then the small ones
    norm = xp.sqrt(xp.sum(x * x))
    x = x / xp.maximum(norm, xp.full((), eps, dtype=g.dtype, device=g.device))
    for _ in range(steps):
        gram = x @ x.T
        polynomial = gram @ gram
        polynomial *= c
        gram *= b
        polynomial += gram
        following = polynomial @ x
        x *= a
        following += x
        x = following
    return x.T if tall else x


def _adjusted(lr: float, adjust_lr_fn: str | None, shape: tuple[int, ...]) -> float:
    rows, columns = shape
    if adjust_lr_fn == "match_rms_adamw":
        return lr * 0.2 * math.sqrt(max(rows, columns))
    return lr * math.sqrt(max(1, rows / columns))


@rule
def muon(
    param: Array,
    grad: Array,
    state: State,
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool,
    ns_coefficients: tuple[float, float, float],
    eps: float,
    ns_steps: int,
    adjust_lr_fn: str | None,
) -> None:
    """The formulas of `Muon`."""
    b = state["momentum_buffer"]
    average_(b, grad, momentum)
    if nesterov:
        direction = momentum * b
        direction += (1 - momentum) * grad
    else:
        direction = b
    step = orthogonalize(direction, ns_coefficients, ns_steps, eps)
    decay_(param, lr, weight_decay)
    param -= _adjusted(lr, adjust_lr_fn, param.shape) * step


class Muon(Optimizer):
    """Muon, for the matrices of hidden layers. Jordan et al., "Muon: An optimizer for hidden layers", 2024.

        B ← μ B + (1 - μ) G,  G = ∇L(Θ)
        O = NS(B),  or with ``nesterov``  O = NS(μ B + (1 - μ) G)
        Θ ← (1 - η λ) Θ - η' O

    NS makes the matrix about orthogonal (`orthogonalize`). η' is η √max(1, A / B) for Θ of shape (A, B), or,
    with ``adjust_lr_fn="match_rms_adamw"``, 0.2 η √max(A, B), which makes the steps as large as AdamW's, so
    that its learning rate and weight decay can be kept (Liu et al., "Muon is scalable for LLM training",
    2025).

    Biases, gains, embeddings and the last layer go to another optimizer, such as `AdamW`.

    Args:
        params: see `Optimizer`; every parameter has 2 dimensions.
        lr: η.
        weight_decay: λ.
        momentum: μ.
        nesterov: look ahead along the momentum.
        ns_coefficients: (a, b, c) of the iteration.
        eps: the least norm that a matrix is divided by.
        ns_steps: how many iterations, less than 100.
        adjust_lr_fn: ``"original"`` (or None) or ``"match_rms_adamw"``.

    PyTorch iterates in bfloat16; here it is done in the dtype of the parameter, which the Array API can
    express.

    >>> model = xnn.nn.Linear(3, 2)
    >>> matrices = [p for p in model.parameters() if p.ndim == 2]
    >>> optimizer = xnn.optim.Muon(matrices, lr=0.02)
    """

    rule = muon
    limits: ClassVar = {
        "lr": NON_NEGATIVE,
        "weight_decay": NON_NEGATIVE,
        "momentum": FRACTION,
        "ns_coefficients": (ANY, ANY, ANY),
        "eps": NON_NEGATIVE,
    }

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )

    def check_group(self, group: dict[str, Any]) -> None:
        """Matrices only, and options that mean something."""
        for p in group["params"]:
            if p.ndim != 2:
                raise ValueError(
                    f"{self._name}: expected parameters with 2 dimensions, got shape {tuple(p.shape)}; "
                    "give the others to another optimizer, such as AdamW"
                )
        if group["adjust_lr_fn"] not in _ADJUSTMENTS:
            raise ValueError(
                f"{self._name}: expected adjust_lr_fn 'original', 'match_rms_adamw' or None, "
                f"got {group['adjust_lr_fn']!r}"
            )
        steps = group["ns_steps"]
        if not isinstance(steps, int) or not 0 <= steps < 100:
            raise ValueError(f"{self._name}: expected ns_steps to be an integer in [0, 100), got {steps!r}")

    def new_state(self, param: Array, group: dict[str, Any]) -> State:
        """B."""
        return {"momentum_buffer": array_namespace(param).zeros_like(param)}
