from __future__ import annotations

import copy
import gc
import pickle
import sys
import threading
import weakref

import numpy as np
import pytest
from support import assert_close, host, is_plain, leaf, needs_torch, put, torch

import xnn
from xnn.autodiff import Op


def ones(*shape: int) -> xnn.Tensor:
    return xnn.Tensor(np.ones(shape), requires_grad=True)


# --- sums of ways ------------------------------


def test_branches_join(device):
    x = leaf(device, [1.0, 2.0])
    a, b = x * 3.0, xnn.exp(x)
    xnn.sum(a * b + a).backward()  # d/dx (3x eˣ + 3x) = 3 eˣ (1 + x) + 3
    values = np.asarray([1.0, 2.0])
    assert_close(x.grad, 3 * np.exp(values) * (1 + values) + 3, device=device)


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (lambda x: x * x, lambda v: 2 * v),
        (lambda x: x + x, lambda v: 2 + 0 * v),
        (lambda x: x - x, lambda v: 0 * v),
        (lambda x: x / x, lambda v: 0 * v),
        (lambda x: x + x + x + x, lambda v: 4 + 0 * v),
        (lambda x: xnn.concat([x, x, x]), lambda v: 3 + 0 * v),
    ],
)
def test_one_input_used_twice(device, function, derivative):
    values = np.asarray([1.0, -2.0, 3.0])
    x = leaf(device, values)
    xnn.sum(function(x)).backward()
    assert_close(x.grad, derivative(values), device=device)


def test_shared_weight_gets_the_sum_over_its_uses(device, rng):
    w, x = rng.standard_normal((3, 3)), rng.standard_normal((2, 3))
    shared = leaf(device, w)
    h = put(device, x)
    apart = [leaf(device, w) for _ in range(5)]
    g = put(device, x)
    for one in apart:
        h = xnn.tanh(xnn.matmul(h, shared))
        g = xnn.tanh(xnn.matmul(g, one))
    xnn.sum(h).backward()
    xnn.sum(g).backward()
    assert_close(shared.grad, sum(host(one.grad) for one in apart), rtol=1e-12, atol=1e-14)


def test_the_seed_and_caught_arrays_stay_as_they_were_when_many_gradients_are_added():
    seed = np.ones(3)
    x = ones(3)
    y = xnn.op(lambda x: (x.copy(), lambda dy: dy))(x)
    total = y + y + y + y + x + x
    total.backward(seed)
    assert_close(x.grad, np.full(3, 6.0))
    assert_close(seed, np.ones(3))


# --- grad ------------------------------


def test_two_passes_add_up(device):
    x = leaf(device, [1.0, 2.0])
    xnn.sum(x * 2.0).backward()
    first = x.grad
    xnn.sum(x * 3.0).backward()
    assert_close(x.grad, np.asarray([5.0, 5.0]), device=device)
    assert_close(first, np.asarray([2.0, 2.0]))


def test_gradients_are_plain_arrays_of_the_same_place_and_dtype(device):
    x = leaf(device, [[1.0, 2.0]], "float32")
    xnn.mean(x).backward()
    assert is_plain(x.grad)
    assert_close(x.grad, np.full((1, 2), 0.5, dtype="float32"), device=device)


def test_leaves_never_share_memory():
    a, b, c = ones(3), ones(3), ones(3)
    seed = np.ones(3)
    (a + b + c).backward(seed)
    for mine in (a.grad, b.grad, c.grad):
        mine += 1
    assert_close(seed, np.ones(3))
    assert_close(a.grad, np.full(3, 2.0))
    assert_close(b.grad, np.full(3, 2.0))
    assert_close(c.grad, np.full(3, 2.0))


def test_leaves_share_nothing_when_an_operation_returns_one_array_twice():
    @xnn.op
    def twin_sum(x, y):
        def backward(dy):
            g = dy * 1.0
            return g, g

        return x + y, backward

    a, b = ones(3), ones(3)
    twin_sum(a, b).backward(np.ones(3))
    assert not np.shares_memory(a.grad, b.grad)
    assert a.grad.flags.writeable
    assert b.grad.flags.writeable


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,
        xnn.positive,
        lambda x: xnn.reshape(x, (-1,)),
        lambda x: xnn.sum(x, axis=0),
        lambda x: xnn.permute_dims(x, (1, 0)),
        lambda x: x[0],
        lambda x: xnn.broadcast_to(x, (5, 2, 3)),
    ],
)
def test_gradients_are_writable_and_own_their_memory(function):
    x = ones(2, 3)
    y = function(x)
    seed = np.ones(y.shape)
    y.backward(seed)
    assert x.grad.flags.writeable
    assert x.grad.base is None
    assert not np.shares_memory(x.grad, seed)
    assert not np.shares_memory(x.grad, x.data)


