"""Parameter: a Tensor that a Module trains."""

from __future__ import annotations

from xnn.backends.namespaces import Array, is_array
from xnn.tensor import Tensor, check_differentiable, tensor


class Parameter(Tensor):
    """A Tensor that becomes a parameter of the Module it is assigned to.

    Args:
        data: the first values: a plain array (shared), a Tensor, or nested sequences of numbers.
        requires_grad: False freezes it.
    """

    __slots__ = ()

    def __init__(self, data: Array | Tensor, requires_grad: bool = True) -> None:
        if isinstance(data, Tensor):
            data = data.data
        elif not is_array(data):
            data = tensor(data).data
        if requires_grad:
            check_differentiable(data)
        super().__init__(data, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter({self.data!r})"
