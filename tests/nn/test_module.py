from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from support import assert_close, host, is_plain, leaf, needs_torch, put, torch

import xnn
from xnn import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.scale = nn.Parameter([2.0])
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(6, 3, bias=False))
        self.register_buffer("offset", np.full(3, 0.5, "float32"))
        self.register_buffer("scratch", np.zeros(2, "float32"), persistent=False)

    def forward(self, x):
        return self.rest(self.scale * self.norm(self.first(x))) + self.offset


if torch is not None:

    class TorchNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(4, 6)
            self.norm = torch.nn.BatchNorm1d(6)
            self.scale = torch.nn.Parameter(torch.tensor([2.0]))
            self.rest = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(6, 3, bias=False))
            self.register_buffer("offset", torch.full((3,), 0.5))
            self.register_buffer("scratch", torch.zeros(2), persistent=False)

        def forward(self, x):
            return self.rest(self.scale * self.norm(self.first(x))) + self.offset


PARAMETERS = ["scale", "first.weight", "first.bias", "norm.weight", "norm.bias", "rest.1.weight"]


@pytest.fixture
def x(rng):
    return rng.standard_normal((5, 4)).astype("float32")


# --- PyTorch's state ---


@needs_torch
def test_names_of_torch_and_its_state_gives_its_output(device, x):
    theirs, ours = TorchNet(), Net().to(device)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()] == PARAMETERS
    assert [n for n, _ in ours.named_buffers()] == [n for n, _ in theirs.named_buffers()]
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]
    for name, value in theirs.state_dict().items():
        assert tuple(ours.state_dict()[name].shape) == tuple(value.shape)
    theirs(torch.tensor(x))
    ours.load_state_dict(theirs.state_dict())
    assert ours.norm.num_batches_tracked == 1
    for model in (theirs, ours):
        model.eval()
    assert_close(ours(put(device, x)), theirs(torch.tensor(x)), device=device)
    # And back.
    theirs.load_state_dict({k: torch.tensor(host(v)) for k, v in ours.state_dict().items()})


# --- registration ---


def test_what_is_registered():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == PARAMETERS
    assert len(list(net.parameters())) == 6
    assert [n for n, _ in net.named_children()] == ["first", "norm", "rest"]
    assert [type(m).__name__ for m in net.children()] == ["Linear", "BatchNorm1d", "Sequential"]
    assert dict(net.named_buffers())["norm.num_batches_tracked"] == 0
    assert len(list(net.buffers())) == 5
    assert net.get_submodule("rest.1") is net.rest[1]
    assert net.get_submodule("") is net
    with pytest.raises(AttributeError, match=r"Sequential has no Module '7' \(looking for 'rest.7'\)"):
        net.get_submodule("rest.7")


def test_shared_parts_are_seen_once_but_stay_in_the_state():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    twice = nn.Sequential(net[0], net[0])
    assert [n for n, _ in twice.named_modules()] == ["", "0"]
    assert len(list(twice.parameters())) == 2
    twice.to(dtype="float64")
    assert twice(np.ones((1, 3))).dtype == np.float64


def test_gradients_of_a_shared_parameter_add_up(x):
    one = nn.Linear(4, 4)
    t = xnn.Tensor(x)
    xnn.sum(one(one(t))).backward()
    shared = one.weight.grad
    a, b = copy.deepcopy(one), copy.deepcopy(one)
    a.zero_grad()
    b.zero_grad()
    xnn.sum(b(a(t))).backward()
    assert_close(shared, a.weight.grad + b.weight.grad)


def test_assigning_anew():
    layer = nn.Linear(2, 3)
    layer.weight = nn.Parameter(np.ones((3, 2)))
    assert [n for n, _ in layer.named_parameters()] == ["weight", "bias"]
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    assert layer(np.ones((1, 2))).data.tolist() == [[2, 2, 2]]
    with pytest.raises(
        TypeError, match=r"Linear.weight is a parameter: expected a Parameter or None, got ndarray"
    ):
        layer.weight = np.ones((3, 2))
    net = Net()
    with pytest.raises(TypeError, match=r"Net.first is a Module: expected a Module or None, got int"):
        net.first = 3
    net.first = nn.Identity()
    assert [n for n, _ in net.named_children()] == ["first", "norm", "rest"]
    del net.scale
    assert "scale" not in dict(net.named_parameters())
    assert not hasattr(net, "scale")
    net.offset = np.zeros(3, "float32")
    assert dict(net.named_buffers())["offset"].sum() == 0


