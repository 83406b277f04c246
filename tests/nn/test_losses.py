from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, is_plain, leaf, needs_torch, put, torch

import xnn
from xnn import nn

W = [0.5, 2.0, 1.0]
CASES = [
    ("CrossEntropyLoss", {}, "classes"),
    ("CrossEntropyLoss", {"weight": W, "ignore_index": 1, "label_smoothing": 0.1}, "classes"),
    ("CrossEntropyLoss", {"reduction": "sum"}, "probabilities"),
    ("NLLLoss", {}, "classes"),
    ("NLLLoss", {"weight": W, "ignore_index": 0, "reduction": "none"}, "classes"),
    ("MSELoss", {}, "numbers"),
    ("MSELoss", {"reduction": "none"}, "numbers"),
    ("BCEWithLogitsLoss", {}, "probabilities"),
    ("BCEWithLogitsLoss", {"weight": W, "pos_weight": [3.0, 1.0, 0.1], "reduction": "sum"}, "probabilities"),
    ("L1Loss", {}, "numbers"),
    ("SmoothL1Loss", {"beta": 0.4}, "numbers"),
    ("HuberLoss", {"delta": 0.4, "reduction": "sum"}, "numbers"),
    ("KLDivLoss", {"reduction": "batchmean"}, "probabilities"),
    ("KLDivLoss", {"log_target": True, "reduction": "sum"}, "numbers"),
]


@needs_torch
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]} {c[1]}")
def test_as_torch(device, rng, case):
    name, options, kind = case
    x = rng.standard_normal((5, 3))
    target = {
        "classes": rng.integers(0, 3, 5),
        "probabilities": rng.dirichlet(np.ones(3), 5),
        "numbers": rng.standard_normal((5, 3)),
    }[kind]
    theirs = getattr(torch.nn, name)(
        **{k: torch.tensor(v, dtype=torch.float64) if isinstance(v, list) else v for k, v in options.items()}
    )
    ours = getattr(nn, name)(
        **{k: np.asarray(v) if isinstance(v, list) else v for k, v in options.items()}
    ).to(device)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    t = torch.tensor(x, requires_grad=True)
    want = theirs(t, torch.tensor(target))
    mine = leaf(device, x)
    loss = ours(mine, put(device, target))
    assert_close(loss, want, device=device)
    want.sum().backward()
    xnn.sum(loss).backward()
    assert_close(mine.grad, t.grad, device=device)
    assert is_plain(ours.eval()(put(device, x), put(device, target)))


def test_softmax_mse(device, rng):
    x, classes = rng.standard_normal((5, 3)), rng.integers(0, 3, 5)
    one_hot = np.eye(3)[classes]
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    want = np.asarray(((p - one_hot) ** 2).mean())
    assert_close(nn.SoftmaxMSELoss()(put(device, x), put(device, one_hot)), want, device=device)
    assert_close(nn.SoftmaxMSELoss()(put(device, x), put(device, classes)), want, device=device)
    total = nn.SoftmaxMSELoss(dim=0, reduction="sum")(put(device, x.T), put(device, one_hot.T))
    assert_close(total, want * 15, device=device)
    assert repr(nn.SoftmaxMSELoss()) == "SoftmaxMSELoss(dim=-1, reduction='mean')"


def test_weights_are_buffers(device):
    loss = nn.CrossEntropyLoss(weight=[1, 2.0]).to(device, "float64")
    assert [name for name, _ in loss.named_buffers()] == ["weight"]
    assert not list(loss.parameters())
    assert_close(loss.weight, np.asarray([1.0, 2.0]), device=device)
    of_tensor = nn.BCEWithLogitsLoss(pos_weight=xnn.tensor([3.0]))
    assert is_plain(of_tensor.pos_weight)


def test_errors():
    with pytest.raises(ValueError, match="MSELoss: expected reduction 'mean', 'sum' or 'none', got 'avg'"):
        nn.MSELoss("avg")
    with pytest.raises(ValueError, match=r"CrossEntropyLoss: expected reduction .* got 'batchmean'"):
        nn.CrossEntropyLoss(reduction="batchmean")
    with pytest.raises(ValueError, match=r"CrossEntropyLoss: expected label_smoothing in \[0, 1\], got 2"):
        nn.CrossEntropyLoss(label_smoothing=2)
    with pytest.raises(ValueError, match="HuberLoss: expected delta > 0, got 0"):
        nn.HuberLoss(delta=0)
    with pytest.raises(ValueError, match="SmoothL1Loss: expected beta >= 0, got -1"):
        nn.SmoothL1Loss(beta=-1)
