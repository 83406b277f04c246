"""What a device can do at best, measured: the roof under which all else is seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from xnn.backends.registry import Work
from xnn.backends.timing import Meter
from xnn.bench.inputs import has_dtype, random_array
from xnn.bench.measure import Times, alternate

__all__ = ["Ceilings", "measure_ceilings"]

_LARGEST_COPY = 2 << 30
_SMALLEST_MATRIX, _LARGEST_MATRIX = 256, 16_384


@dataclass(frozen=True)
class Ceilings:
    """The measured limits of a device.

    Attributes:
        bandwidth: of a large copy at its best, in bytes read and written per second.
        rates: of a large matrix product at its best, in operations per second, by dtype.
        copied: the size of the array that was copied, in bytes.
        sizes: the number of rows of the square matrices, by dtype.
    """

    bandwidth: float
    rates: dict[str, float] = field(default_factory=dict)
    copied: int = 0
    sizes: dict[str, int] = field(default_factory=dict)

    def least_seconds(self, work: Work, dtype: str) -> float:
        """No implementation of ``work`` is much faster than this: moving the bytes or the arithmetic takes as long."""
        rate = self.rates.get(dtype, 0.0)
        return max(work.bytes / self.bandwidth, work.operations / rate if rate else 0.0)


def measure_ceilings(meter: Meter, dtypes: Iterable[str], *, seconds: float = 1.0) -> Ceilings:
    """Measure a copy of many times the cache's size and, for each dtype, a product of matrices that fill the device.

    Args:
        meter: of the device.
        dtypes: names; those that the device does not have are left out.
        seconds: for each of the measurements, about.
    """
    device = meter.device
    copied = min(max(8 * meter.cache_bytes(), 64 << 20), _LARGEST_COPY, meter.free_bytes() // 8)
    source = random_array(device, (copied // 4096, 1024), "float32")
    target = device.xp.empty_like(source)
    moved = 2 * source.shape[0] * 4096
    bandwidth = moved / min(_time(meter, lambda: meter.copy(target, source), seconds).samples)
    rates, sizes = {}, {}
    for dtype in dtypes:
        if has_dtype(device, dtype):
            sizes[dtype], rates[dtype] = _matrix_product(meter, dtype, seconds)
    meter.release()
    return Ceilings(bandwidth, rates, moved // 2, sizes)


def _matrix_product(meter: Meter, dtype: str, seconds: float) -> tuple[int, float]:
    """The best rate over growing sizes, until one product takes a tenth of the time there is."""
    n, best = _SMALLEST_MATRIX, (0, 0.0)
    while True:
        a, b = (random_array(meter.device, (n, n), dtype) for _ in range(2))
        least = min(_time(meter, lambda a=a, b=b: a @ b, seconds / 4).samples)
        best = max(best, (n, 2.0 * n**3 / least), key=lambda pair: pair[1])
        if least > seconds / 10 or n >= _LARGEST_MATRIX:
            return best
        n *= 2


def _time(meter: Meter, function: object, seconds: float) -> Times:
    return alternate(
        {"": function},  # type: ignore[dict-item]
        meter=meter, rounds=15, seconds_per_round=seconds / 30, seconds=seconds,
    )[""]  # fmt: skip
