"""Mixed precision: forward and backward in a half dtype, weights and optimizer states in float32.

Micikevicius et al., "Mixed precision training", ICLR 2018. A step is

    ŵ ← half(w)                      a copy of each weight, made anew in each step
    ŷ ← model(half(x); ŵ)            normalisation layers compute in float32 (see `in_float32`)
    L ← loss(float32(ŷ), target)
    g ← float32(∂(s L)/∂ŵ)           s: the loss scale, 1 for bfloat16
    g ← g / s, clipped, and w ← optimizer(w, g), all in float32

float16 has few exponents: gradients below 6e-8 become 0, above 65504 infinite. So the loss, and with it every gradient,
is multiplied by a scale s that is as large as it can be: `LossScaler` finds it while training goes on. bfloat16 has the
exponents of float32 and needs no scale.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from xnn import nn
from xnn.array_api import astype
from xnn.backends import Device, DeviceError, device_of
from xnn.backends.namespaces import Array, array_namespace, dtype_name, has_dtype, is_array, reads_are_free
from xnn.nn import Module, Parameter
from xnn.optim import Optimizer, clip_grad_norm_
from xnn.optim.clip_grad import total_norm
from xnn.tensor import Tensor

__all__ = ["PRECISIONS", "LossScaler", "Precision", "in_float32"]

_log = logging.getLogger("xnn")

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")

# Layers that divide by a standard deviation: sums over many elements, of squares that leave the range of float16.
_NORMALISATIONS = tuple(
    getattr(nn, name)
    for name in (
        *("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm", "RMSNorm", "GroupNorm"),
        *("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
    )
    if hasattr(nn, name)
)


def in_float32(module: Module) -> bool:
    """Whether a layer keeps to float32 in mixed precision: its inputs are widened, its results narrowed again.

    That are the normalisations of `xnn.nn`, and every Module whose class says ``computes_in_float32 = True``.
    """
    return isinstance(module, _NORMALISATIONS) or getattr(module, "computes_in_float32", False)


def available(name: str, device: Device) -> str:
    """``name`` if ``device`` has that precision, else "float32", which is announced."""
    try:
        Precision(name, device)
    except (ValueError, DeviceError) as error:
        _log.warning("xnn: computing in float32; %s", error)
        return "float32"
    return name


class Precision:
    """How a `Trainer` computes.

    Args:
        name: "float32"; "tf32", float32 whose matrix products round their factors to 10 bits behind the point on GPUs
            that have this (elsewhere it is float32); "bfloat16" or "float16", mixed precision.
        device: where.
        scaler: of the loss; by default a `LossScaler` for float16 and none otherwise.

    Raises:
        ValueError: another name, or the arrays of ``device`` have no such dtype (NumPy has no bfloat16).
        DeviceError: TF32 cannot be chosen any more.
    """

    def __init__(self, name: str, device: Device, scaler: LossScaler | None = None) -> None:
        if name not in PRECISIONS:
            raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {name!r}")
        self.name = name
        self.device = device
        self.dtype = name if name in ("bfloat16", "float16") else None
        if self.dtype is not None:
            try:
                device.dtype(self.dtype)
            except TypeError as error:
                raise ValueError(f"precision {name!r}: {device} has no arrays of it ({error})") from None
        if name == "tf32":
            device.allow_tf32()
        self.scaler = LossScaler(device) if scaler is None and name == "float16" else scaler

    # --- forward and backward ---

    @contextmanager
    def lowered(self, model: Module) -> Iterator[None]:
        """Within it the model has half weights; gradients that it gets are added to its float32 ones afterwards."""
        if self.dtype is None:
            yield
            return
        wide = [module for module in model.modules() if in_float32(module)]
        kept = {id(getattr(module, name)) for module in wide for name in module._parameters}
        masters = [
            (p, p.data, p.grad)
            for p in model.parameters()
            if id(p) not in kept and dtype_name(p.data.dtype) in ("float32", "float64")
        ]
        forwards = [(module, vars(module).get("forward")) for module in wide]
        with self.device.overflow_is_expected():
            gradients: list[Array | None] = [None] * len(masters)
            try:
                for p, master, _ in masters:
                    p.data, p.grad = _cast(master, self.dtype), None
                for module in wide:
                    object.__setattr__(module, "forward", _widened(module, self.dtype))
                yield
                gradients = [None if p.grad is None else _cast(p.grad, m.dtype) for p, m, _ in masters]
            finally:
                for module, own in forwards:
                    vars(module).pop("forward", None)
                    if own is not None:
                        object.__setattr__(module, "forward", own)
                for (p, master, before), gradient in zip(masters, gradients, strict=True):
                    p.data = master
                    p.grad = before if gradient is None else gradient if before is None else before + gradient

    def forward(self, model: Module, inputs: Sequence[Any]) -> Any:
        """The model's output in float32, from inputs of which the floating-point ones are narrowed."""
        if self.dtype is None:
            return model(*inputs)
        return _each(model(*_each(tuple(inputs), self.dtype)), "float32")

    def backward(self, loss: Tensor, accumulate: int = 1) -> None:
        """Add the gradients of ``loss / accumulate`` to those that are there, times the scale if there is one."""
        if accumulate != 1:
            loss = loss / accumulate
        (loss if self.scaler is None else self.scaler.scaled(loss)).backward()

    # --- update ---

    def update(
        self, optimizer: Optimizer, parameters: Sequence[Parameter], clip_norm: float | None = None
    ) -> None:
        """Undo the scale, clip, step; with a `LossScaler`, only if all gradients are finite."""
        if self.scaler is not None:
            self.scaler.update(optimizer, parameters, clip_norm)
            return
        if clip_norm is not None:
            clip_grad_norm_(parameters, clip_norm)
        optimizer.step()

    def settle(self, optimizer: Optimizer) -> dict[str, float]:
        """At the end of an epoch: `LossScaler.settle`; returns what belongs into the history."""
        return {} if self.scaler is None else self.scaler.settle(optimizer)

    # --- state ---

    def state_dict(self) -> dict[str, Any]:
        """The name and the state of the scaler."""
        return {"name": self.name, "scaler": None if self.scaler is None else self.scaler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the state of a scaler, if there is one in both. (The weights are float32 in every precision, so a
        run may go on in another one.)"""
        if self.scaler is not None and state["scaler"] is not None:
            self.scaler.load_state_dict(state["scaler"])


class LossScaler:
    """The largest factor of the loss with which no gradient overflows, found by trying.

        all gradients finite:  step; after ``growth_interval`` such steps in a row  s ← s · growth_factor
        otherwise:             no step,  s ← s · backoff_factor

    As ``torch.amp.GradScaler``, with its defaults; but scale, counters and decision stay on the device. Where reading a
    number costs no waiting (on the CPU), a step that must not be taken is not taken. On a GPU it is taken and then
    undone, element by element, so that the host need not wait for the answer:

        w ← where(finite, w_new, w_old), and the same for the optimizer's arrays.

    For that, the old weights and states are copied in each step, which costs their size in memory and some bandwidth.
    One thing the host learns late: how many steps an optimizer counted that were undone (Adam divides by
    1 - β^count). Those are taken off the counts at the end of each epoch. (NAdam's product of momenta keeps their
    factors: it comes to its limit, 0, sooner by as many steps.)

    Args:
        device: where the gradients are.
        init_scale: s in the beginning.
        growth_factor, backoff_factor, growth_interval: as above.
    """

    def __init__(
        self,
        device: Device,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not init_scale > 0 or not growth_factor > 1 or not 0 < backoff_factor < 1 or growth_interval < 1:
            raise ValueError(
                "LossScaler: expected init_scale > 0, growth_factor > 1, backoff_factor in (0, 1) and growth_interval "
                f"of at least 1, got {init_scale}, {growth_factor}, {backoff_factor} and {growth_interval}"
            )
        self.device = device
        self.growth_interval = growth_interval

        def number(value: float, dtype: str = "float32") -> Array:
            return device.asarray(value, dtype=dtype)

        self.scale = number(init_scale)
        self._good = number(0, "int32")  # finite steps since the scale changed
        self._skipped = number(0, "int32")  # in this epoch
        self._owed = number(0, "int32")  # steps that optimizers counted and that were undone
        self._zero, self._one = number(0, "int32"), number(1.0)
        self._growth, self._backoff = number(growth_factor), number(backoff_factor)

    def scaled(self, loss: Tensor) -> Tensor:
        """s L."""
        return loss * self.scale

    def update(
        self, optimizer: Optimizer, parameters: Sequence[Parameter], clip_norm: float | None = None
    ) -> None:
        """Undo the scale, clip, step if all gradients are finite, and adapt the scale."""
        having = [p for p in parameters if p.grad is not None]
        if having:
            with self.device.overflow_is_expected():
                self._update(optimizer, having, clip_norm)

    def _update(self, optimizer: Optimizer, having: Sequence[Parameter], clip_norm: float | None) -> None:
        finite = _all_finite([p.grad for p in having])
        skip = reads_are_free(finite)
        if not skip or bool(finite):
            inverse = self._one / self.scale
            for p in having:
                p.grad = p.grad * inverse
            if clip_norm is not None:
                clip_grad_norm_(having, clip_norm)
            if skip:
                optimizer.step()
            else:
                self._step_or_undo(optimizer, finite)
        self._adapt(finite)

    def _step_or_undo(self, optimizer: Optimizer, finite: Array) -> None:
        xp = array_namespace(finite)
        params = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        before = []
        for p in params:
            arrays = {name: x for name, x in optimizer.state.get(p, {}).items() if is_array(x)}
            before.append(
                (xp.asarray(p.data, copy=True), {n: xp.asarray(x, copy=True) for n, x in arrays.items()})
            )
        optimizer.step()
        for p, (data, arrays) in zip(params, before, strict=True):
            p.data[...] = xp.where(finite, p.data, data)
            for name, x in optimizer.state.get(p, {}).items():
                if is_array(x):  # one that was not there before begins with 0
                    x[...] = xp.where(finite, x, arrays[name] if name in arrays else xp.zeros_like(x))
        self._owed = self._owed + xp.astype(~finite, xp.int32)

    def _adapt(self, finite: Array) -> None:
        xp = array_namespace(finite)
        good = xp.where(finite, self._good + 1, self._zero)
        grows = good >= self.growth_interval
        factor = xp.where(finite, xp.where(grows, self._growth, self._one), self._backoff)
        scale = self.scale * factor
        self.scale = xp.asarray(xp.where(xp.isfinite(scale), scale, self.scale))
        self._good = xp.asarray(xp.where(grows, self._zero, good))
        self._skipped = xp.asarray(self._skipped + xp.astype(~finite, xp.int32))

    def settle(self, optimizer: Optimizer) -> dict[str, float]:
        """Take undone steps off the optimizer's counts; returns the scale and the number of steps skipped since the
        last call. Reads three numbers from the device."""
        row = {"loss_scale": float(self.scale), "skipped_steps": int(self._skipped)}
        owed = int(self._owed)
        if owed:
            for state in optimizer.state.values():
                if isinstance(state.get("step"), int):
                    state["step"] -= min(owed, state["step"])
        self._skipped = self._owed = self._zero
        return row

    def state_dict(self) -> dict[str, Any]:
        """The scale and the counters, as arrays."""
        return {"scale": self.scale, "good": self._good, "skipped": self._skipped, "owed": self._owed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Raises ValueError if entries are missing or unknown."""
        expected = set(self.state_dict())
        if set(state) != expected:
            raise ValueError(
                f"LossScaler state: expected the entries {sorted(expected)}, got {sorted(state)}"
            )
        asarray = self.device.asarray
        self.scale = asarray(state["scale"], dtype="float32")
        self._good, self._skipped, self._owed = (
            asarray(state[name], dtype="int32") for name in ("good", "skipped", "owed")
        )


def _all_finite(gradients: Sequence[Array]) -> Array:
    """Whether all elements are finite: a bool without dimensions, on the device. Their norm is, if they are."""
    xp = array_namespace(gradients[0])
    norms = [
        total_norm.vjp(*[g for g in gradients if g.dtype == dtype], p=2.0)[0]
        for dtype in dict.fromkeys(g.dtype for g in gradients)
    ]
    return xp.asarray(xp.all(xp.stack([xp.asarray(xp.isfinite(norm)) for norm in norms])))


def _cast(x: Array, dtype: Any) -> Array:
    return array_namespace(x).astype(x, device_of(x).dtype(dtype))


def _each(value: Any, dtype: str) -> Any:
    """``value`` with its floating-point arrays and Tensors, also inside tuples, lists and dicts, in ``dtype``."""
    if is_array(value):
        narrow = has_dtype(value, "real floating") and dtype_name(value.dtype) != dtype
        return astype(value, dtype) if narrow else value
    if isinstance(value, Mapping):
        return {name: _each(x, dtype) for name, x in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_each(x, dtype) for x in value)
    return value


def _widened(module: Module, dtype: str) -> Callable[..., Any]:
    """The ``forward`` of a layer that keeps to the dtype of its own weights, in the midst of layers that do not."""
    forward = module.forward
    own = [*(p.data for p in module.parameters()), *filter(is_array, module.buffers())]
    wide = next((dtype_name(x.dtype) for x in own if has_dtype(x, "real floating")), "float32")

    @functools.wraps(forward)
    def in_wide(*args: Any, **kwargs: Any) -> Any:
        return _each(forward(*_each(args, wide), **_each(kwargs, wide)), dtype)

    return in_wide