def test_gradient_of_shape_zero_dimensions_is_an_array():
    x = xnn.tensor(2.0, requires_grad=True)
    for n in (1, 2):
        (x * x).backward()
        assert isinstance(x.grad, np.ndarray)
        assert_close(x.grad, np.asarray(4.0 * n, dtype="float32"))


def test_leaf_itself_can_go_backward():
    x = xnn.tensor([3.0], requires_grad=True)
    x.backward()
    assert_close(x.grad, np.ones(1, dtype="float32"))


# --- the graph's life ------------------------------


def test_second_pass_raises_and_changes_nothing():
    x, w = ones(2), ones(2)
    h = x * w
    y, z = xnn.sum(h), xnn.sum(h * w)
    y.backward()
    before = x.grad.copy(), w.grad.copy()
    for again in (y, z):
        with pytest.raises(RuntimeError, match=r"graph through (sum|multiply) was freed.*retain_graph=True"):
            again.backward()
    assert_close(x.grad, before[0])
    assert_close(w.grad, before[1])


def test_retain_graph_gives_the_same_again(device):
    x = leaf(device, [1.0, 2.0])
    y = xnn.sum(xnn.exp(x) * x)
    y.backward(retain_graph=True)
    once = host(x.grad)
    y.backward(retain_graph=True)
    assert_close(x.grad, 2 * once)
    y.backward()
    with pytest.raises(RuntimeError, match="was freed"):
        y.backward()


def test_error_in_a_backward_function_leaves_every_gradient_as_it_was():
    @xnn.op
    def broken(x):
        def backward(dy):
            raise ZeroDivisionError

        return x * 1.0, backward

    x, w = ones(2), ones(2)
    y = xnn.sum(broken(x) * w)
    with pytest.raises(ZeroDivisionError):
        y.backward()
    assert x.grad is None
    assert w.grad is None


def test_arrays_between_operations_die_in_the_backward_pass():
    gc.disable()
    try:
        x = ones(4)
        h = xnn.exp(x)
        caught = weakref.ref(h.data)
        y = xnn.sum(h * 2.0)
        del h
        assert caught() is not None  # exp needs its result
        y.backward()
        assert caught() is None
    finally:
        gc.enable()


def test_arrays_that_no_backward_needs_die_in_the_forward_pass():
    gc.disable()
    try:
        x = ones(4)
        h = x + 1.0
        sums = weakref.ref(h.data)
        h = -h
        negated = weakref.ref(h.data)
        h = xnn.reshape(h, (2, 2)) * 1.0
        scaled = weakref.ref(h.data)
        y = xnn.sum(h)
        del h
        assert [r() is None for r in (sums, negated, scaled)] == [True, True, True]
        y.backward()
        assert_close(x.grad, -np.ones(4))
    finally:
        gc.enable()


def test_leaves_and_graphs_are_not_in_reference_cycles():
    gc.disable()
    try:
        x = ones(4)
        data = weakref.ref(x.data)
        y = xnn.sum(x * x)
        del x, y
        assert data() is None
        x = ones(4)
        data = weakref.ref(x.data)
        xnn.sum(x * x).backward()
        del x
        assert data() is None
    finally:
        gc.enable()


def test_chain_of_100_000_operations():
    x = xnn.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + x
    y.backward()
    assert_close(x.grad, np.asarray([100_001.0], dtype="float32"))
    y = x
    for _ in range(100_000):
        y = -y
    del y  # a long graph that nobody went through must not overflow the stack either


# --- detach, no_grad, enable_grad ------------------------------


def test_detach_cuts_and_shares():
    x = ones(2)
    y = xnn.exp(x).detach()
    assert not y.requires_grad
    assert y.is_leaf
    xnn.sum(y * x).backward()
    assert_close(x.grad, np.full(2, np.e))
    assert x.detach().data is x.data


