"""The tape: how a result remembers the way back to what made it.

An operation is a function of plain arrays that returns its result and the function that carries a gradient back:

    @op
    def square(x):
        y = x * x

        def backward(dy):
            return 2 * x * dy

        return y, backward

Called on plain arrays, ``square(x)`` is just ``y``. Called on Tensors it returns a Tensor that holds ``y`` and a
`Node`: the backward function, and where each input came from. ``Tensor.backward()`` visits the nodes from the newest
to the oldest, hands each one the gradient of its result and passes on what comes out; what arrives at a leaf (a Tensor
that no operation made) is its gradient. That is all of it; the rest of this file are the details.

What ``backward`` returns:

* one array: the gradient of the first argument;
* a tuple: the gradients of the leading positional arguments, ``None`` where there is none.

A gradient has the shape and dtype of its argument. It is a new array, ``dy`` itself, or a view: ``backward`` changes
neither ``dy`` nor what it caught, and hands out nothing that it keeps. A ``backward`` whose gradients are expensive
apart from each other takes a second argument ``needs``, one bool per positional argument, and may return ``None`` where
it is false:

    def backward(dy, needs=(True, True)):
        return dy @ w.T if needs[0] else None, x.T @ dy if needs[1] else None

An operation with several results returns a tuple of them; its ``backward`` is then given a tuple of gradients.

An operation is a pure function: it changes no argument and keeps no state, so that it can be run again (see
``create_graph`` below). Options that are no arrays are keyword-only or trail the arrays.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import operator
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from xnn.backends.namespaces import Array, array_namespace, check_same_device, has_dtype, is_array
from xnn.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")
Backward = Callable[..., Any]

__all__ = [
    "Node",
    "Op",
    "backward",
    "enable_grad",
    "grad",
    "is_grad_enabled",
    "no_grad",
    "op",
    "value_and_grad",
    "vjp",
]


class _Mode(threading.local):
    recording = True
    # In eval mode a layer called on plain arrays sees its parameters as plain arrays too: see plain_arrays().
    plain = False


_mode = _Mode()
_creation_order = itertools.count()
_order = operator.attrgetter("order")


class Node:
    """One application of an operation.

    ``inputs`` holds, for each positional argument, where it came from: a Node, or a leaf Tensor. Where no gradient is
    needed (``needs`` is false), it holds the plain value instead. The Tensors between operations are not kept, so an
    activation lives only as long as a backward function uses it.
    """

    __slots__ = ("backward", "inputs", "kwargs", "needs", "op", "order")

    def __init__(
        self,
        op: Any,
        backward: Backward,
        inputs: Sequence[Any],
        needs: Sequence[bool],
        kwargs: dict[str, Any],
    ) -> None:
        self.op = op
        self.backward: Backward | None = backward  # None once the graph is freed
        self.inputs = inputs
        self.needs = needs
        self.kwargs = kwargs
        self.order = next(_creation_order)  # inputs are made before results: a topological order for free

    def __repr__(self) -> str:
        return f"<Node {self.op}>"


class Op(Generic[P, R]):
    """A differentiable operation, made from its forward-and-backward definition by `op`.

    Attributes:
        forward: the definition.
        kernels: faster functions of the same signature and results, by array type. The type of the first argument
            alone decides: arrays of one call belong to one library, and a further look at each would cost every call.
            So a kernel checks by itself what it relies on, such as the dtypes, and an operation that is to have
            kernels takes an array first.
    """

    def __init__(self, forward: Callable[P, tuple[R, Backward | None]]) -> None:
        functools.update_wrapper(self, forward)
        self.forward: Callable[..., tuple[Any, Backward | None]] = forward
        self.name = forward.__name__
        self.kernels: dict[type, Callable[..., tuple[Any, Backward | None]]] = {}
        self._positional: list[tuple[str, Any]] = [
            (p.name, p.default)
            for p in inspect.signature(forward).parameters.values()
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY)
        ]
        self._by_keyword = {
            p.name
            for p in inspect.signature(forward).parameters.values()
            if p.kind is p.POSITIONAL_OR_KEYWORD
        }

    def __repr__(self) -> str:
        return self.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """The result; recorded if an argument is a Tensor that requires a gradient."""
        positional: Sequence[Any] = args
        if kwargs:
            positional = self._bind(args, kwargs)
        values = []
        inputs: list[Any] = []
        needs = []
        mode = _mode
        recording = mode.recording
        wrapped = tracked = False
        for a in positional:
            if isinstance(a, Tensor):
                wrapped = True
                values.append(a.data)
                if recording and a.requires_grad:
                    tracked = True
                    inputs.append(a._node or a)
                    needs.append(True)
                    continue
                a = a.data
            else:
                values.append(a)
            inputs.append(a)
            needs.append(False)
        if len(values) > 1:
            check_same_device(self.name, values)

        forward = self.forward
        if self.kernels:
            forward = self.kernels.get(type(values[0]), forward)
        try:
            y, backward = forward(*values, **kwargs)
        except AttributeError as error:
            if any(error.obj is value for value in values):
                raise TypeError(
                    f"{self.name}: expected an array (NumPy, CuPy, a Tensor, ...), got {type(error.obj).__name__}"
                ) from error
            raise
        if not wrapped or mode.plain:
            return y
        if not tracked or backward is None:
            return tuple(map(Tensor, y)) if type(y) is tuple else Tensor(y)
        if type(y) is tuple:
            node = Node(self, _of_all_results(backward, y), inputs, needs, kwargs)
            return tuple(_part(node, i, y_i) for i, y_i in enumerate(y))
        return Tensor(y, True, Node(self, backward, inputs, needs, kwargs))

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[Any]:
        """Move arguments given by name into their place among the positional ones."""
        for name, value in kwargs.items():
            if name not in self._by_keyword and isinstance(value, Tensor):
                if value.requires_grad and _mode.recording:
                    raise TypeError(
                        f"{self.name}: no gradient flows through the option {name!r}; "
                        f"pass {name}.detach() if that is what you want"
                    )
                kwargs[name] = value.data
        if self._by_keyword.isdisjoint(kwargs):
            return args
        bound = list(args)
        last = max(i for i, (name, _) in enumerate(self._positional) if name in kwargs)
        for name, default in self._positional[len(args) : last + 1]:
            value = kwargs.pop(name, default)
            if value is inspect.Parameter.empty:
                raise TypeError(f"{self.name}() missing required argument: {name!r}")
            bound.append(value)
        for name in self._by_keyword.intersection(kwargs):
            raise TypeError(f"{self.name}() got multiple values for argument {name!r}")
        return bound

    def vjp(self, *args: P.args, **kwargs: P.kwargs) -> tuple[Any, Backward | None]:
        """The result on plain arrays and the backward function, for driving the backward pass by hand.

        >>> import numpy as np, xnn
        >>> y, backward = xnn.square.vjp(np.asarray([1.0, 2.0]))
        >>> y, backward(np.asarray([1.0, 1.0]))
        (array([1., 4.]), array([2., 4.]))
        """
        forward = self.forward
        if args and self.kernels:
            forward = self.kernels.get(type(args[0]), forward)
        return forward(*args, **kwargs)


def op(forward: Callable[P, tuple[R, Backward | None]]) -> Op[P, R]:
    """Make a differentiable operation of a function that returns ``(result, backward)``. See the top of this file.

    >>> import numpy as np, xnn
    >>> @xnn.op
    ... def cube(x):
    ...     def backward(dy):
    ...         return 3 * x**2 * dy
    ...     return x**3, backward
    >>> x = xnn.tensor([1.0, 2.0], requires_grad=True)
    >>> xnn.sum(cube(x)).backward()
    >>> x.grad
    array([ 3., 12.], dtype=float32)
    """
    return Op(forward)


class _Slots:
    """Gradients of some of the results of an operation with several; ``+`` joins them slot by slot."""

    __slots__ = ("of",)

    def __init__(self, of: dict[int, Array]) -> None:
        self.of = of

    def __add__(self, other: _Slots) -> _Slots:
        joined = dict(self.of)
        for i, g in other.of.items():
            joined[i] = joined[i] + g if i in joined else g
        return _Slots(joined)


class _Result(Node):
    """Result ``index`` of an operation with several, whose Node is its only input."""

    __slots__ = ("index",)

    def __init__(self, whole: Node, index: int) -> None:
        super().__init__(whole.op, lambda dy: _Slots({index: dy}), (whole,), (True,), {})
        self.index = index


def _part(whole: Node, index: int, y: Array) -> Tensor:
    """Result ``index`` as a Tensor. Integers and bools carry no gradient."""
    if not has_dtype(y, "real floating"):
        return Tensor(y)
    return Tensor(y, True, _Result(whole, index))


def _of_all_results(backward: Backward, ys: Sequence[Any]) -> Backward:
    """``backward`` made to take _Slots: zeros stand for the gradients of results that were not used."""
    likes = [(array_namespace(y), y.shape, y.dtype, y.device) for y in ys]

    def fill(slots: _Slots, needs: Sequence[bool] = ()) -> Any:
        dys = tuple(
            slots.of[i] if i in slots.of else xp.zeros(shape, dtype=dtype, device=device)
            for i, (xp, shape, dtype, device) in enumerate(likes)
        )
        return _call_backward(backward, dys, needs)

    return fill


def _call_backward(backward: Backward, dy: Any, needs: Sequence[bool]) -> Any:
    try:
        code = backward.__code__
    except AttributeError:  # a callable object
        return backward(dy)
    if code.co_argcount > 1 and code.co_varnames[1] == "needs":
        return backward(dy, needs)
    return backward(dy)


def backward(
    outputs: Sequence[Tensor],
    gradients: Sequence[Array | Tensor],
    *,
    inputs: Sequence[Tensor] | None = None,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> None:
    """Propagate ``gradients`` of ``outputs`` to all leaves that require one (or ``inputs``): added to their ``grad``.

    With ``create_graph`` the gradients are Tensors that can be differentiated again. Backward functions are array code
    themselves, so no second set of rules is needed: the operations of the graph are run once more, on Tensors.

    No leaf is changed unless all goes well.
    """
    roots = [y._node or y for y in outputs]
    nodes = _reachable(roots)
    if inputs is not None:
        nodes, wanted = _leading_to(inputs, nodes)
    if create_graph:
        backwards = _run_again(nodes)
        retain_graph = True
    pending: dict[Any, Any] = {}  # the gradient so far of each Node and leaf
    summed = set()  # whose gradient so far is a sum made here, to which more can be added in place
    for root, gradient in zip(roots, gradients, strict=True):
        pending[root] = pending[root] + gradient if root in pending else gradient
    while nodes:
        node = nodes.pop()
        dy = pending.pop(node, None)
        if dy is None:
            continue
        sources, needs = node.inputs, node.needs
        if inputs is not None:
            needs = [needed and source in wanted for source, needed in zip(sources, needs, strict=True)]
        dxs = _call_backward(backwards[node] if create_graph else node.backward, dy, needs)  # type: ignore[arg-type]
        if type(dxs) is not tuple:
            dxs = (dxs,)
        # Not strict: gradients may be missing at the end. (And the keyword alone costs a tenth of a microsecond.)
        for source, needed, dx in zip(sources, needs, dxs):  # noqa: B905
            if needed and dx is not None:
                before = pending.get(source)
                if before is None:
                    pending[source] = dx
                elif source in summed:
                    pending[source] += dx
                else:
                    pending[source] = before + dx
                    summed.add(source)
        if not retain_graph:
            node.backward = None
            node.inputs = ()
    _accumulate(pending, gradients)


def _reachable(roots: Sequence[Node | Tensor]) -> list[Node]:
    """Every node on a way from ``roots`` to a leaf, oldest first."""
    stack = [root for root in set(roots) if isinstance(root, Node)]
    seen = set(stack)
    while stack:
        node = stack.pop()
        if node.backward is None:
            raise RuntimeError(
                f"backward: the graph through {node.op} was freed by an earlier backward pass; "
                "use backward(retain_graph=True) there to go through it again"
            )
        for source in node.inputs:
            if isinstance(source, Node) and source not in seen:
                seen.add(source)
                stack.append(source)
    return sorted(seen, key=_order)


def _leading_to(inputs: Sequence[Tensor], nodes: Iterable[Node]) -> tuple[list[Node], set[Any]]:
    """The nodes, given oldest first, from which a way leads to the leaves ``inputs``; and all that is on a way."""
    leading: set[Any] = set(inputs)
    kept = []
    for node in nodes:
        if any(needed and source in leading for source, needed in zip(node.inputs, node.needs, strict=True)):
            leading.add(node)
            kept.append(node)
    return kept, leading


def _accumulate(found: dict[Tensor, Any], given: Sequence[Any]) -> None:
    """leaf.grad += g for every leaf and its gradient g, in memory that belongs to the leaf alone."""
    taken = {id(g) for g in given}  # somebody else holds these arrays
    sums = []
    for leaf, g in found.items():
        data, before = leaf.data, leaf.grad
        if isinstance(g, Tensor):  # create_graph
            sums.append(g if before is None else before + g)
            continue
        if g.shape != data.shape or g.dtype != data.dtype:
            raise RuntimeError(
                f"backward: expected a gradient of shape {tuple(data.shape)} and dtype {data.dtype}, as the leaf has; "
                f"an operation's backward returned shape {tuple(g.shape)} and dtype {g.dtype}"
            )
        if before is not None:
            g = before + g
        # NumPy and CuPy say by `base` whether an array owns its memory; where nothing says so, copy to be safe.
        elif id(g) in taken or getattr(g, "base", g) is not None:
            g = array_namespace(g).asarray(g, copy=True)
        if type(g) is not type(data):  # NumPy makes a scalar, which is no array, of a sum of shape ()
            g = array_namespace(g).asarray(g, copy=True)
        taken.add(id(g))
        sums.append(g)
    for leaf, total in zip(found, sums, strict=True):
        leaf.grad = total


def _run_again(nodes: Iterable[Node]) -> dict[Node, Backward]:
    """The backward function of each node over Tensors, from a second run of its operation."""
    values: dict[Node, Any] = {}
    backwards: dict[Node, Backward] = {}
    for node in nodes:
        if isinstance(node, _Result):
            values[node] = values[node.inputs[0]][node.index]
            backwards[node] = node.backward  # type: ignore[assignment]
            continue
        args = [values[x] if isinstance(x, Node) else _as_tensor(x) for x in node.inputs]
        y, back = node.op.forward(*args, **node.kwargs)
        values[node] = y
        backwards[node] = _of_all_results(back, y) if type(y) is tuple else back
    return backwards


def _as_tensor(a: Any) -> Any:
    return Tensor(a) if is_array(a) and not isinstance(a, Tensor) else a


# --- switches -------------------------------------------------------------------------------------------------------


class _Switch:
    """Sets one attribute of the mode inside a ``with`` block or a decorated function; may be nested and shared."""

    def __init__(self, name: str, value: bool) -> None:
        self._name, self._value = name, value
        self._before = threading.local()

    def __enter__(self) -> None:
        stack = self._before.__dict__.setdefault("stack", [])
        stack.append(getattr(_mode, self._name))
        setattr(_mode, self._name, self._value)

    def __exit__(self, *error: object) -> None:
        setattr(_mode, self._name, self._before.stack.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def inside(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return inside


_NO_GRAD = _Switch("recording", False)
_ENABLE_GRAD = _Switch("recording", True)
plain_arrays = _Switch("plain", True)


def no_grad() -> _Switch:
    """Inside ``with no_grad():`` nothing is recorded; Tensors go in and Tensors without a way back come out.

    Also a decorator: ``@no_grad()``. The switch belongs to the thread.
    """
    return _NO_GRAD


def enable_grad() -> _Switch:
    """The opposite of `no_grad`, for a part inside of it."""
    return _ENABLE_GRAD


def is_grad_enabled() -> bool:
    """Whether operations on Tensors are recorded in this thread."""
    return _mode.recording


# --- functions of functions -----------------------------------------------------------------------------------------


def vjp(
    function: Callable[..., Tensor], *primals: Array
) -> tuple[Array, Callable[[Array], tuple[Array, ...]]]:
    """``function(*primals)`` and the function that carries a gradient back: the vector-Jacobian product.

    Args:
        function: takes Tensors, returns one Tensor.
        primals: plain arrays, or Tensors that are taken as starting points (their own past is not followed).

    Returns:
        ``(y, backward)``, where ``backward(dy)`` is a tuple with one gradient per primal. It may be called repeatedly.

    >>> import numpy as np, xnn
    >>> y, backward = xnn.vjp(lambda a, b: a * b, np.asarray([2.0]), np.asarray([3.0]))
    >>> y, backward(np.asarray([1.0]))
    (array([6.]), (array([3.]), array([2.])))
    """
    leaves = [Tensor(p.data if isinstance(p, Tensor) else p, requires_grad=True) for p in primals]
    with enable_grad():
        y = function(*leaves)
    if not isinstance(y, Tensor):
        raise TypeError(f"vjp: expected the function to return a Tensor, got {type(y).__name__}")

    def backward_of_primals(dy: Array) -> tuple[Array, ...]:
        for leaf in leaves:
            leaf.grad = None
        if y.requires_grad:
            backward([y], [dy], inputs=leaves, retain_graph=True)
        return tuple(
            leaf.grad if leaf.grad is not None else array_namespace(leaf.data).zeros_like(leaf.data)
            for leaf in leaves
        )

    return y.data, backward_of_primals


def value_and_grad(
    function: Callable[..., Tensor], argnums: int | Sequence[int] = 0
) -> Callable[..., tuple[Array, Any]]:
    """A function that returns ``function(*args)`` and its gradient with respect to the arguments ``argnums``.

    ``function`` takes arrays and returns a scalar Tensor (shape ``()``). The gradient is one array for an integer
    ``argnums`` and a tuple of arrays for a sequence. Plain arrays in, plain arrays out.

    >>> import numpy as np, xnn
    >>> value, dw = xnn.value_and_grad(lambda w, x: xnn.sum(w * x))(np.asarray([1.0, 2.0]), np.asarray([3.0, 4.0]))
    >>> float(value), dw
    (11.0, array([3., 4.]))
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(function)
    def value_and_gradient(*args: Any, **kwargs: Any) -> tuple[Array, Any]:
        def of_chosen(*chosen: Tensor) -> Tensor:
            everything = list(args)
            for i, tensor in zip(numbers, chosen, strict=True):
                everything[i] = tensor
            return function(*everything, **kwargs)

        y, back = vjp(of_chosen, *(args[i] for i in numbers))
        if y.shape != ():
            raise ValueError(
                f"value_and_grad: expected a scalar result (shape ()), got shape {tuple(y.shape)}"
            )
        gradients = back(array_namespace(y).ones_like(y))
        return y, gradients[0] if isinstance(argnums, int) else gradients

    return value_and_gradient


def grad(function: Callable[..., Tensor], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that returns the gradient of ``function``; see `value_and_grad`.

    >>> import numpy as np, xnn
    >>> xnn.grad(lambda x: xnn.sum(x**3))(np.asarray([1.0, 2.0]))
    array([ 3., 12.])
    """
    both = value_and_grad(function, argnums)
    return functools.wraps(function)(lambda *args, **kwargs: both(*args, **kwargs)[1])
