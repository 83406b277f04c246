"""Holding samples back: a validation or test part."""

from __future__ import annotations

from typing import Any

from xnn.backends import device as find_device
from xnn.backends import to_host
from xnn.backends.namespaces import Array, array_namespace, dtype_name
from xnn.data.fields import Fields
from xnn.random import Generator

__all__ = ["split"]


def split(
    arrays: Any, fraction: float | int, seed: int = 0, stratify: Array | None = None
) -> tuple[Any, Any]:
    """Divide samples at random into two parts. Within each, they keep their order.

        train, validation = split(data.train, 0.1, stratify=data.train.targets)

    Args:
        arrays: an array, or a tuple, list or dict of arrays with one sample per index of the first dimension.
        fraction: the share of the second part, in (0, 1); or its number of samples, an int.
        seed: the same seed, the same parts.
        stratify: class indices, integers of shape (N,): each class is divided in the same ratio, as far as
            whole samples allow (the remainder goes to the classes that lost most by rounding down).

    Returns:
        (rest, part), each of the structure of ``arrays``.

    Raises:
        ValueError: the arrays differ in length, or one part would be empty.

    As ``sklearn.model_selection.train_test_split``, which shuffles the samples too.
    """
    fields = Fields("split", arrays)
    n = fields.samples
    count = fraction if isinstance(fraction, int) else round(fraction * n)
    if not (isinstance(fraction, int) or 0.0 < fraction < 1.0) or not 0 < count < n:
        raise ValueError(
            f"split: expected a fraction in (0, 1) or a number of samples, with at least one of {n} samples "
            f"in each part, got {fraction!r}"
        )
    xp = find_device("cpu").xp
    order = Generator(seed).permutation(n)
    if stratify is None:
        part, rest = order[:count], order[count:]
    else:
        part, rest = _stratified(order, to_host(stratify), count)
    return fields.take(xp.sort(rest)), fields.take(xp.sort(part))


def _stratified(order: Array, labels: Array, count: int) -> tuple[Array, Array]:
    """``count`` samples and the others, each class in proportion, the first ones of ``order`` in each."""
    xp = array_namespace(order)
    n = order.shape[0]
    if tuple(labels.shape) != (n,) or not xp.isdtype(labels.dtype, "integral"):
        raise ValueError(
            f"split: expected stratify to hold integers of shape {(n,)}, "
            f"got {dtype_name(labels.dtype)} of shape {tuple(labels.shape)}"
        )
    grouped = xp.take(order, xp.argsort(xp.take(labels, order), stable=True))
    sizes = [int(size) for size in xp.unique_counts(labels).counts]
    quotas = [size * count // n for size in sizes]
    lost_most = sorted(range(len(sizes)), key=lambda c: -(sizes[c] * count % n))
    for c in lost_most[: count - sum(quotas)]:
        quotas[c] += 1
    chosen, others, start = [], [], 0
    for size, quota in zip(sizes, quotas, strict=True):
        chosen.append(grouped[start : start + quota])
        others.append(grouped[start + quota : start + size])
        start += size
    return xp.concat(chosen), xp.concat(others)
