"""Tensor: an array and the way back through what made it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from xnn.backends import Device, DeviceLike, device_of, to_host
from xnn.backends import device as find_device
from xnn.backends.namespaces import (
    Array,
    Namespace,
    array_namespace,
    check_same_device,
    dtype_name,
    has_dtype,
    is_array,
    unwrap,
)

if TYPE_CHECKING:
    from xnn.autodiff import Node

__all__ = ["Tensor", "tensor"]


class Tensor:
    """An array that remembers how it was made, so that gradients can flow back through it.

    Attributes:
        data: the plain array (NumPy, CuPy, ...), shared and not copied.
        grad: the gradient, a plain array of the same shape, dtype and device, or None before the first backward pass.
            Backward passes add to it; `xnn.optim.Optimizer.zero_grad` or ``grad = None`` starts afresh.
        requires_grad: whether backward passes compute it.

    Operators and the functions of xnn work on Tensors as the Array API standard says they work on arrays.
    """

    __slots__ = ("__weakref__", "_node", "data", "grad", "requires_grad")
    __hash__ = object.__hash__
    # NumPy and CuPy arrays leave `array + tensor` to Tensor.__radd__, instead of looping over the elements.
    __array_ufunc__ = None
    __array_priority__ = 1000

    data: Any
    grad: Any
    requires_grad: bool
    _node: Node | None

    def __init__(self, data: Array, requires_grad: bool = False, _node: Node | None = None) -> None:
        self.data = data
        self.grad = None
        self.requires_grad = requires_grad
        self._node = _node

    # --- what it is ---

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the dimensions."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.data.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        count = 1
        for n in self.data.shape:
            count *= n
        return count

    @property
    def dtype(self) -> Any:
        """The dtype, as the array's own namespace names it."""
        return self.data.dtype

    @property
    def device(self) -> Any:
        """Where the array lives: an `xnn.Device`."""
        return device_of(self.data)

    @property
    def is_leaf(self) -> bool:
        """Whether no operation made this Tensor: only leaves receive a `grad`."""
        return self._node is None

    def __array_namespace__(self, api_version: str | None = None) -> Namespace:
        return _api

    def __repr__(self) -> str:
        note = ", requires_grad=True" if self.requires_grad else ""
        made_by = "" if self.is_leaf else f", made by {self._node.op}"  # type: ignore[union-attr]
        return f"tensor({self.data!r}{note}{made_by})"

    def __len__(self) -> int:
        if not self.data.shape:
            raise TypeError("len() of a Tensor without dimensions")
        return self.data.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.data)

    def __int__(self) -> int:
        return int(self.data)

    def __float__(self) -> float:
        return float(self.data)

    def __format__(self, spec: str) -> str:
        """``f"{loss:.4f}"`` formats a single element as the number that it is."""
        return format(self.item(), spec) if spec else str(self)

    if not TYPE_CHECKING:  # to a type checker, what is missing is missing

        def __getattr__(self, name: str) -> Any:
            from xnn import functional

            hint = ""
            if name in _api.__all__:
                hint = f"; use xnn.{name}(tensor)"
            elif name in functional.__all__:
                hint = f"; use xnn.functional.{name}(tensor)"
            raise AttributeError(f"'Tensor' object has no attribute {name!r}{hint}", name=name, obj=self)

    def __complex__(self) -> complex:
        return complex(self.data)

    def __index__(self) -> int:
        return self.data.__index__()

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.data, self.requires_grad, self.grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError(
                "deepcopy: only a leaf can be copied; use .detach() to copy a result of operations"
            )
        copies = [
            None if a is None else array_namespace(a).asarray(a, copy=True) for a in (self.data, self.grad)
        ]
        return _rebuild(type(self), copies[0], self.requires_grad, copies[1])

    # --- gradients ---

    def backward(
        self,
        gradient: Array | Tensor | None = None,
        *,
        retain_graph: bool = False,
        create_graph: bool = False,
    ) -> None:
        """Compute the gradient of this Tensor with respect to every leaf it was made of, adding to each leaf's `grad`.

        Args:
            gradient: the gradient of some scalar with respect to this Tensor, of its shape; 1 by default, which is
                only allowed if this Tensor has a single element (a loss).
            retain_graph: keep the graph for another pass. Otherwise it is freed, and its memory with it.
            create_graph: record the backward pass too; `grad` is then a Tensor that can be differentiated again. The
                graph is kept. What the operations were given must not have been changed in place since.

        Raises:
            RuntimeError: nothing here requires a gradient, the graph was freed, or ``gradient`` is missing.
            ValueError: ``gradient`` has another shape or is on another device.
            TypeError: ``gradient`` is of another library.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward: this Tensor does not depend on anything with requires_grad=True "
                "(was it made inside no_grad(), or by a layer in eval mode from a plain array?)"
            )
        if gradient is None:
            if self.size != 1:
                raise RuntimeError(
                    f"backward: expected a Tensor with one element, got shape {tuple(self.shape)}; "
                    "reduce it (sum, mean) or pass its gradient"
                )
            gradient = array_namespace(self.data).ones_like(self.data)
        elif isinstance(gradient, Tensor):
            gradient = gradient if create_graph else gradient.data
        elif not is_array(gradient):
            gradient = device_of(self.data).asarray(gradient, dtype=self.dtype)
        check_same_device("backward", (self.data, unwrap(gradient)))
        if gradient.shape != self.shape:
            raise ValueError(
                f"backward: expected a gradient of shape {tuple(self.shape)}, got {tuple(gradient.shape)}"
            )
        if gradient.dtype != self.dtype:
            gradient = array_namespace(gradient).astype(gradient, self.dtype)
        if not create_graph:
            _autodiff.backward([self], [gradient], retain_graph=retain_graph)
            return
        with _autodiff.enable_grad():
            gradient = gradient if isinstance(gradient, Tensor) else Tensor(gradient)
            _autodiff.backward([self], [gradient], create_graph=True)

    def detach(self) -> Tensor:
        """The same array as a Tensor without a past: no gradient flows through it."""
        return Tensor(self.data)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` of a leaf and return it."""
        if not self.is_leaf:
            raise RuntimeError(
                "requires_grad_: only a leaf can be switched; use detach() to cut off its past"
            )
        if requires_grad:
            check_differentiable(self.data)
        self.requires_grad = requires_grad
        return self

    # --- leaving xnn, changing place or dtype ---

    def numpy(self) -> Any:
        """A NumPy array of the values: the same memory on the CPU, a copy from elsewhere.

        Raises RuntimeError on a Tensor that requires a gradient, since none would flow through the result.
        """
        if self.requires_grad:
            raise RuntimeError(
                "numpy: this Tensor requires a gradient, which NumPy cannot carry; use .detach().numpy()"
            )
        return to_host(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        host = self.numpy()
        if dtype is not None and host.dtype != dtype:
            return host.astype(dtype)
        return host.copy() if copy else host

    def item(self) -> Any:
        """The only element as a Python number. On a GPU this waits for the device."""
        if self.size != 1:
            raise ValueError(f"item: expected a Tensor with one element, got shape {tuple(self.shape)}")
        return to_host(self.data).item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return to_host(self.data).tolist()

    def to(self, device: DeviceLike = None, dtype: Any = None) -> Tensor:
        """This Tensor on another device or in another dtype; itself if nothing changes. Gradients flow back through it.

        ``device`` is anything that `xnn.device` takes, ``dtype`` a dtype or its name.
        """
        result = self
        if dtype is not None and dtype_name(dtype) != dtype_name(self.dtype):
            result = _api.astype(result, dtype)
        if device is not None and find_device(device) != result.device:
            result = _api.to_device(result, device)
        return result

    def __dlpack__(self, **options: Any) -> Any:
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    # --- operators: the functions of xnn.array_api ---

    def __add__(self, other: Any) -> Tensor:
        return _api.add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _api.add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return _api.subtract(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _api.subtract(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _api.multiply(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return _api.multiply(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return _api.divide(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _api.divide(other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return _api.floor_divide(self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return _api.floor_divide(other, self)

    def __mod__(self, other: Any) -> Tensor:
        return _api.remainder(self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return _api.remainder(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return _api.pow(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return _api.pow(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return _api.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return _api.matmul(other, self)

    def __neg__(self) -> Tensor:
        return _api.negative(self)

    def __pos__(self) -> Tensor:
        return _api.positive(self)

    def __abs__(self) -> Tensor:
        return _api.abs(self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return _api.equal(self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return _api.not_equal(self, other)

    def __lt__(self, other: Any) -> Tensor:
        return _api.less(self, other)

    def __le__(self, other: Any) -> Tensor:
        return _api.less_equal(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return _api.greater(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return _api.greater_equal(self, other)

    def __and__(self, other: Any) -> Tensor:
        return _api.bitwise_and(self, other)

    def __rand__(self, other: Any) -> Tensor:
        return _api.bitwise_and(other, self)

    def __or__(self, other: Any) -> Tensor:
        return _api.bitwise_or(self, other)

    def __ror__(self, other: Any) -> Tensor:
        return _api.bitwise_or(other, self)

    def __xor__(self, other: Any) -> Tensor:
        return _api.bitwise_xor(self, other)

    def __rxor__(self, other: Any) -> Tensor:
        return _api.bitwise_xor(other, self)

    def __lshift__(self, other: Any) -> Tensor:
        return _api.bitwise_left_shift(self, other)

    def __rlshift__(self, other: Any) -> Tensor:
        return _api.bitwise_left_shift(other, self)

    def __rshift__(self, other: Any) -> Tensor:
        return _api.bitwise_right_shift(self, other)

    def __rrshift__(self, other: Any) -> Tensor:
        return _api.bitwise_right_shift(other, self)

    def __invert__(self) -> Tensor:
        return _api.bitwise_invert(self)

    def __getitem__(self, key: Any) -> Tensor:
        return _api.getitem(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            "a Tensor cannot be changed in place, since gradients could not flow through that; "
            "use xnn.where, or change tensor.data where no gradient is needed"
        )

    # --- methods that the standard and PyTorch users expect ---

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix."""
        if self.ndim != 2:
            raise ValueError(
                f"T: expected 2 dimensions, got shape {tuple(self.shape)}; use .mT or permute_dims"
            )
        return _api.matrix_transpose(self)

    @property
    def mT(self) -> Tensor:
        """The transpose of the last two dimensions."""
        return _api.matrix_transpose(self)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """This Tensor on another device; the standard's method. See `to`."""
        return _api.to_device(self, device)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; one length may be -1."""
        return _api.reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def sum(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """The sum over ``axis``; see `xnn.sum`."""
        return _api.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """The mean over ``axis``; see `xnn.mean`."""
        return _api.mean(self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """The maximum over ``axis``; see `xnn.max`."""
        return _api.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """The minimum over ``axis``; see `xnn.min`."""
        return _api.min(self, axis=axis, keepdims=keepdims)


def _rebuild(cls: type[Tensor], data: Array, requires_grad: bool, grad: Array) -> Tensor:
    result = cls.__new__(cls)
    Tensor.__init__(result, data, requires_grad)
    result.grad = grad
    return result


def check_differentiable(data: Array) -> None:
    """Raise TypeError unless ``data`` has a real floating-point dtype."""
    if not has_dtype(data, "real floating"):
        raise TypeError(
            f"requires_grad: expected a real floating-point dtype, got {dtype_name(data.dtype)}; "
            "convert first, for example with dtype='float32'"
        )


def tensor(data: Any, *, dtype: Any = None, device: DeviceLike = None, requires_grad: bool = False) -> Tensor:
    """A Tensor with a copy of ``data``.

    Args:
        data: an array of any namespace, a Tensor, a number, or nested sequences of numbers.
        dtype: a dtype or its name. By default that of an array is kept, Python floats become float32 and Python
            integers int64, as in PyTorch.
        device: anything that `xnn.device` takes. By default an array stays where it is and numbers go to the CPU.
        requires_grad: whether backward passes shall compute its gradient.

    >>> xnn.tensor([1.0, 2.0], requires_grad=True)
    tensor(array([1., 2.], dtype=float32), requires_grad=True)
    """
    if isinstance(data, Tensor):
        data = data.data
    place: Device | None = None if device is None else find_device(device)
    if not is_array(data):
        host = find_device("cpu").asarray(data)
        if not (has_dtype(host, "numeric") or has_dtype(host, "bool")):
            raise TypeError(
                f"tensor: expected numbers, nested sequences of them or an array, got {data!r:.80}"
            )
        if dtype is None and dtype_name(host.dtype) == "float64":
            dtype = "float32"
        data = host
    elif place is None:
        place = device_of(data)
    result = (place or find_device("cpu")).asarray(data, dtype=dtype, copy=True)
    if requires_grad:
        check_differentiable(result)
    return Tensor(result, requires_grad)


# At the end, because both need the Tensor of above.
from xnn import array_api as _api  # noqa: E402
from xnn import autodiff as _autodiff  # noqa: E402
