"""Rule: how a step changes parameters, written for one array and replaceable for many."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from xnn.backends.namespaces import Array

__all__ = ["Rule", "rule"]

State = dict[str, Any]
"""What an optimizer remembers of one parameter: arrays of the parameter's shape, and numbers such as ``step``."""


class Rule:
    """An update of one parameter, and the kernels that do it for all parameters of a group at once.

    The function that a Rule is made of has the form

        def update(param, grad, state, *, lr, ...): ...

    with a parameter's array, its gradient, its `State` and the options of its group. It writes the new values
    into ``param`` and into the arrays of ``state``, which belong to the optimizer, and leaves ``grad`` as it
    is.

    ``kernels`` maps an array type to a function ``kernel(params, grads, states, **options)`` that does the
    same for lists. All arrays of one call have one type, dtype and device, all states have the same entries
    and, where they count steps, the same count, so that everything that depends on the count is one number.
    """

    def __init__(self, update: Callable[..., None]) -> None:
        functools.update_wrapper(self, update)
        self.name = update.__name__
        self.update = update
        self.kernels: dict[type, Callable[..., None]] = {}

    def __repr__(self) -> str:
        return self.name

    def __call__(self, param: Array, grad: Array, state: State, **options: Any) -> None:
        """Update one parameter."""
        self.update(param, grad, state, **options)

    def update_group(
        self,
        params: Sequence[Array],
        grads: Sequence[Array],
        states: Sequence[State],
        options: dict[str, Any],
    ) -> None:
        """Update all parameters of a group: by a kernel where there is one for their type, else one after another."""
        if self.kernels:
            for like, members in _alike(params, states).items():
                kernel: Callable[..., None] = self.kernels.get(like[0], self._one_by_one)
                kernel(*[[xs[i] for i in members] for xs in (params, grads, states)], **options)
        else:
            self._one_by_one(params, grads, states, **options)

    def _one_by_one(
        self, params: Sequence[Array], grads: Sequence[Array], states: Sequence[State], **options: Any
    ) -> None:
        update = self.update
        for param, grad, state in zip(params, grads, states, strict=True):
            update(param, grad, state, **options)


def rule(update: Callable[..., None]) -> Rule:
    """Make a `Rule` of the update of one parameter.

    >>> @xnn.optim.rule
    ... def sign_descent(param, grad, state, *, lr):
    ...     param -= lr * xnn.array_namespace(grad).sign(grad)
    >>> sign_descent
    sign_descent
    """
    return Rule(update)


def _alike(params: Sequence[Array], states: Sequence[State]) -> dict[tuple[Any, ...], list[int]]:
    """Which of the parameters can be updated together."""
    members: dict[tuple[Any, ...], list[int]] = {}
    device: Any = None
    for i, (x, state) in enumerate(zip(params, states, strict=True)):
        if x.device != device:  # most are on one, and to write its name takes long
            device = x.device
            place = str(device)
        key = (type(x), x.dtype, place, state.get("step"), tuple(state))
        members.setdefault(key, []).append(i)
    return members
