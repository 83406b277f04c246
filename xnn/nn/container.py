"""Modules that hold Modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xnn.nn.module import Module


class Sequential(Module):
    """Modules one after the other: each gets what the one before it returned.

    Args:
        modules: the Modules in order, or one dict of names and Modules. Without names they are called "0",
            "1", ...

    >>> model = xnn.nn.Sequential(xnn.nn.Linear(4, 3), xnn.nn.ReLU())
    >>> [name for name, _ in model.named_parameters()]
    ['0.weight', '0.bias']
    """

    def __init__(self, *modules: Module | dict[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], dict):
            named = modules[0]
        else:
            named = {str(i): module for i, module in enumerate(modules)}  # type: ignore[misc]
        for name, module in named.items():
            self.register_module(name, module)

    def forward(self, x: Any) -> Any:
        """Run all Modules in order."""
        for name in self._modules:
            x = getattr(self, name)(x)
        return x

    def append(self, module: Module) -> Sequential:
        """Add a Module at the end, and return this Sequential."""
        self.register_module(str(len(self)), module)
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential({name: getattr(self, name) for name in list(self._modules)[index]})
        return getattr(self, list(self._modules)[index])
