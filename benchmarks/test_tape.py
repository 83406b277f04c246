"""What the tape costs: an operation on Tensors against the same operation driven by hand on plain arrays."""

from __future__ import annotations

import numpy as np
import pytest

import xnn
from xnn.bench import alternate

LENGTH = 100
CASES = {
    "one argument (sin)": (xnn.sin, 1),
    "two arguments (multiply)": (xnn.multiply, 2),
    "matrix product": (xnn.matmul, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_tape(case: str, record) -> None:
    operation, arity = CASES[case]
    x = np.eye(4, dtype="float32") * 0.5
    a, b = (xnn.Tensor(x, requires_grad=True) for _ in range(2))
    dy = np.ones((4, 4), dtype="float32")

    def by_hand() -> None:
        y, backwards = x, []
        for _ in range(LENGTH):
            y, backward = operation.vjp(y, x) if arity == 2 else operation.vjp(y)
            backwards.append(backward)
        g, total = dy, None
        for backward in reversed(backwards):
            if arity == 2:
                g, db = backward(g)
                total = db if total is None else total + db
            else:
                g = backward(g)

    def by_tape() -> None:
        a.grad = b.grad = None
        y = a
        for _ in range(LENGTH):
            y = operation(y, b) if arity == 2 else operation(y)
        y.backward(dy)

    times = alternate({"by hand": by_hand, "by tape": by_tape})
    cost = (times["by tape"].median - times["by hand"].median) / LENGTH * 1e6
    print(f"\n{case}: the tape costs {cost:.2f} us an operation, forward and backward together")
    record(times["by tape"].samples, tape_us_per_operation=round(cost, 2))
