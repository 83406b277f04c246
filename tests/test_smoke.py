import numpy as np
from support import assert_close, leaf, put, is_plain
import xnn, xnn.nn as nn, xnn.functional as F

def test_all(device, rng):
    m = nn.Sequential(nn.Linear(5, 3)).to(device)
    x = put(device, rng.standard_normal((4,5)), "float32")
    loss = F.cross_entropy(m(x), put(device, [0,1,2,1]))
    loss.backward()
    assert m[0].weight.grad.shape == (3,5)
    assert is_plain(m.eval()(x))
    x = put(device, rng.standard_normal((4,5)))
    xnn.gradcheck(lambda x: F.cross_entropy(x, put(device, [0,1,-100,1])), x)
    xnn.gradcheck(lambda x: F.cross_entropy(x, put(device, [0,1,2,1]), label_smoothing=.1, reduction="none"), x)
    xnn.gradcheck(F.relu, x)
    xnn.gradcheck(lambda x: xnn.take(x, put(device, [0,1,1,0]), axis=1), x)
    xnn.gradcheck(lambda x: x[1:3, ::2], x)
    xnn.gradcheck(lambda x: xnn.concat([x, x*2], axis=1), x)
    xnn.gradcheck(lambda x: xnn.unstack(x)[1] + xnn.unstack(x, axis=0)[2], x)
    xnn.gradcheck(lambda x: xnn.cumulative_sum(x, axis=1), x)