def test_no_grad_records_nothing():
    x = ones(2)
    with xnn.no_grad():
        assert not xnn.is_grad_enabled()
        y = x * 2.0
        with xnn.enable_grad():
            assert xnn.is_grad_enabled()
            z = x * 2.0
            with xnn.no_grad(), xnn.no_grad():
                assert not (x * 2.0).requires_grad
        assert not (x * 2.0).requires_grad
    assert xnn.is_grad_enabled()
    assert (y.requires_grad, z.requires_grad, (x * 2.0).requires_grad) == (False, True, True)


def test_no_grad_ends_with_an_error():
    with pytest.raises(KeyError), xnn.no_grad():
        raise KeyError
    assert xnn.is_grad_enabled()


def test_no_grad_decorates_also_recursive_functions():
    @xnn.no_grad()
    def down(x: xnn.Tensor, n: int) -> xnn.Tensor:
        """Doc."""
        assert not xnn.is_grad_enabled()
        return down(x * 2.0, n - 1) if n else x

    assert down.__name__ == "down"
    assert down.__doc__ == "Doc."
    assert not down(ones(2), 3).requires_grad
    assert xnn.is_grad_enabled()


def test_switches_belong_to_their_thread():
    inside, checked = threading.Event(), threading.Event()
    seen = []

    def other() -> None:
        inside.wait(5)
        seen.append(xnn.is_grad_enabled())
        with xnn.no_grad():
            checked.set()
        seen.append(xnn.is_grad_enabled())

    thread = threading.Thread(target=other)
    thread.start()
    with xnn.no_grad():
        inside.set()
        assert checked.wait(5)
        assert not xnn.is_grad_enabled()
    thread.join()
    assert seen == [True, True]


def test_threads_build_and_go_through_graphs_of_their_own():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    results: dict[int, np.ndarray] = {}

    def work(k: int) -> None:
        for _ in range(20):
            x = xnn.Tensor(np.full(3, float(k)), requires_grad=True)
            y = x
            for _ in range(10):
                y = y * x
            xnn.sum(y).backward()
        results[k] = x.grad

    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(interval)
    for k in range(1, 5):
        assert_close(results[k], np.full(3, 11.0 * k**10))


# --- what backward is given ------------------------------


def test_backward_of_more_than_one_element_needs_a_gradient():
    x = ones(2, 3)
    with pytest.raises(RuntimeError, match=r"expected a Tensor with one element, got shape \(2, 3\)"):
        (x * 2.0).backward()
    assert x.grad is None


@pytest.mark.parametrize("kind", ["array", "tensor", "list"])
def test_backward_of_more_than_one_element(device, kind):
    x = leaf(device, [1.0, 2.0])
    gradient = {
        "array": put(device, [3.0, 4.0]),
        "tensor": xnn.Tensor(put(device, [3.0, 4.0])),
        "list": [3.0, 4.0],
    }
    (x * x).backward(gradient[kind])
    assert_close(x.grad, np.asarray([6.0, 16.0]), device=device)


def test_backward_takes_a_gradient_of_another_dtype():
    x = xnn.tensor([1.0], requires_grad=True)
    (x * x).backward(np.ones(1))
    assert_close(x.grad, np.full(1, 2.0, dtype="float32"))


def test_backward_refuses_a_gradient_of_another_shape():
    x = ones(2, 3)
    with pytest.raises(ValueError, match=r"expected a gradient of shape \(2, 3\), got \(3,\)"):
        (x * 2.0).backward(np.ones(3))


def test_backward_refuses_a_gradient_of_another_library():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(
        TypeError, match=r"backward: expected all arrays on one device, got numpy.*array_api_strict"
    ):
        (ones(1) * 2.0).backward(strict.ones(1))


def test_backward_without_anything_to_differentiate():
    with pytest.raises(RuntimeError, match="does not depend on anything with requires_grad=True"):
        xnn.tensor(1.0).backward()


# --- operations ------------------------------


@xnn.op
def split_pair(x, n):
    def backward(dys):
        assert type(dys) is tuple
        return xnn.array_namespace(*dys).concat(dys)

    return (x[:n], x[n:]), backward


