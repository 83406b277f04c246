"""Losses as Modules: ``loss = criterion(x, target)``. Formulas and errors stand with the functions they call."""

from __future__ import annotations

from typing import Any

from xnn import functional as F
from xnn.backends.namespaces import Array, is_array, unwrap
from xnn.functional._checks import check_reduction
from xnn.nn.module import Module
from xnn.tensor import tensor

__all__ = [
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "NLLLoss",
    "SmoothL1Loss",
    "SoftmaxMSELoss",
]


class _Loss(Module):
    """What losses share: the reduction, "mean", "sum" or "none"."""

    reductions: tuple[str, ...] = ("mean", "sum", "none")

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(type(self).__name__, reduction, self.reductions)
        self.reduction = reduction

    def _register_weight(self, name: str, weight: Any) -> None:
        """Keep weights as a buffer, so that they move with the Module: an array, a Tensor or a list of numbers."""
        if weight is not None:
            weight = unwrap(weight) if is_array(weight) else tensor(weight, dtype="float32").data
        self.register_buffer(name, weight)

    def extra_repr(self) -> str:
        """The reduction."""
        return f"reduction={self.reduction!r}"


class CrossEntropyLoss(_Loss):
    """Cross-entropy between softmax(logits) and class indices or probabilities.

    See `xnn.functional.cross_entropy`.

    Args:
        weight: one factor per class, shape (C,); kept as a buffer.
        ignore_index: samples of this class are left out.
        reduction: "mean", "sum" or "none".
        label_smoothing: in [0, 1].

    >>> loss = xnn.nn.CrossEntropyLoss(weight=[1.0, 3.0])
    >>> float(loss(np.zeros((2, 2), dtype="float32"), np.asarray([0, 1])))
    0.6931...
    """

    weight: Array | None

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"CrossEntropyLoss: expected label_smoothing in [0, 1], got {label_smoothing}")
        self._register_weight("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, logits: Any, target: Any) -> Any:
        """Logits (N, C, ...); class indices (N, ...) or probabilities of the shape of the logits."""
        return F.cross_entropy(
            logits,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_Loss):
    """The negative log-likelihood of class indices. See `xnn.functional.nll_loss`.

    Args:
        weight: one factor per class, shape (C,); kept as a buffer.
        ignore_index: samples of this class are left out.
        reduction: "mean", "sum" or "none".
    """

    weight: Array | None

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._register_weight("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, log_probs: Any, target: Any) -> Any:
        """Log-probabilities of shape (N, C, ...), class indices of shape (N, ...)."""
        return F.nll_loss(
            log_probs, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class MSELoss(_Loss):
    """Mean squared error. See `xnn.functional.mse_loss`."""

    def forward(self, x: Any, target: Any) -> Any:
        """Two arrays of one shape."""
        return F.mse_loss(x, target, reduction=self.reduction)


class SoftmaxMSELoss(_Loss):
    """Mean squared error between softmax(logits) and probabilities or classes.

    See `xnn.functional.softmax_mse_loss`.

    Args:
        dim: the dimension of the classes.
        reduction: "mean", "sum" or "none".
    """

    def __init__(self, dim: int = -1, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.dim = dim

    def forward(self, logits: Any, target: Any) -> Any:
        """Logits, and probabilities of their shape or class indices of their shape without ``dim``."""
        return F.softmax_mse_loss(logits, target, dim=self.dim, reduction=self.reduction)

    def extra_repr(self) -> str:
        """The options."""
        return f"dim={self.dim}, reduction={self.reduction!r}"


class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy of σ(logits). See `xnn.functional.binary_cross_entropy_with_logits`.

    Args:
        weight: factors that broadcast to the logits; kept as a buffer.
        reduction: "mean", "sum" or "none".
        pos_weight: the weight of positive answers, broadcasts to the logits; kept as a buffer.
    """

    weight: Array | None
    pos_weight: Array | None

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self._register_weight("weight", weight)
        self._register_weight("pos_weight", pos_weight)

    def forward(self, logits: Any, target: Any) -> Any:
        """Two arrays of one shape."""
        return F.binary_cross_entropy_with_logits(
            logits, target, self.weight, self.pos_weight, reduction=self.reduction
        )


class L1Loss(_Loss):
    """Mean absolute error. See `xnn.functional.l1_loss`."""

    def forward(self, x: Any, target: Any) -> Any:
        """Two arrays of one shape."""
        return F.l1_loss(x, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """Quadratic up to β, with slope 1 beyond. See `xnn.functional.smooth_l1_loss`.

    Args:
        reduction: "mean", "sum" or "none".
        beta: β ≥ 0.
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        if not beta >= 0:
            raise ValueError(f"SmoothL1Loss: expected beta >= 0, got {beta!r}")
        self.beta = beta

    def forward(self, x: Any, target: Any) -> Any:
        """Two arrays of one shape."""
        return F.smooth_l1_loss(x, target, reduction=self.reduction, beta=self.beta)

    def extra_repr(self) -> str:
        """The options."""
        return f"reduction={self.reduction!r}, beta={self.beta}"


class HuberLoss(_Loss):
    """Quadratic up to δ, with slope δ beyond. See `xnn.functional.huber_loss`.

    Args:
        reduction: "mean", "sum" or "none".
        delta: δ > 0.
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ValueError(f"HuberLoss: expected delta > 0, got {delta!r}")
        self.delta = delta

    def forward(self, x: Any, target: Any) -> Any:
        """Two arrays of one shape."""
        return F.huber_loss(x, target, reduction=self.reduction, delta=self.delta)

    def extra_repr(self) -> str:
        """The options."""
        return f"reduction={self.reduction!r}, delta={self.delta}"


class KLDivLoss(_Loss):
    """Kullback-Leibler divergence of a target from e^{log_probs}. See `xnn.functional.kl_div`.

    Args:
        reduction: "batchmean", "mean", "sum" or "none".
        log_target: whether the target is given as logarithms.
    """

    reductions = ("mean", "batchmean", "sum", "none")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, log_probs: Any, target: Any) -> Any:
        """Two arrays of one shape."""
        return F.kl_div(log_probs, target, reduction=self.reduction, log_target=self.log_target)

    def extra_repr(self) -> str:
        """The options."""
        return f"reduction={self.reduction!r}, log_target={self.log_target}"
