"""Optimizer: the parameters to train, what is remembered of each, and one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from xnn.autodiff import enable_grad
from xnn.backends import device_of
from xnn.backends.namespaces import Array, array_namespace, dtype_name, is_array, unwrap
from xnn.optim._limits import Limits, checked
from xnn.optim.rule import Rule, State
from xnn.tensor import Tensor, check_differentiable

__all__ = ["Optimizer"]

# What groups hold besides an optimizer's own options: names, and what schedules keep there.
_EXTRAS = {"params", "param_names", "name", "initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum"}
# Entries of PyTorch's groups that choose an implementation and have no meaning here.
_TORCH_SWITCHES = {"foreach", "capturable", "differentiable", "fused"}


class Optimizer:
    """What all optimizers are made of.

    Args:
        params: Tensors (a list, ``model.parameters()``), pairs ``(name, Tensor)``
            (``model.named_parameters()``), or groups: dictionaries with the entry ``"params"`` and any of the
            options, which hold for that group only.
        defaults: the options of groups that do not set them.

    Attributes:
        param_groups: the groups: ``{"params": [...], "lr": ..., ...}``. Options may be changed between steps.
        state: what is remembered of each parameter that has been updated, by parameter.

    A step writes into the arrays of the parameters (``p.data``) and into its own state, never into a
    gradient. So a graph that was kept with ``retain_graph=True`` and still needs the old weights must be used
    before the step; and a ``model.state_dict()``, which shares the arrays, must be copied to keep the weights
    of a moment.

    A subclass has a `rule`, the range of its numbers in `limits`, and `new_state`:

    >>> @xnn.optim.rule
    ... def sign_descent(param, grad, state, *, lr):
    ...     param -= lr * xnn.array_namespace(grad).sign(grad)
    >>> class SignDescent(xnn.optim.Optimizer):
    ...     rule = sign_descent
    ...     limits = {"lr": xnn.optim.NON_NEGATIVE}
    ...     def __init__(self, params, lr=0.01):
    ...         super().__init__(params, {"lr": lr})
    >>> w = xnn.nn.Parameter([3.0, -3.0])
    >>> xnn.sum(w * w).backward()
    >>> SignDescent([w], lr=1.0).step()
    >>> w
    Parameter(array([ 2., -2.], dtype=float32))

    Raises:
        TypeError: something in ``params`` is not a Tensor, or its dtype is not real floating-point.
        ValueError: there are no parameters, one comes twice or is the result of an operation, some have names
            and some have not, or an option is unknown or out of its range. (PyTorch only warns of a parameter
            that comes twice in one group, and takes any option.)
    """

    rule: ClassVar[Rule]
    limits: ClassVar[Mapping[str, Limits]] = {}
    # Entries of the state that may be there or not, since their option may be switched on and off between steps.
    optional_state: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: dict[Tensor, State] = {}
        self.param_groups: list[dict[str, Any]] = []
        if isinstance(params, Tensor) or is_array(params):
            raise TypeError(
                f"{self._name}: expected a list of Tensors or of groups, got one {type(params).__name__}"
            )
        if not hasattr(params, "__iter__"):
            hint = "; pass its parameters()" if hasattr(params, "parameters") else ""
            raise TypeError(
                f"{self._name}: expected a list of Tensors or of groups, got {type(params).__name__}{hint}"
            )
        entries = list(params)
        if not entries:
            raise ValueError(f"{self._name}: expected at least one parameter, got an empty list")
        for group in entries if isinstance(entries[0], dict) else [{"params": entries}]:
            self.add_param_group(group)
        if not any(group["params"] for group in self.param_groups):
            raise ValueError(f"{self._name}: expected at least one parameter, got groups that are all empty")

    @property
    def _name(self) -> str:
        return type(self).__name__

    # --- groups ---

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take one more group of parameters (thawed layers, say), ``{"params": [...], "lr": ...}``."""
        name = self._name
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(
                f"{name}: expected a group to be a dict with the entry 'params', got {param_group!r}"
            )
        given = param_group["params"]
        if isinstance(given, (set, frozenset)):
            raise TypeError(f"{name}: expected parameters in an order, got a set")
        entries = [given] if isinstance(given, Tensor) else list(given)
        named = [isinstance(entry, tuple) for entry in entries]
        if named and any(named) != all(named):
            raise ValueError(
                f"{name}: expected names for all parameters or for none, got some with and some without"
            )
        params = [entry[1] if isinstance(entry, tuple) else entry for entry in entries]
        self._check_parameters(params)

        group = {**self.defaults, **param_group, "params": params}
        if entries and all(named):
            group["param_names"] = [entry[0] for entry in entries]
        before = [g for g in self.param_groups if g["params"]]
        if before and params and ("param_names" in before[0]) != ("param_names" in group):
            raise ValueError(
                f"{name}: expected names in all groups or in none, got some with and some without"
            )
        self._check_options(group)
        self.param_groups.append(group)

    def _check_parameters(self, params: list[Any]) -> None:
        seen = {id(p) for group in self.param_groups for p in group["params"]}
        for i, p in enumerate(params):
            where = f"{self._name}: parameter {i} of group {len(self.param_groups)}"
            if not isinstance(p, Tensor):
                raise TypeError(f"{where}: expected a Tensor, got {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(
                    f"{where}: expected a leaf, got the result of an operation, shape {tuple(p.shape)}"
                )
            if id(p) in seen:
                raise ValueError(
                    f"{where}, shape {tuple(p.shape)}, is in this optimizer already: expected it once"
                )
            seen.add(id(p))
            check_differentiable(p.data)

    def _check_options(self, group: dict[str, Any]) -> None:
        """Raise ValueError if an option is unknown or has a value that it cannot have; make numbers Python floats."""
        unknown = set(group) - set(self.defaults) - _EXTRAS
        if unknown:
            raise ValueError(
                f"{self._name}: expected options among {', '.join(self.defaults)}, got {', '.join(sorted(unknown))}"
            )
        for option, limits in self.limits.items():
            group[option] = checked(self._name, option, group[option], limits)
        self.check_group(group)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise ValueError if the options of ``group``, each in its range, do not go together."""

    # --- the step ---

    def new_state(self, param: Array, group: dict[str, Any]) -> State:
        """What is remembered of a parameter before its first step."""
        return {}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; those whose ``grad`` is None stay as they are.

        Args:
            closure: computes the loss and the gradients anew; called first, and its result returned.

        Raises:
            ValueError: a gradient has not the shape of its parameter, or the parameter's array is read-only.
            TypeError: a gradient has not the dtype of its parameter.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            params, grads, states = [], [], []
            for p in group["params"]:
                grad = p.grad
                if grad is None:
                    continue
                if isinstance(grad, Tensor):  # of a backward pass with create_graph
                    grad = grad.data
                param = p.data
                self._check_update(param, grad)
                state = self.state.get(p)
                if state is None:
                    state = self.state[p] = self.new_state(param, group)
                else:
                    _follow(state, param)
                params.append(param)
                grads.append(grad)
                states.append(state)
            if params:
                for state in states:
                    if "step" in state:
                        state["step"] += 1
                self.rule.update_group(params, grads, states, {name: group[name] for name in self.defaults})
        return loss

    def _check_update(self, param: Array, grad: Array) -> None:
        if grad.shape != param.shape:
            raise ValueError(
                f"{self._name}: expected a gradient of shape {tuple(param.shape)}, as the parameter has, "
                f"got {tuple(grad.shape)}"
            )
        if grad.dtype != param.dtype:
            raise TypeError(
                f"{self._name}: expected a gradient of dtype {dtype_name(param.dtype)}, as the parameter has, "
                f"got {dtype_name(grad.dtype)}"
            )
        # Only NumPy's arrays can be read-only, and only they say so here.
        if not getattr(getattr(param, "flags", None), "writeable", True):
            raise ValueError(
                f"{self._name}: expected a parameter whose array can be changed in place, got a read-only one of shape "
                f"{tuple(param.shape)}; give the parameter a copy (p.data = p.data.copy())"
            )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients; with ``set_to_none=False``, replace those that are there by zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                else:
                    p.grad = array_namespace(p.data).zeros_like(p.data)

    # --- saving and loading ---

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on exactly: ``{"state": {index: {...}}, "param_groups": [...]}``, as in PyTorch.

        Parameters are named by their number, counted through the groups. Arrays are shared with the optimizer
        and change with its next step; everything else is numbers, strings and lists.
        """
        index: dict[Tensor, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                index[p] = len(index)
            packed = {k: list(v) if isinstance(v, tuple) else v for k, v in group.items() if k != "params"}
            groups.append({**packed, "params": [index[p] for p in group["params"]]})
        return {"state": {index[p]: dict(state) for p, state in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state: all of it or, if anything is wrong, nothing.

        Arrays are copied to each parameter's device and dtype, from any namespace; the state of a PyTorch
        optimizer of the same name fits as well.

        Raises:
            ValueError: the groups differ in number or size, an array differs in shape, entries are unknown or
                missing (of another optimizer, perhaps), or an option is out of its range. The message names
                what was expected.
        """
        name = f"load_state_dict of {self._name}"
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            got = (
                sorted(map(str, state_dict)) if isinstance(state_dict, Mapping) else type(state_dict).__name__
            )
            raise ValueError(
                f"{name}: expected a dict with the entries 'state' and 'param_groups', got {got}"
            )
        saved_groups = state_dict["param_groups"]
        own_sizes, sizes = (
            [len(g["params"]) for g in groups] for groups in (self.param_groups, saved_groups)
        )
        if own_sizes != sizes:
            raise ValueError(f"{name}: expected groups of {own_sizes} parameters, got groups of {sizes}")

        groups: list[dict[str, Any]] = []
        owner: dict[int, tuple[Tensor, dict[str, Any]]] = {}
        for group, saved in zip(self.param_groups, saved_groups, strict=True):
            options = {
                k: tuple(v) if isinstance(v, list) and isinstance(group.get(k), tuple) else v
                for k, v in saved.items()
                if k not in _TORCH_SWITCHES
            }
            merged = {**group, **options, "params": group["params"]}
            self._check_options(merged)
            groups.append(merged)
            owner.update((int(i), (p, merged)) for i, p in zip(saved["params"], group["params"], strict=True))

        state: dict[Tensor, State] = {}
        for key, entries in state_dict["state"].items():
            if int(key) not in owner:
                raise ValueError(f"{name}: state of parameter {key}: expected one of {sorted(owner)}")
            p, group = owner[int(key)]
            state[p] = self._loaded(f"{name}: parameter {key}", p.data, group, entries)

        for group, merged in zip(self.param_groups, groups, strict=True):
            group.clear()  # the same dict, since schedules and others may hold it
            group.update(merged)
        self.state = state

    def _loaded(self, where: str, param: Array, group: dict[str, Any], entries: Mapping[str, Any]) -> State:
        """The saved state of one parameter, checked and copied to where the parameter is."""
        nothing = array_namespace(param).zeros((0,), dtype=param.dtype, device=param.device)
        required = self.new_state(nothing, group)
        entries = {k: v for k, v in entries.items() if v is not None}
        # PyTorch counts steps where nothing here depends on the count.
        given = set(entries) - ({"step"} - set(required) - self.optional_state)
        needed = set(required) - self.optional_state
        if not needed <= given <= needed | self.optional_state:
            raise ValueError(
                f"{where}: expected the entries {sorted(needed)}"
                + (f" and perhaps {sorted(self.optional_state)}" if self.optional_state else "")
                + f", got {sorted(entries)}"
            )
        place = device_of(param)
        state: State = {}
        for key in sorted(given, key=list(entries).index):
            value = unwrap(entries[key])
            if key in required and not is_array(required[key]):
                state[key] = type(required[key])(value)
                continue
            shape = tuple(getattr(value, "shape", ()))
            if shape != tuple(param.shape):
                raise ValueError(f"{where}: {key}: expected shape {tuple(param.shape)}, got {shape}")
            state[key] = place.asarray(value, dtype=param.dtype, copy=True)
        return state

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            lines += [f"Parameter Group {i}", f"    parameters: {len(group['params'])}"]
            lines += [f"    {k}: {group[k]}" for k in sorted(set(group) - {"params", "param_names"})]
        return f"{self._name} (\n" + "\n".join(lines) + "\n)"


def _follow(state: State, param: Array) -> None:
    """Move the arrays of ``state`` to the device and dtype of ``param``, if that was moved (`Module.to`)."""
    for key, value in state.items():
        if is_array(value) and (
            type(value) is not type(param) or value.dtype != param.dtype or value.device != param.device
        ):
            state[key] = device_of(param).asarray(value, dtype=param.dtype)
