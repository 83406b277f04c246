from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, host, is_plain, leaf, put

import xnn
import xnn.functional as F
from xnn.random import Generator, Key


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mask_and_scale(device, dtype):
    x = leaf(device, np.full((50, 40), 3.0), dtype)
    y = F.dropout(x, 0.25, generator=Generator(5))
    values = host(y)
    kept = values != 0
    assert abs(kept.mean() - 0.75) < 0.03
    np.testing.assert_allclose(values[kept], 3.0 / 0.75, rtol=1e-6)
    xnn.sum(y).backward()
    assert_close(x.grad, (kept / 0.75).astype(dtype), device=device)
    # The same mask on every device, and in every dtype.
    reference = F.dropout(np.ones((50, 40), "float32"), 0.25, generator=Generator(5))
    np.testing.assert_array_equal(kept, reference != 0)


def test_p_0_and_not_training_return_the_input_and_draw_nothing():
    x, source = np.ones(3), Generator(1)
    assert F.dropout(x, 0.0, generator=source) is x
    assert F.dropout(x, 0.5, training=False, generator=source) is x
    assert source.draws == 0
    assert F.dropout(x, 0.5, generator=source) is not x
    assert source.draws == 1


def test_p_1_gives_zeros(device):
    x = leaf(device, [1.0, np.inf, 3.0], "float32")
    y = F.dropout(x, 1.0)
    assert_close(y, np.zeros(3, "float32"), device=device)
    xnn.sum(y).backward()
    assert_close(x.grad, np.zeros(3, "float32"), device=device)


def test_a_key_gives_the_same_again(device, rng):
    x = put(device, rng.standard_normal((4, 5)))
    once = F.keyed_dropout(x, p=0.5, key=Key(3, 7))
    assert is_plain(once)
    assert_close(F.keyed_dropout(x, p=0.5, key=Key(3, 7)), host(once))
    assert (host(F.keyed_dropout(x, p=0.5, key=Key(3, 8))) != host(once)).any()


def test_gradient_and_its_derivative(device, rng):
    x = put(device, rng.standard_normal((4, 5)))
    xnn.gradcheck(lambda x: F.keyed_dropout(x, p=0.3, key=Key(0, 0)), x)
    t = leaf(device, host(x))
    mask = host(F.keyed_dropout(put(device, np.ones((4, 5))), p=0.3, key=Key(0, 0)))
    # The graph is run again for create_graph: with another mask this would not be 2 m² x and 2 m².
    y = xnn.sum(F.keyed_dropout(t, p=0.3, key=Key(0, 0)) ** 2)
    y.backward(create_graph=True)
    first, t.grad = t.grad, None
    assert_close(first, 2 * mask**2 * host(x))
    xnn.sum(first).backward()
    assert_close(t.grad, 2 * mask**2)


def test_the_default_generator_goes_on(rng):
    x = rng.standard_normal((10, 10))
    a, b = F.dropout(x), F.dropout(x)
    assert (a != b).any()
    xnn.manual_seed(0)
    np.testing.assert_array_equal(F.dropout(x), a)


def test_errors():
    for p in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"dropout: expected a probability p in \[0, 1\], got"):
            F.dropout(np.ones(3), p)
    with pytest.raises(TypeError, match="dropout: expected a real floating-point dtype, got int64"):
        F.dropout(np.ones(3, "int64"))