def test_operation_with_several_results(device):
    x = leaf(device, [1.0, 2.0, 3.0])
    a, b = split_pair(x, 1)
    xnn.sum(a * 5.0).backward(retain_graph=True)  # b is not used: its gradient is zeros
    assert_close(x.grad, np.asarray([5.0, 0.0, 0.0]), device=device)
    x.grad = None
    (xnn.sum(a * 5.0) + xnn.sum(b * b) + xnn.sum(b)).backward()
    assert_close(x.grad, np.asarray([5.0, 5.0, 7.0]), device=device)
    assert [is_plain(part) for part in split_pair(put(device, [1.0, 2.0]), 1)] == [True, True]


def test_results_of_integers_carry_no_gradient():
    @xnn.op
    def top(x):
        i = np.argmax(x, axis=-1)

        def backward(dys):
            assert dys[1].dtype == i.dtype
            dx = np.zeros_like(x)
            np.put_along_axis(dx, i[:, None], dys[0][:, None], axis=1)
            return dx

        return (np.max(x, axis=-1), i), backward

    x = xnn.Tensor(np.asarray([[1.0, 5.0], [7.0, 2.0]]), requires_grad=True)
    value, index = top(x)
    assert value.requires_grad
    assert not index.requires_grad
    assert index.tolist() == [1, 0]
    value.backward(np.asarray([2.0, 3.0]))
    assert_close(x.grad, np.asarray([[0.0, 2.0], [3.0, 0.0]]))


@xnn.op
def scaled_sum(x, y, bias=None, *, scale=1.0):
    def backward(dy, needs=(True, True, True)):
        backward.needs = needs
        return (
            dy * scale if needs[0] else None,
            dy * scale if needs[1] else None,
            dy * 1.0 if bias is not None and needs[2] else None,
        )

    scaled_sum.last = backward
    y = (x + y) * scale
    return (y if bias is None else y + bias), backward


def test_arrays_by_keyword():
    x, y, b = ones(2), ones(2), ones(2)
    for call in (
        lambda: scaled_sum(x, y, bias=b, scale=2.0),
        lambda: scaled_sum(x, bias=b, y=y, scale=2.0),
        lambda: scaled_sum(bias=b, y=y, x=x, scale=2.0),
        lambda: scaled_sum(x, y, b, scale=2.0),
    ):
        for t in (x, y, b):
            t.grad = None
        xnn.sum(call()).backward()
        assert [t.grad.tolist() for t in (x, y, b)] == [[2.0, 2.0], [2.0, 2.0], [1.0, 1.0]]
    out = scaled_sum(np.ones(2), y=np.ones(2), bias=np.ones(2))
    assert_close(out, np.full(2, 3.0))
    assert is_plain(out)


def test_wrong_arguments():
    with pytest.raises(TypeError, match=r"scaled_sum\(\) missing required argument: 'y'"):
        scaled_sum(ones(1), bias=ones(1))
    with pytest.raises(TypeError, match=r"scaled_sum\(\) got multiple values for argument 'x'"):
        scaled_sum(ones(1), ones(1), x=ones(1))
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        scaled_sum(ones(1), ones(1), colour=1)


def test_options_take_no_gradient():
    x, s = ones(1), xnn.Tensor(np.asarray(3.0), requires_grad=True)
    with pytest.raises(
        TypeError, match=r"scaled_sum: no gradient flows through the option 'scale'.*scale\.detach\(\)"
    ):
        scaled_sum(x, x, scale=s)
    assert scaled_sum(x, x, scale=s.detach()).tolist() == [6.0]
    with xnn.no_grad():
        assert scaled_sum(x, x, scale=s).tolist() == [6.0]


def test_needs_tells_which_gradients_are_wanted():
    x, y, b = ones(2), xnn.Tensor(np.ones(2)), ones(2)
    out = xnn.sum(scaled_sum(x, y, b))
    back = scaled_sum.last
    out.backward()
    assert list(back.needs) == [True, False, True]
    assert y.grad is None
    _, pull = xnn.vjp(lambda p: xnn.sum(scaled_sum(x, p, b)), np.ones(2))
    back = scaled_sum.last
    pull(np.asarray(1.0))
    assert list(back.needs) == [False, True, False]


