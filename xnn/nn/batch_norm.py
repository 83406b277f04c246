"""Batch normalisation layers."""

from __future__ import annotations

import math
from typing import Any

from xnn import init
from xnn._whole import whole
from xnn.backends import DeviceLike
from xnn.backends.namespaces import Array, array_namespace, unwrap
from xnn.functional.batch_norm import batch_norm, batch_norm_training
from xnn.nn.module import Module
from xnn.nn.parameter import Parameter


class _BatchNorm(Module):
    """What the batch normalisations of all dimensions share."""

    dimensions: tuple[int, ...]
    shapes: str
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Any  # None without track_running_stats, as the next two
    running_var: Any
    num_batches_tracked: Any

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        device: DeviceLike = "cpu",
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        if whole(num_features) < 1:
            raise ValueError(
                f"{type(self).__name__}: expected a positive integer for num_features, got {num_features!r}"
            )
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(f"{type(self).__name__}: expected momentum in [0, 1] or None, got {momentum!r}")
        self.num_features = num_features = whole(num_features)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats

        def empty() -> Array:
            return init.empty((num_features,), dtype=dtype, device=device)

        for name in ("weight", "bias"):
            self.register_parameter(name, Parameter(empty()) if affine else None)
        self.register_buffer("running_mean", empty() if track_running_stats else None)
        self.register_buffer("running_var", empty() if track_running_stats else None)
        self.register_buffer("num_batches_tracked", 0 if track_running_stats else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget what was tracked: mean 0, variance 1, no batches."""
        if self.track_running_stats:
            xp = array_namespace(self.running_mean)
            self.running_mean = xp.zeros_like(self.running_mean)
            self.running_var = xp.ones_like(self.running_var)
            self.num_batches_tracked = 0

    def reset_parameters(self) -> None:
        """Start afresh: γ = 1, β = 0, nothing tracked."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            init.constant_(self.weight, 1.0)
            init.constant_(self.bias, 0.0)

    def forward(self, x: Any) -> Any:
        """Normalise, and in training mode update the running statistics."""
        shape = x.shape
        if len(shape) not in self.dimensions:
            raise ValueError(f"{type(self).__name__}: expected x of shape {self.shapes}, got {tuple(shape)}")
        if shape[1] != self.num_features:
            raise ValueError(
                f"{type(self).__name__}: expected x with {self.num_features} channels, "
                f"got shape {tuple(shape)}"
            )
        if not self.training and self.track_running_stats:
            return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)
        y, mean, var = batch_norm_training(x, self.weight, self.bias, self.eps)
        if self.training and self.track_running_stats:
            self._track(unwrap(mean), unwrap(var), math.prod(shape) // self.num_features)
        return y

    def _track(self, mean: Array, var: Array, m: int) -> None:
        """running ← (1 - f) running + f new, with the variance of a sample of m: divided by m - 1."""
        self.num_batches_tracked += 1
        f = 1.0 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean = (1.0 - f) * self.running_mean + f * mean
        self.running_var = (1.0 - f) * self.running_var + (f * m / (m - 1)) * var

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


_DOC = """Batch normalisation of the channels of {shapes}: y = γ_c (x - μ_c) / √(σ²_c + ε) + β_c.

    In training mode μ and σ² are those of the batch (`xnn.functional.batch_norm_training`), and running
    averages of them are kept, which are used in eval mode (`xnn.functional.batch_norm`).

    Args:
        num_features: C, the number of channels.
        eps: ε, added to the variance.
        momentum: f in running ← (1 - f) running + f new; None for the mean over all batches since the last
            reset. (The paper's and Keras's momentum is 1 - f.)
        affine: whether there are γ and β.
        track_running_stats: whether running averages are kept. Without them eval mode uses the batch as well.
        device, dtype: of parameters and buffers.

    Parameters:
        weight: γ, shape (C,), at first 1.
        bias: β, shape (C,), at first 0.

    Buffers:
        running_mean: shape (C,), at first 0.
        running_var: shape (C,), at first 1; of the unbiased variance, while the batch is normalised with the
            biased one, as in PyTorch.
        num_batches_tracked: an int on the host.

    Raises:
        ValueError: another shape or number of channels; in training mode also a single value per channel.
    """


class BatchNorm1d(_BatchNorm):  # noqa: D101
    dimensions = (2, 3)
    shapes = "(N, C) or (N, C, L)"
    __doc__ = _DOC.format(shapes=shapes)


class BatchNorm2d(_BatchNorm):  # noqa: D101
    dimensions = (4,)
    shapes = "(N, C, H, W)"
    __doc__ = _DOC.format(shapes=shapes)
