"""Module: what all layers and models are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from xnn import autodiff
from xnn.backends import DeviceLike, device_of
from xnn.backends import device as find_device
from xnn.backends.namespaces import Array, array_namespace, dtype_name, is_array, unwrap
from xnn.nn.parameter import Parameter
from xnn.tensor import Tensor, tensor

M = TypeVar("M", bound="Module")

__all__ = ["Module"]


class Module:
    """A layer or a model: parameters, buffers and other Modules by name, and a ``forward``.

    Assigning a `Parameter` or a Module to an attribute registers it; `register_buffer` registers an array
    that is part of the state but not trained. Names and layout of `state_dict` are PyTorch's.

    A Module called on Tensors, or in training mode, records what it does. In eval mode, called on plain
    arrays, it returns plain arrays and records nothing.

    >>> class Affine(xnn.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.scale = xnn.nn.Parameter([2.0])
    ...     def forward(self, x):
    ...         return self.scale * x + 1
    >>> Affine().eval()(np.asarray([1.0, 2.0], dtype="float32"))
    array([3., 5.], dtype=float32)
    """

    training: bool
    _parameters: dict[str, bool]
    _buffers: dict[str, bool]
    _modules: dict[str, bool]

    def __init__(self) -> None:
        # Ordered sets of names; the things themselves are ordinary attributes, so reading them costs nothing
        # extra.
        object.__setattr__(self, "_parameters", {})
        object.__setattr__(self, "_buffers", {})
        object.__setattr__(self, "_modules", {})
        object.__setattr__(self, "training", True)

    # --- calling ---

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output. Every Module defines its own."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`; in eval mode on plain arrays without recording."""
        mode = autodiff._mode
        if (
            self.training
            or mode.plain
            or not _only_plain(args)
            or (kwargs and not _only_plain(kwargs.values()))
        ):
            return self.forward(*args, **kwargs)
        mode.plain = True
        try:
            return self.forward(*args, **kwargs)
        finally:
            mode.plain = False

    def vjp(self, x: Array) -> tuple[Array, Callable[[Array], Array]]:
        """Run forward by hand: ``y, backward = model.vjp(x)``, then ``dx = backward(dy)``.

        ``backward`` adds the gradients of the parameters to their ``grad`` and returns the gradient of ``x``.
        """
        x_leaf = Tensor(x.data if isinstance(x, Tensor) else x, requires_grad=True)
        y = self(x_leaf)

        def backward(dy: Array) -> Array:
            x_leaf.grad = None
            y.backward(dy, retain_graph=True)
            return x_leaf.grad

        return y.data, backward

    # --- registration ---

    def __setattr__(self, name: str, value: Any) -> None:
        registries = self.__dict__.get("_modules")
        if registries is None:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
        if isinstance(value, Parameter):
            self._forget(name, keep=self._parameters)
            self._parameters[name] = True
        elif isinstance(value, Module):
            self._forget(name, keep=self._modules)
            self._modules[name] = True
        elif name in self._parameters and value is not None:
            raise TypeError(
                f"{type(self).__name__}.{name} is a parameter: expected a Parameter or None, "
                f"got {type(value).__name__}"
            )
        elif name in self._modules and value is not None:
            raise TypeError(
                f"{type(self).__name__}.{name} is a Module: expected a Module or None, "
                f"got {type(value).__name__}"
            )
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._forget(name)
        object.__delattr__(self, name)

    def _forget(self, name: str, keep: dict[str, bool] | None = None) -> None:
        """Take ``name`` off the registries. One that is assigned anew keeps its place in ``keep``."""
        for registry in (self._parameters, self._buffers, self._modules):
            if registry is not keep:
                registry.pop(name, None)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Register a parameter by name; None reserves the name for one that is left out (``bias=False``)."""
        self._check_name(name)
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(
                f"register_parameter: expected a Parameter or None, got {type(parameter).__name__}"
            )
        self._parameters[name] = True
        object.__setattr__(self, name, parameter)

    def register_buffer(self, name: str, value: Array | int | None, persistent: bool = True) -> None:
        """Register a plain array (or an integer, kept on the host) that belongs to the state but is not trained.

        A buffer that is not ``persistent`` moves with the Module but is left out of `state_dict`.
        """
        self._check_name(name)
        self._buffers[name] = persistent
        object.__setattr__(self, name, value)

    def register_module(self, name: str, module: Module | None) -> None:
        """Register a Module under a name that may not be an identifier (``"0"``)."""
        self._check_name(name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(
                f"{type(self).__name__}: expected a Module as {name!r}, got {type(module).__name__}"
            )
        self._modules[name] = True
        object.__setattr__(self, name, module)

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"{type(self).__name__}: expected a name without dots, got {name!r}")
        if hasattr(self, name) and name not in self._parameters | self._buffers | self._modules:
            raise KeyError(f"{type(self).__name__}: the attribute {name!r} exists already")

    # --- looking through ---

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The Modules directly inside this one, by name."""
        for name in self._modules:
            module = getattr(self, name)
            if module is not None:
                yield name, module

    def children(self) -> Iterator[Module]:
        """The Modules directly inside this one."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "", _seen: set[int] | None = None) -> Iterator[tuple[str, Module]]:
        """This Module and all inside it, each once, by its path (``"encoder.0"``; ``""`` for this one)."""
        seen = set() if _seen is None else _seen
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """This Module and all inside it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every parameter by its path, each once, however often it is shared."""
        seen: set[int] = set()
        for path, module in self.named_modules(prefix):
            for name in module._parameters:
                parameter = getattr(module, name)
                if parameter is not None and id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield (f"{path}.{name}" if path else name), parameter

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter, each once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Every buffer by its path."""
        for path, module in self.named_modules(prefix):
            for name in module._buffers:
                value = getattr(module, name)
                if value is not None:
                    yield (f"{path}.{name}" if path else name), value

    def buffers(self) -> Iterator[Any]:
        """Every buffer."""
        return (value for _, value in self.named_buffers())

    def get_submodule(self, path: str) -> Module:
        """The Module at a path such as ``"encoder.0"``."""
        module: Module = self
        for name in path.split(".") if path else []:
            if name not in module._modules:
                raise AttributeError(f"{type(module).__name__} has no Module {name!r} (looking for {path!r})")
            module = getattr(module, name)
        return module

    # --- switching ---

    def train(self: M, mode: bool = True) -> M:
        """Switch this Module and all inside it to training mode (or, with False, to eval mode)."""
        for module in self.modules():
            object.__setattr__(module, "training", mode)
        return self

    def eval(self: M) -> M:
        """Switch this Module and all inside it to eval mode."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Freeze (False) or unfreeze all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def apply(self: M, function: Callable[[Module], object]) -> M:
        """Call ``function`` on every Module inside this one, then on itself."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def to(self: M, device: DeviceLike = None, dtype: Any = None) -> M:
        """Move parameters, their gradients and buffers to a device, floating-point ones to a dtype as well.

        The Parameters stay the same objects, so an optimizer that holds them need not be told.
        """
        place = None if device is None else find_device(device)
        if dtype is not None and "float" not in (dtype if isinstance(dtype, str) else dtype_name(dtype)):
            raise TypeError(f"{type(self).__name__}.to: expected a real floating-point dtype, got {dtype!r}")
        for parameter in self.parameters():
            parameter.data = _moved(parameter.data, place, dtype)
            if parameter.grad is not None:
                parameter.grad = _moved(parameter.grad, place, dtype)
        for module in self.modules():
            for name in module._buffers:
                value = getattr(module, name)
                if is_array(value):
                    object.__setattr__(module, name, _moved(value, place, dtype))
        return self

    # --- state ---

    def state_dict(self, prefix: str = "") -> dict[str, Array]:
        """All parameters and persistent buffers by path, as plain arrays that share the Module's memory."""
        state: dict[str, Array] = {}
        for name in self._parameters:
            if getattr(self, name) is not None:
                state[prefix + name] = getattr(self, name).data
        for name, persistent in self._buffers.items():
            value = getattr(self, name)
            if persistent and value is not None:
                state[prefix + name] = value if is_array(value) else tensor(value, dtype="int64").data
        for name, child in self.named_children():
            state.update(child.state_dict(f"{prefix}{name}."))
        return state

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Copy a state into this Module: all of it or, if anything is wrong, nothing.

        Args:
            state: arrays of any namespace or device (a PyTorch state dict as well), by the names of
                `state_dict`.
            strict: also raise if entries are missing here or there; otherwise load those that both have.

        Raises:
            ValueError: names every entry that is missing, unknown, or of another shape (with both shapes).
        """
        own = self._slots()
        problems = []
        if strict:
            problems += [
                f"missing {name!r} of shape {_shape(module, last)}"
                for name, (module, last) in own.items()
                if name not in state
            ]
            problems += [f"unknown {name!r}" for name in state if name not in own]
        for name, (module, last) in own.items():
            if name in state and tuple(getattr(state[name], "shape", ())) != _shape(module, last):
                problems.append(
                    f"{name!r}: expected shape {_shape(module, last)}, "
                    f"got {tuple(getattr(state[name], 'shape', ()))}"
                )
        if problems:
            raise ValueError(f"load_state_dict of {type(self).__name__}: " + "; ".join(problems))
        # All conversions before the first assignment: one that fails must leave everything as it was.
        loaded = [
            (module, last, _converted(module, last, state[name]))
            for name, (module, last) in own.items()
            if name in state
        ]
        for module, last, value in loaded:
            old = getattr(module, last)
            if isinstance(old, Parameter):
                old.data = value
            else:
                object.__setattr__(module, last, value)

    def _slots(self, prefix: str = "") -> dict[str, tuple[Module, str]]:
        """Where each entry of the state dict lives: path -> (Module, attribute)."""
        slots = {}
        for name in (*self._parameters, *(n for n, persistent in self._buffers.items() if persistent)):
            if getattr(self, name) is not None:
                slots[prefix + name] = (self, name)
        for name, child in self.named_children():
            slots.update(child._slots(f"{prefix}{name}."))
        return slots

    # --- showing ---

    def extra_repr(self) -> str:
        """What to show between the parentheses of the repr."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        extra = self.extra_repr()
        if not children:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}({extra}\n  " + "\n  ".join(children) + "\n)"


def _only_plain(values: Any) -> bool:
    """Whether there are arrays among the values and none of them is a Tensor."""
    found = False
    for value in values:
        if isinstance(value, Tensor):
            return False
        found = found or is_array(value)
    return found


def _moved(array: Array, place: Any, dtype: Any) -> Array:
    floating = array_namespace(array).isdtype(array.dtype, ("real floating", "complex floating"))
    target = device_of(array) if place is None else place
    return target.asarray(array, dtype=dtype if dtype is not None and floating else array.dtype)


def _shape(module: Module, name: str) -> tuple[int, ...]:
    return tuple(getattr(getattr(module, name), "shape", ()))


def _converted(module: Module, name: str, value: Any) -> Any:
    """A copy of ``value`` on the device and in the dtype of what the Module has under ``name``."""
    old = getattr(module, name)
    if not is_array(old):
        return int(value)
    plain = unwrap(old)
    return device_of(plain).asarray(value, dtype=plain.dtype, copy=True)