def test_none_stands_for_no_gradient():
    @xnn.op
    def stop(x, y):
        return x + y, lambda dy: (None, dy)

    x, y = ones(2), ones(2)
    xnn.sum(stop(x * 2.0, y)).backward()
    assert x.grad is None
    assert_close(y.grad, np.ones(2))


def test_no_backward_at_all():
    y = xnn.argmax(ones(3))
    assert isinstance(y, xnn.Tensor)
    assert not y.requires_grad


def test_callable_objects_are_backward_functions():
    class Double:
        def __call__(self, dy):
            return 2 * dy

    x = ones(2)
    xnn.op(lambda x: (2 * x, Double()))(x).backward(np.ones(2))
    assert_close(x.grad, np.full(2, 2.0))


@pytest.mark.parametrize("wrong", [lambda dy: dy[:1], lambda dy: dy.astype("float32")])
def test_gradient_of_wrong_shape_or_dtype_is_reported(wrong):
    x = ones(2)
    y = xnn.op(lambda x: (x * 1.0, wrong))(x)
    with pytest.raises(
        RuntimeError, match=r"expected a gradient of shape \(2,\) and dtype float64.*returned shape"
    ):
        y.backward(np.ones(2))
    assert x.grad is None


def test_op_keeps_name_and_docstring_and_gives_vjp(device):
    assert isinstance(xnn.square, Op)
    assert (xnn.square.__name__, repr(xnn.square)) == ("square", "square")
    assert "x²" in xnn.square.__doc__
    y, backward = xnn.square.vjp(put(device, [1.0, 2.0]))
    assert is_plain(y)
    assert_close(backward(put(device, [1.0, 10.0])), np.asarray([2.0, 40.0]), device=device)
    assert repr((ones(1) * 2.0)._node) == "<Node multiply>"


def test_tensors_and_plain_arrays_mix(device):
    x, c = leaf(device, [1.0, 2.0]), put(device, [3.0, 4.0])
    products = [x * c, xnn.multiply(c, x)]
    if "strict" not in device.name:  # its arrays raise instead of leaving the operator to the other side
        products.append(c * x)
    for y in products:
        assert isinstance(y, xnn.Tensor)
        x.grad = None
        xnn.sum(y).backward()
        assert_close(x.grad, np.asarray([3.0, 4.0]), device=device)


# --- copies ------------------------------


def test_deepcopy_and_pickle(device):
    x = leaf(device, [1.0, 2.0])
    xnn.sum(x * x).backward()
    copies = [copy.deepcopy(x)]
    if device.name != "torch:cpu" and "strict" not in device.name:
        copies.append(pickle.loads(pickle.dumps(x)))
    for y in copies:
        assert y.requires_grad
        assert y.is_leaf
        assert_close(y.data, np.asarray([1.0, 2.0]), device=device)
        assert_close(y.grad, np.asarray([2.0, 4.0]), device=device)
        assert y.data is not x.data
        xnn.sum(y).backward()
    assert_close(x.grad, np.asarray([2.0, 4.0]))
    with pytest.raises(RuntimeError, match="deepcopy: only a leaf can be copied"):
        copy.deepcopy(x * 2.0)


def test_pickle_of_a_result_keeps_the_values_only():
    y = pickle.loads(pickle.dumps(ones(2) * 2.0))
    assert y.tolist() == [2.0, 2.0]


# --- derivatives of derivatives ------------------------------

POSITIVE = np.asarray([[0.6, 1.7, 0.3], [1.1, 0.8, 2.3]])
SECOND = {
    "exp": lambda F, x: F.exp(x),
    "log": lambda F, x: F.log(x),
    "sin": lambda F, x: F.sin(x) * x,
    "tanh": lambda F, x: F.tanh(x),
    "sqrt": lambda F, x: F.sqrt(x),
    "reciprocal": lambda F, x: 1 / (x * x),
    "power": lambda F, x: x**3 + x**x,
    "divide": lambda F, x: x / (1 + x * x),
    "maximum": lambda F, x: F.maximum(x * x, 2 * x),
    "where": lambda F, x: F.where(x > 1, x * x, x * x * x),
    "clip": lambda F, x: F.clip(x * x, 0.5, 2.0),
    "matmul": lambda F, x: (x @ x.T) * (x @ x.T),
    "prod": lambda F, x: F.prod(x, 1),
    "index": lambda F, x: x[0] * x[1] * x[1],
    "logaddexp": lambda F, x: F.logaddexp(x, x * x),
    "atan2": lambda F, x: F.atan2(x, 1 + x * x),
}


