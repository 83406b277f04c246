"""Clipping gradients before a step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from xnn.autodiff import op
from xnn.backends import Device, device_of
from xnn.backends import device as find_device
from xnn.backends.namespaces import Array, array_namespace, dtype_name, reads_are_free, unwrap
from xnn.tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Array:
    """Scale all gradients together so that their norm, as of one long vector, is at most ``max_norm``.

        ‖g‖ₚ = (Σ |gᵢ|ᵖ)^(1/p) over all elements of all gradients,  g ← g min(1, max_norm / (‖g‖ₚ + 10⁻⁶))

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013, algorithm 1.

    Call it after all backward passes that a step adds up. ``p.grad`` is replaced, never written into.

    Args:
        parameters: Tensors; those whose ``grad`` is None do not count.
        max_norm: the largest norm allowed.
        norm_type: p > 0; infinity for the largest absolute value.
        error_if_nonfinite: raise RuntimeError if the norm is infinite or NaN. This looks at the norm, so on a
            GPU it waits for the device. Without it a norm that is not finite makes all gradients NaN or 0, as
            in PyTorch.

    Returns:
        The norm before clipping: an array without dimensions on the device of the first gradient, float32 or
        float64 (float32 also for float16 gradients, whose norm may lie outside of float16).
    """
    tensors = _tensors("clip_grad_norm_", parameters)
    p = float(norm_type)
    if not p > 0:
        raise ValueError(f"clip_grad_norm_: expected norm_type > 0, got {norm_type!r}")
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: expected max_norm >= 0, got {max_norm!r}")
    having = [t for t in tensors if t.grad is not None]
    if not having:
        place = device_of(tensors[0].data) if tensors else find_device("cpu")
        return place.asarray(0.0, dtype="float32")
    grads = [unwrap(t.grad) for t in having]
    place = device_of(grads[0])
    groups = _alike(grads)
    norms = [_brought(place, total_norm.vjp(*[grads[i] for i in those], p=p)[0]) for those in groups]
    total = norms[0] if len(norms) == 1 else _norm(norms, p)
    if error_if_nonfinite and not math.isfinite(float(total)):
        raise RuntimeError(
            f"clip_grad_norm_: expected gradients with a finite norm, got {float(total)}; "
            "error_if_nonfinite=False clips them all the same"
        )
    max_norm = float(max_norm)
    if reads_are_free(total) and max_norm >= float(total) + 1e-6:
        return total
    for those in groups:
        of_group = [grads[i] for i in those]
        there = total if len(groups) == 1 else _brought(device_of(of_group[0]), total)
        for i, scaled in zip(those, scale_to_norm.vjp(there, *of_group, max_norm=max_norm)[0], strict=True):
            having[i].grad = scaled
    return total


@op
def total_norm(*grads: Array, p: float) -> tuple[Array, None]:
    """‖g‖ₚ of arrays of one dtype on one device, as of one long vector: at least in float32. No gradient flows back."""
    return _norm([_norm_of(g, p) for g in grads], p), None


@op
def scale_to_norm(total: Array, *grads: Array, max_norm: float) -> tuple[tuple[Array, ...], None]:
    """g min(1, max_norm / (total + 10⁻⁶)) for each array, in new arrays. No gradient flows back.

    ``total`` has no dimensions; it is on the device of the others and may have more precision.
    """
    xp = array_namespace(total)
    factor = max_norm / (total + 1e-6)
    factor = xp.minimum(factor, xp.ones_like(factor))
    factor = xp.astype(factor, grads[0].dtype, copy=False)
    return tuple([g * factor for g in grads]), None


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Put every element of every gradient into [-clip_value, clip_value]. ``p.grad`` is replaced."""
    limit = float(clip_value)
    if not limit >= 0:
        raise ValueError(f"clip_grad_value_: expected clip_value >= 0, got {clip_value!r}")
    for t in _tensors("clip_grad_value_", parameters):
        if t.grad is not None:
            g = unwrap(t.grad)
            xp = array_namespace(g)
            low, high = (xp.full((), bound, dtype=g.dtype, device=g.device) for bound in (-limit, limit))
            # Not xp.clip, which array-api-compat builds of masks: slow, and on a GPU it waits for the device.
            t.grad = xp.minimum(xp.maximum(g, low), high)


def _tensors(name: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for t in tensors:
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}: expected Tensors, got {type(t).__name__}")
    return tensors


def _alike(grads: list[Array]) -> list[list[int]]:
    """The numbers of those of one dtype on one device, which an operation takes together."""
    members: dict[tuple[Any, ...], list[int]] = {}
    device: Any = None
    for i, g in enumerate(grads):
        if g.device != device:
            device = g.device
            place = str(device)
        members.setdefault((type(g), g.dtype, place), []).append(i)
    return list(members.values())


def _norm_of(g: Array, p: float) -> Array:
    """The norm of one gradient, at least in float32."""
    xp = array_namespace(g)
    if dtype_name(g.dtype) not in ("float32", "float64"):
        g = xp.astype(g, xp.float32)
    if p == 2:
        flat = xp.reshape(g, (-1,))
        return xp.sqrt(flat @ flat)  # no array of squares in between
    magnitudes = xp.abs(g)
    if p == math.inf:
        return xp.max(magnitudes) if math.prod(g.shape) else xp.sum(magnitudes)
    return xp.sum(magnitudes if p == 1 else magnitudes**p) ** (1 / p)


def _norm(norms: list[Array], p: float) -> Array:
    """The norm of the whole from the norms of the parts."""
    xp = array_namespace(norms[0])
    dtype = xp.result_type(*norms)
    return xp.asarray(_norm_of(xp.stack([xp.astype(xp.asarray(n), dtype) for n in norms]), p))


def _brought(place: Device, x: Array, dtype: object = None) -> Array:
    """``x`` on ``place`` and in ``dtype``, itself if it is there already."""
    if device_of(x) == place and (dtype is None or x.dtype == dtype):
        return x
    return place.asarray(x, dtype=dtype)