def test_registration_errors():
    module = nn.Module()
    with pytest.raises(ValueError, match=r"Module: expected a name without dots, got 'a.b'"):
        module.register_buffer("a.b", np.ones(1))
    with pytest.raises(KeyError, match="the attribute 'forward' exists already"):
        module.register_buffer("forward", np.ones(1))
    with pytest.raises(TypeError, match="register_parameter: expected a Parameter or None, got ndarray"):
        module.register_parameter("w", np.ones(1))
    with pytest.raises(TypeError, match="Module: expected a Module as 'm', got int"):
        module.register_module("m", 3)

    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 1)

    with pytest.raises(
        AttributeError, match=r"Forgetful: call super\(\).__init__\(\) before assigning 'layer'"
    ):
        Forgetful()
    with pytest.raises(NotImplementedError, match="Module defines no forward"):
        module(np.ones(1))


def test_parameter():
    p = nn.Parameter([1.0, 2.0])
    assert p.requires_grad
    assert p.dtype == np.float32
    array = np.ones(3)
    assert nn.Parameter(array).data is array
    assert nn.Parameter(xnn.Tensor(array)).data is array
    assert not nn.Parameter(array, requires_grad=False).requires_grad
    assert repr(nn.Parameter(array)) == "Parameter(array([1., 1., 1.]))"
    with pytest.raises(TypeError, match="requires_grad: expected a real floating-point dtype, got int64"):
        nn.Parameter(np.asarray([1]))


# --- state ---


def test_round_trip_and_other_dtypes(device, x):
    a, b = Net().to(device), Net().to(device, "float64")
    a(put(device, x))
    b.load_state_dict(a.state_dict())
    assert b.norm.num_batches_tracked == 1
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        assert_close(q.data, host(p.data).astype("float64"), device=device)
        assert p is not q, name
    # What was loaded is a copy.
    a.scale.data = a.scale.data * 3
    assert host(b.scale.data).tolist() == [2.0]


def test_loading_what_does_not_fit_changes_nothing():
    net = Net()
    before = {k: host(v).copy() for k, v in net.state_dict().items()}
    state = {k: v + 1 for k, v in before.items()}
    state["first.weight"] = np.ones((6, 5))
    del state["scale"]
    state["extra"] = np.ones(1)
    with pytest.raises(ValueError, match="load_state_dict of Net") as error:
        net.load_state_dict(state)
    for part in [
        r"missing 'scale' of shape (1,)",
        "unknown 'extra'",
        "'first.weight': expected shape (6, 4), got (6, 5)",
    ]:
        assert part in str(error.value)
    with pytest.raises(ValueError, match=r"'first.weight': expected shape \(6, 4\), got \(6, 5\)"):
        net.load_state_dict(state, strict=False)
    for k, v in net.state_dict().items():
        np.testing.assert_array_equal(host(v), before[k])


@needs_torch
def test_a_conversion_that_fails_changes_nothing():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    before = {k: host(v).copy() for k, v in net.state_dict().items()}
    state = {k: torch.tensor(v + 1) for k, v in before.items()}
    state["1.bias"] = torch.ones(2, dtype=torch.float32).to_sparse()
    with pytest.raises((TypeError, RuntimeError)):
        net.load_state_dict(state)
    for k, v in net.state_dict().items():
        np.testing.assert_array_equal(host(v), before[k])


def test_loading_a_part():
    net = Net()
    net.load_state_dict({"scale": np.asarray([7.0]), "extra": np.ones(1)}, strict=False)
    assert net.scale.data.tolist() == [7.0]
    assert net.scale.dtype == np.float32


# --- switching ---


def test_train_and_eval_reach_everything():
    net = Net()
    assert all(m.training for m in net.modules())
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.train()
    net.norm.eval()
    assert [m.training for m in (net, net.norm, net.first)] == [True, False, True]