class Torch:
    def __getattr__(self, name):
        return getattr(torch, name)


class Ours:
    def __getattr__(self, name):
        if name == "prod":
            return lambda x, axis: xnn.prod(x, axis=axis)
        return getattr(xnn, name)


@needs_torch
@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives_against_torch(name):
    function = SECOND[name]
    x = xnn.Tensor(POSITIVE.copy(), requires_grad=True)
    xnn.sum(function(Ours(), x) * 0.7).backward(create_graph=True)
    first = x.grad
    assert isinstance(first, xnn.Tensor)
    x.grad = None
    xnn.sum(first * first).backward()

    t = torch.tensor(POSITIVE, requires_grad=True)
    (g,) = torch.autograd.grad((function(Torch(), t) * 0.7).sum(), t, create_graph=True)
    assert_close(first, g, rtol=1e-10, atol=1e-12)
    (second,) = torch.autograd.grad((g * g).sum(), t)
    assert_close(x.grad, second, rtol=1e-10, atol=1e-12)


def gradient_of(function):
    def gradient(x):
        y = xnn.sum(function(x) * 0.7)
        before, x.grad = x.grad, None
        was = x.requires_grad
        x.requires_grad = True
        if not was:
            y = xnn.sum(function(x) * 0.7)
        y.backward(create_graph=True)
        g, x.grad = x.grad, before
        x.requires_grad = was
        return g

    return gradient


TWICE = {
    "unstack": lambda x: xnn.unstack(x)[0] * xnn.unstack(x)[1] * xnn.unstack(x)[1],
    "take": lambda x: xnn.take(x * x, xnn.Tensor(np.asarray([0, 2, 2])), axis=1) * 2.0,
    "fancy": lambda x: (x * x * x)[np.asarray([0, 1, 1])],
    "concat": lambda x: xnn.concat([x, x * x], axis=1) ** 2,
    "stack": lambda x: xnn.stack([x, x * x]) ** 2,
    "sort": lambda x: xnn.sort(x * x, axis=1) * x,
    "cumulative_sum": lambda x: xnn.cumulative_sum(x * x, axis=1) * x,
    "cumulative_prod": lambda x: xnn.cumulative_prod(x * x, axis=1),
    "var": lambda x: xnn.var(x * x, axis=1),
    "std": lambda x: xnn.std(x * x, axis=1),
    "max": lambda x: xnn.max(x * x, axis=1),
    "mean": lambda x: xnn.mean(x * x * x, axis=0),
    "linear": lambda x: xnn.functional.linear(x * x, x),
    "relu": lambda x: xnn.functional.relu(x * x - 1.0),
    "astype": lambda x: xnn.astype(x * x, "float64"),
    "vecdot": lambda x: xnn.vecdot(x, x * x),
    "tensordot": lambda x: xnn.tensordot(x, x * x, axes=((1,), (1,))),
    "hypot": lambda x: xnn.hypot(x, x * x),
    "roll": lambda x: xnn.roll(x * x, 1, axis=1) * x,
    "tile": lambda x: xnn.tile(x, (2, 2)) ** 3,
    "repeat": lambda x: xnn.repeat(x, 2, axis=1) ** 3,
    "tril": lambda x: xnn.tril(x * x * x),
    "diff": lambda x: xnn.diff(x * x, axis=1) ** 2,
}


@pytest.mark.parametrize("name", TWICE)
def test_gradients_of_gradients_by_differences(name):
    xnn.gradcheck(gradient_of(TWICE[name]), POSITIVE, rtol=1e-5)


def test_gradients_of_gradients_on_every_namespace(device):
    x = put(device, POSITIVE)
    xnn.gradcheck(
        gradient_of(lambda x: xnn.tanh(xnn.matmul(x, x.T)) + xnn.sum(x[:1, ...] ** 3)), x, rtol=1e-5
    )


def test_third_derivative(device):
    x = leaf(device, [2.0])
    y = xnn.sum(x**4)
    for _ in range(2):
        x.grad = None
        y.backward(create_graph=True)
        y = xnn.sum(x.grad)
    x.grad = None
    y.backward()
    assert_close(x.grad, np.asarray([48.0]), device=device)


