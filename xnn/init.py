"""First values of parameters.

Every function fills a Tensor in place (its array is replaced) and returns it. The numbers come from
`xnn.random.default_generator` or the given generator, are drawn on the host in the Tensor's dtype, and are the same on
every device for one seed.

Fans: a weight of shape (out, in, k1, k2, ...) has fan_in = in k1 k2 ... and fan_out = out k1 k2 ....
"""

from __future__ import annotations

import math
from typing import Any

from xnn.backends import Device, DeviceLike, device_of, host_random
from xnn.backends import device as find_device
from xnn.backends.namespaces import Array
from xnn.random import Generator, default_generator
from xnn.tensor import Tensor

__all__ = [
    "calculate_gain",
    "constant_",
    "empty",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "lecun_normal_",
    "lecun_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def empty(shape: tuple[int, ...], *, dtype: Any = "float32", device: DeviceLike = "cpu") -> Array:
    """A plain array that is still to be filled."""
    place = find_device(device)
    return place.xp.empty(shape, dtype=place.dtype(dtype), device=place.handle)


def _place(tensor: Tensor) -> Device:
    """Where the values go. Raises TypeError for what cannot be filled in place."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"init: expected a Parameter or another Tensor, got {type(tensor).__name__}")
    return device_of(tensor.data)


def _fill(tensor: Tensor, values: Any) -> Tensor:
    tensor.data = _place(tensor).asarray(values, dtype=tensor.dtype)
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element ``val``."""
    place = _place(tensor)
    tensor.data = place.xp.full(tensor.shape, val, dtype=tensor.dtype, device=place.handle)
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Every element 1."""
    return constant_(tensor, 1.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix (ones on the diagonal of a matrix of any shape)."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: expected 2 dimensions, got shape {tuple(tensor.shape)}")
    place = _place(tensor)
    tensor.data = place.xp.eye(*tensor.shape, dtype=tensor.dtype, device=place.handle)
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform in [a, b)."""
    source = generator or default_generator
    tensor.data = source.uniform(tensor.shape, a, b, dtype=tensor.dtype, device=_place(tensor))
    return tensor


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Normal with mean and standard deviation ``std``."""
    source = generator or default_generator
    tensor.data = source.normal(tensor.shape, mean, std, dtype=tensor.dtype, device=_place(tensor))
    return tensor


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Normal with mean and standard deviation ``std``, given that the value lies in [a, b] (absolute limits)."""
    if not a < b:
        raise ValueError(f"trunc_normal_: expected a < b, got a={a}, b={b}")
    if not std > 0:
        raise ValueError(f"trunc_normal_: expected std > 0, got {std}")
    key = (generator or default_generator).next_key()
    z = host_random.truncated_normal(key, tensor.shape, (a - mean) / std, (b - mean) / std)
    return _fill(tensor, z * std + mean)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight: how many inputs make one output, and how many outputs one input goes to."""
    if len(shape) < 2:
        raise ValueError(f"fan in and fan out are defined for 2 or more dimensions, got shape {tuple(shape)}")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor on the standard deviation that keeps variances alike through a nonlinearity; as in PyTorch.

    ``param`` is the negative slope of ``"leaky_relu"`` (0.01 by default), whose gain is √(2 / (1 + slope²)).
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(
            f"calculate_gain: expected 'leaky_relu' or one of {', '.join(map(repr, _GAINS))}, got {nonlinearity!r}"
        )
    return _GAINS[nonlinearity]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform in ±gain √(6 / (fan_in + fan_out)). Glorot and Bengio 2010, eq. 16."""
    bound = gain * math.sqrt(6 / max(1, sum(fans(tensor.shape))))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation gain √(2 / (fan_in + fan_out)). Glorot and Bengio 2010."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(1, sum(fans(tensor.shape)))), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: expected mode 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor.shape)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Uniform in ±gain √(3 / fan). He et al. 2015. ``a`` is the negative slope of ``"leaky_relu"``."""
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal with standard deviation gain / √fan. He et al. 2015, eq. 10 and 14."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def lecun_uniform_(tensor: Tensor, generator: Generator | None = None) -> Tensor:
    """Uniform in ±√(3 / fan_in). LeCun et al., "Efficient BackProp", 1998, section 4.6."""
    bound = math.sqrt(3 / max(1, fans(tensor.shape)[0]))
    return uniform_(tensor, -bound, bound, generator)


def lecun_normal_(tensor: Tensor, generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation 1 / √fan_in. LeCun et al., "Efficient BackProp", 1998, section 4.6."""
    return normal_(tensor, 0.0, 1 / math.sqrt(max(1, fans(tensor.shape)[0])), generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """A (semi-)orthogonal matrix times ``gain``: rows, or columns if fewer, orthonormal. Saxe et al. 2013.

    Dimensions after the first are taken together. Q of the QR decomposition of a normal matrix, with the signs of R's
    diagonal moved into Q, which makes Q uniform over the orthogonal group (Mezzadri 2007).
    """
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: expected 2 or more dimensions, got shape {tuple(tensor.shape)}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    host = find_device("cpu").xp
    z = (generator or default_generator).normal((max(rows, columns), min(rows, columns)), dtype="float64")
    q, r = host.linalg.qr(z)
    diagonal = host.linalg.diagonal(r)
    q = q * host.where(diagonal < 0, -host.ones_like(diagonal), host.ones_like(diagonal))
    if rows < columns:
        q = q.T
    return _fill(tensor, host.reshape(q, tensor.shape) * gain)
