"""Exponential moving average of the weights of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from xnn.backends import device_of
from xnn.backends.namespaces import Array, array_namespace, is_array, unwrap
from xnn.nn.module import Module
from xnn.tensor import Tensor

__all__ = ["ExponentialMovingAverage"]


class ExponentialMovingAverage:
    """A second set of weights that follows the trained ones slowly, and usually predicts better.

        θ̄ ← d θ̄ + (1 - d) θ  after each step, from θ̄ = θ
        d = decay,  or with ``warmup``  d = min(decay, (1 + t) / (10 + t)) at update t = 0, 1, ...

    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; the warm-up is
    TensorFlow's, and lets the average leave the untrained weights behind soon.

    Args:
        model: a Module, whose buffers (the running statistics of BatchNorm, say) are copied at each update;
            or Tensors.
        decay: d, in [0, 1]. It averages over about 1 / (1 - d) steps.
        warmup: begin with a smaller d.

    >>> model = xnn.nn.Linear(3, 2)
    >>> optimizer = xnn.optim.SGD(model.parameters(), lr=0.1)
    >>> ema = xnn.optim.ExponentialMovingAverage(model, decay=0.999)
    >>> for x in np.eye(3, dtype="float32"):
    ...     xnn.sum(model(x)).backward()
    ...     optimizer.step()
    ...     ema.update()
    ...     optimizer.zero_grad()
    >>> with ema.average_parameters():
    ...     y = model.eval()(x)
    """

    def __init__(self, model: Module | Iterable[Tensor], decay: float = 0.999, warmup: bool = False) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"ExponentialMovingAverage: expected decay in [0, 1], got {decay!r}")
        self.decay = float(decay)
        self.warmup = warmup
        self.updates = 0
        self._model = model if isinstance(model, Module) else None
        named = model.named_parameters() if isinstance(model, Module) else enumerate(model)
        self._parameters: dict[str, Tensor] = {str(name): p for name, p in named}
        if not self._parameters:
            raise ValueError("ExponentialMovingAverage: expected at least one parameter, got none")
        for name, p in self._parameters.items():
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"ExponentialMovingAverage: parameter {name}: expected a Tensor, got {type(p).__name__}"
                )
        self._averages: dict[str, Array] = {name: _copy(p.data) for name, p in self._parameters.items()}
        self._buffers: dict[str, Any] = self._copied_buffers()
        self._swapped = False

    def update(self) -> None:
        """Let the averages follow the weights; call it after each step of the optimizer."""
        self._check_not_swapped("update")
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        for name, p in self._parameters.items():
            average = self._averages[name]
            change = p.data - average
            change *= 1 - decay
            average += change
        self._buffers = self._copied_buffers()
        self.updates += 1

    @contextmanager
    def average_parameters(self) -> Iterator[None]:
        """Within it the model has the averaged weights (and the buffers of the last update); after it, its own again.

        Arrays change places, nothing is copied: so do not train within.
        """
        self._check_not_swapped("average_parameters")
        self._swap()
        self._swapped = True
        try:
            yield
        finally:
            self._swap()
            self._swapped = False

    def copy_to_parameters(self) -> None:
        """Give the model the averaged weights (and the buffers of the last update) for good."""
        self._check_not_swapped("copy_to_parameters")
        for name, p in self._parameters.items():
            p.data = _copy(self._averages[name])
        for name, (module, attribute) in self._buffer_slots().items():
            object.__setattr__(module, attribute, _copy(self._buffers[name]))

    def state_dict(self) -> dict[str, Any]:
        """Numbers, and the averages and buffers by name; arrays are shared and change with the next update."""
        return {
            "decay": self.decay,
            "warmup": self.warmup,
            "updates": self.updates,
            "parameters": dict(self._averages),
            "buffers": dict(self._buffers),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state: all of it or, if anything is wrong, nothing. Arrays are copied.

        Raises:
            ValueError: names what is missing, unknown, or of another shape.
        """
        self._check_not_swapped("load_state_dict")
        name = "load_state_dict of ExponentialMovingAverage"
        if set(state_dict) != set(self.state_dict()):
            raise ValueError(
                f"{name}: expected the entries {sorted(self.state_dict())}, got {sorted(state_dict)}"
            )
        loaded = []
        for what, own in (("parameters", self._averages), ("buffers", self._buffers)):
            saved = state_dict[what]
            if set(saved) != set(own):
                raise ValueError(f"{name}: expected {what} {sorted(own)}, got {sorted(saved)}")
            for key, value in own.items():
                want, got = _shape(value), _shape(saved[key])
                if want != got:
                    raise ValueError(f"{name}: {what} {key!r}: expected shape {want}, got {got}")
            loaded.append({key: _like(value, saved[key]) for key, value in own.items()})
        self._averages, self._buffers = loaded
        self.decay = float(state_dict["decay"])
        self.warmup = bool(state_dict["warmup"])
        self.updates = int(state_dict["updates"])

    def _check_not_swapped(self, what: str) -> None:
        if self._swapped:
            raise RuntimeError(
                f"{what}: expected the model to have its own weights, got a call within average_parameters()"
            )

    def _swap(self) -> None:
        for name, p in self._parameters.items():
            p.data, self._averages[name] = self._averages[name], p.data
        for name, (module, attribute) in self._buffer_slots().items():
            own = getattr(module, attribute)
            object.__setattr__(module, attribute, self._buffers[name])
            self._buffers[name] = own

    def _buffer_slots(self) -> dict[str, tuple[Module, str]]:
        """Where each buffer lives: name -> (Module, attribute)."""
        if self._model is None:
            return {}
        slots = {}
        for path, module in self._model.named_modules():
            for attribute in module._buffers:
                if getattr(module, attribute) is not None:
                    slots[f"{path}.{attribute}" if path else attribute] = (module, attribute)
        return slots

    def _copied_buffers(self) -> dict[str, Any]:
        return {name: _copy(getattr(*slot)) for name, slot in self._buffer_slots().items()}


def _copy(value: Any) -> Any:
    """A copy of an array; numbers as they are."""
    return array_namespace(value).asarray(value, copy=True) if is_array(value) else value


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))


def _like(own: Any, value: Any) -> Any:
    """A copy of ``value`` in the dtype and on the device of ``own``."""
    if is_array(own):
        return device_of(own).asarray(unwrap(value), dtype=own.dtype, copy=True)
    return type(own)(value)