def test_create_graph_inside_no_grad_still_records():
    x = xnn.Tensor(np.asarray([2.0]), requires_grad=True)
    y = xnn.sum(x**3)
    with xnn.no_grad():
        y.backward(create_graph=True)
    assert x.grad.requires_grad
    x.grad.backward()
    assert_close(x.grad.detach().data, np.asarray([12.0 + 12.0]))


def test_gradient_penalty(device, rng):
    w = leaf(device, rng.standard_normal((3, 1)))
    x = leaf(device, rng.standard_normal((5, 3)))
    xnn.sum(xnn.tanh(xnn.matmul(x, w))).backward(create_graph=True)
    penalty, w.grad = xnn.mean((xnn.sqrt(xnn.sum(x.grad * x.grad, axis=1)) - 1.0) ** 2), None
    penalty.backward()
    assert w.grad is not None
    assert tuple(w.grad.shape) == (3, 1)


# --- functions of functions ------------------------------


def test_vjp(device):
    a, b = put(device, [2.0, 3.0]), put(device, [5.0, 7.0])
    y, backward = xnn.vjp(lambda a, b: a * b, a, b)
    assert is_plain(y)
    for _ in range(2):
        da, db = backward(put(device, [1.0, 10.0]))
        assert is_plain(da)
        assert_close(da, np.asarray([5.0, 70.0]), device=device)
        assert_close(db, np.asarray([2.0, 30.0]), device=device)


def test_vjp_of_what_does_not_depend_on_an_argument():
    y, backward = xnn.vjp(lambda a, b: a * 2.0, np.ones(2), np.ones(3))
    assert_close(y, np.full(2, 2.0))
    assert [g.tolist() for g in backward(np.ones(2))] == [[2.0, 2.0], [0.0, 0.0, 0.0]]
    y, backward = xnn.vjp(lambda a: xnn.tensor([1.0], dtype="float64"), np.ones(2))
    assert backward(np.ones(1))[0].tolist() == [0.0, 0.0]


def test_vjp_checks_what_comes_back():
    with pytest.raises(TypeError, match="vjp: expected the function to return a Tensor, got float"):
        xnn.vjp(lambda a: 1.0, np.ones(1))


def test_value_and_grad(device):
    w, x = put(device, [1.0, 2.0]), put(device, [3.0, 4.0])

    def loss(w, x, *, scale=1.0):
        """Doc."""
        return xnn.sum(xnn.multiply(w * w, x)) * scale

    value, dw = xnn.value_and_grad(loss)(w, x, scale=2.0)
    assert is_plain(dw)
    assert float(value) == 38.0
    assert_close(dw, np.asarray([12.0, 32.0]), device=device)
    _, (dx, dw) = xnn.value_and_grad(loss, argnums=(1, 0))(w, x)
    assert_close(dx, np.asarray([1.0, 4.0]))
    assert_close(dw, np.asarray([6.0, 16.0]))
    _, (only,) = xnn.value_and_grad(loss, argnums=[1])(w, x)
    assert_close(only, np.asarray([1.0, 4.0]))
    assert_close(xnn.grad(loss)(w, x), np.asarray([6.0, 16.0]))
    assert xnn.grad(loss).__doc__ == xnn.value_and_grad(loss).__doc__ == "Doc."


def test_value_and_grad_wants_a_scalar():
    with pytest.raises(ValueError, match=r"expected a scalar result \(shape \(\)\), got shape \(2,\)"):
        xnn.value_and_grad(lambda x: x)(np.ones(2))


def test_gradient_functions_work_inside_no_grad_and_leave_parameters_alone():
    layer = xnn.nn.Linear(2, 1)
    x = np.ones((3, 2), dtype="float32")
    with xnn.no_grad():
        value, dx = xnn.value_and_grad(lambda x: xnn.sum(layer(x)))(x)
    assert is_plain(value)
    assert dx.shape == (3, 2)
    assert layer.weight.grad is None
    assert layer.bias.grad is None
    t = xnn.Tensor(x, requires_grad=True)
    xnn.grad(lambda x: xnn.sum(layer(x)))(t)
    assert t.grad is None