def test_plain_arrays_in_eval_mode_give_plain_arrays_and_record_nothing(device, x):
    net = Net().to(device)
    array = put(device, x)
    assert isinstance(net(array), xnn.Tensor)
    net.eval()
    y = net(array)
    assert is_plain(y)
    recorded = net(xnn.Tensor(array))
    assert isinstance(recorded, xnn.Tensor)
    assert recorded.requires_grad
    assert_close(y, host(recorded), device=device)
    with xnn.no_grad():
        assert not net(xnn.Tensor(array)).requires_grad
    # An error inside leaves nothing switched off.
    with pytest.raises(ValueError, match="linear: expected"):
        net(put(device, x[:, :2]))
    assert net(xnn.Tensor(array)).requires_grad


def test_keyword_arguments_decide_too(x):
    class Takes(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter([2.0])

        def forward(self, a, *, b):
            return a * self.w + b

    module = Takes().eval()
    assert is_plain(module(x, b=x))
    assert isinstance(module(x, b=xnn.Tensor(x)), xnn.Tensor)


def test_to_dtype_and_device(device, x):
    net = Net()
    parameters = list(net.parameters())
    xnn.sum(net(x)).backward()
    assert net.to(device, "float64") is net
    assert all(p is q for p, q in zip(parameters, net.parameters(), strict=True))
    for p in parameters:
        assert xnn.backends.device_of(p.data) == device
        assert xnn.backends.dtype_name(p.dtype) == "float64"
        assert p.grad.dtype == p.dtype
    assert xnn.backends.dtype_name(net.offset.dtype) == "float64"
    assert net.norm.num_batches_tracked == 1
    net.eval()
    y = net(put(device, x, "float64"))
    assert_close(y, host(y), device=device)
    with pytest.raises(TypeError, match=r"Net.to: expected a real floating-point dtype, got 'int64'"):
        net.to(dtype="int64")


def test_zero_grad_and_freezing(x):
    net = Net()
    net.first.requires_grad_(False)
    xnn.sum(net(x) ** 2).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == ["first.weight", "first.bias"]
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_apply_goes_from_the_inside_out():
    seen = []
    net = Net()
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Linear", "BatchNorm1d", "ReLU", "Linear", "Sequential", "Net"]


# --- the rest ---


def test_repr():
    assert repr(Net()) == (
        "Net(\n"
        "  (first): Linear(in_features=4, out_features=6, bias=True)\n"
        "  (norm): BatchNorm1d(6, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)\n"
        "  (rest): Sequential(\n"
        "    (0): ReLU()\n"
        "    (1): Linear(in_features=6, out_features=3, bias=False)\n"
        "  )\n"
        ")"
    )


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(x, copied):
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.1), nn.Linear(4, 4))
    net[3].weight = net[0].weight
    net(x)
    other = copied(net).eval()
    net.eval()
    np.testing.assert_array_equal(other(x), net(x))
    assert other[3].weight is other[0].weight
    assert other[0].weight is not net[0].weight
    assert isinstance(other[0].weight, nn.Parameter)
    assert other[1].num_batches_tracked == 1
    other[0].weight.data[...] = 0
    assert host(net[0].weight.data).any()


def test_vjp_by_hand(device, x):
    net = Net().to(device).eval()
    y, backward = net.vjp(put(device, x))
    assert is_plain(y)
    dy = put(device, np.ones((5, 3)), "float32")
    dx = backward(dy)
    t = leaf(device, x)
    other = copy.deepcopy(net)
    other.zero_grad()
    other(t).backward(dy)
    assert is_plain(dx)
    assert_close(dx, host(t.grad), device=device)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert_close(p.grad, host(q.grad), device=device)
    # Once more: gradients of parameters add up, that of the input does not.
    assert_close(backward(dy), host(dx))
    assert_close(net.scale.grad, 2 * host(other.scale.grad))


def test_gradcheck_of_a_whole_model(device, rng):
    net = Net().to(device, "float64")
    xnn.gradcheck(net, put(device, rng.standard_normal((5, 4))))
