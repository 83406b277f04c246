"""Launch every registered CUDA kernel on small shapes, for compute-sanitizer to watch.

    python ci/launch_kernels.py [--device cuda:0|emulated] [--no-pool] [NAME ...]

Results are not looked at here: the tests do that. A kernel that was not launched, because it declined its input or
because nothing small is known to give it, is an error; so is a ``__global__`` function of any ``.cu`` file that no
input led to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from xnn.backends import registry
from xnn.backends.cupy import kernels
from xnn.backends.cupy.launch import Kernel
from xnn.backends.cupy.source import read_source

import xnn
from xnn import optim, random

Call = tuple[tuple[Any, ...], dict[str, Any]]

KERNELS = Path(kernels.__file__).parent

# Rows that end inside a vector load, a warp and a block.
SHAPES = [(1, 1), (3, 2), (33, 5), (2, 130), (2, 1027), (1, 4099)]


class Inputs:
    """Small inputs on a device in a dtype, the same in each run."""

    def __init__(self, device: xnn.Device, dtype: str) -> None:
        self.device, self.dtype = device, dtype
        self.generator = random.Generator(0)

    def numbers(self, *shape: int) -> Any:
        """Normally distributed."""
        values = np.asarray(self.generator.normal(shape))
        return self.device.asarray(
            values.astype(ml_dtypes.bfloat16 if self.dtype == "bfloat16" else self.dtype)
        )

    def whole(self, high: int, *shape: int) -> Any:
        """Integers in [0, high)."""
        return self.device.asarray(self.generator.integers(shape, 0, high))


def elementwise(make: Inputs, **options: Any) -> Iterator[Call]:
    """One array."""
    for shape in SHAPES:
        yield (make.numbers(*shape),), options


def with_bias(make: Inputs) -> Iterator[Call]:
    """An array and a bias along its last dimension."""
    for shape in SHAPES:
        yield (make.numbers(*shape), make.numbers(shape[-1])), {}


def cross_entropy(make: Inputs) -> Iterator[Call]:
    """With every option."""
    for n, c in SHAPES:
        logits, target = make.numbers(n, c), make.whole(c, n)
        yield (logits, target), {}
        yield (logits, target), {"reduction": "none", "label_smoothing": 0.1}
        weight = make.device.xp.abs(make.numbers(c)) + 1
        yield (logits, target, weight), {"ignore_index": 0, "reduction": "sum"}
        yield (logits, 2 * target - 1, weight), {"reduction": "none"}  # some are out of range


def normalised_rows(make: Inputs, bias: bool) -> Iterator[Call]:
    """For layer and RMS normalisation: with weights and without."""
    for n, c in [*SHAPES, (2, 4104), (1, 16_400)]:
        x = make.numbers(n, c)
        yield (x, (c,)), {}
        yield (x, (c,), make.numbers(c), *([make.numbers(c)] if bias else [])), {}


def normalised_channels(make: Inputs, running: bool) -> Iterator[Call]:
    """For batch normalisation: few and many values per channel."""
    for shape in [(7, 3), (130, 33), (2100, 45), (6200, 2), (2, 3, 5, 5), (9, 2, 33, 33)]:
        c = shape[1]
        statistics = [make.numbers(c), make.device.xp.abs(make.numbers(c)) + 1] if running else []
        yield (make.numbers(*shape), *statistics, make.numbers(c), make.numbers(c)), {}


def embedding(make: Inputs) -> Iterator[Call]:
    """Rows that occur often, rows that never do, and indices out of range."""
    for rows, width, count in [(1, 1, 5), (10, 7, 100), (50, 130, 33)]:
        indices, weight = make.whole(rows, count), make.numbers(rows, width)
        yield (indices, weight), {}
        yield (2 * indices - 1, weight), {}


def lists(make: Inputs) -> list[Any]:
    """Arrays of many sizes, as the gradients of a model."""
    return [make.numbers(*shape) for shape in [(1,), (7,), (33, 5), (4099,), (130, 70)]]


def of_lists(make: Inputs) -> Iterator[Call]:
    """For the norm of gradients."""
    yield tuple(lists(make)), {"p": 2.0}


def scaled_lists(make: Inputs) -> Iterator[Call]:
    """For clipping."""
    yield (make.device.asarray(3.0, dtype="float32"), *lists(make)), {"max_norm": 1.0}


def dropout(make: Inputs) -> Iterator[Call]:
    """With a key, which decides the mask."""
    for shape in SHAPES:
        yield (make.numbers(*shape),), {"p": 0.3, "key": make.generator.next_key()}


SMALL: dict[str, Callable[[Inputs], Iterator[Call]]] = {
    "bias_gelu": with_bias,
    "bias_silu": with_bias,
    "cross_entropy": cross_entropy,
    "layer_norm": lambda make: normalised_rows(make, bias=True),
    "rms_norm": lambda make: normalised_rows(make, bias=False),
    "batch_norm_training": lambda make: normalised_channels(make, running=False),
    "batch_norm": lambda make: normalised_channels(make, running=True),
    "embedding": embedding,
    "total_norm": of_lists,
    "scale_to_norm": scaled_lists,
    "keyed_dropout": dropout,
    "gelu": elementwise,
    "silu": elementwise,
    "softmax": elementwise,
    "log_softmax": elementwise,
}
RULES: dict[str, list[Callable[[Any], optim.Optimizer]]] = {
    "sgd": [optim.SGD, lambda p: optim.SGD(p, momentum=0.9, nesterov=True, weight_decay=0.1)],
    "adam": [optim.Adam, optim.AdamW, lambda p: optim.Adam(p, amsgrad=True)],
    "lion": [optim.Lion],
}


def drive(entry: registry.Registered, device: xnn.Device, dtype: str) -> None:
    """Give the kernel's operation something to do, forward and backward."""
    make, name = Inputs(device, dtype), entry.operation.name
    if name in RULES:
        for optimizer in RULES[name]:
            params = [xnn.nn.Parameter(x) for x in lists(make)]
            trained = optimizer(params)
            for _ in range(2):
                for p in params:
                    p.grad = make.numbers(*p.shape)
                trained.step()
            if dtype in ("float16", "bfloat16"):  # half weights whose states are float32
                states = [{k: widened(make, v) for k, v in trained.state[p].items()} for p in params]
                values, grads = [p.data for p in params], [p.grad for p in params]
                group = trained.param_groups[0]
                trained.rule.update_group(values, grads, states, {k: group[k] for k in trained.defaults})
        return
    for args, kwargs in SMALL[name](make) if name in SMALL else smallest_case(entry, device, dtype):
        y, backward = entry.operation.vjp(*args, **kwargs)
        if backward is not None:
            ys = y if isinstance(y, tuple) else (y,)
            dys = tuple(device.xp.ones_like(part) for part in ys)
            backward(dys if isinstance(y, tuple) else dys[0])


def widened(make: Inputs, value: Any) -> Any:
    """An array of a state in float32; its other entries as they are."""
    return make.device.asarray(value, dtype="float32") if hasattr(value, "dtype") else value


def smallest_case(entry: registry.Registered, device: xnn.Device, dtype: str) -> Iterator[Call]:
    """Of what is measured, for a kernel that this file does not know."""
    if not entry.cases:
        raise LookupError(f"nothing small is known for {entry.name}: add it to SMALL in {__file__}")
    yield min(entry.cases, key=lambda case: case.forward(4).bytes).make(device, dtype)


def main() -> int:
    """Launch all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="of operations; all by default")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument(
        "--no-pool", action="store_true", help="memory of each array from CUDA: what is past its end is"
    )
    options = parser.parse_args()

    registry.load("cupy")
    launched: dict[int, int] = {}
    names: set[str] = set()
    launch_one = Kernel.__call__

    def launch(self: Kernel, *args: Any, **kwargs: Any) -> None:
        names.add(self.name)
        launch_one(self, *args, **kwargs)

    Kernel.__call__ = launch  # type: ignore[method-assign]

    def counted(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            launched[number] = launched.get(number, 0) + (result is not NotImplemented)
            return result

        return run

    # Before the device is first used, which is when operations learn of their kernels.
    registry.KERNELS[:] = [
        e._replace(function=counted(i, e.function)) for i, e in enumerate(registry.KERNELS)
    ]
    device = xnn.device(options.device)
    if options.no_pool:
        import cupy

        cupy.cuda.set_allocator(None)
    bad = 0
    for number, entry in enumerate(registry.KERNELS):
        if options.names and entry.operation.name not in options.names:
            continue
        for dtype in entry.dtypes:
            launched[number] = 0
            try:
                drive(entry, device, dtype)
                device.synchronize()
                result = (
                    f"{launched[number]} calls" if launched[number] else "NOT LAUNCHED: it declined its input"
                )
            except Exception as error:
                result = f"FAILED: {type(error).__name__}: {error}"
            bad += not result.endswith("calls")
            print(f"{entry.name:28} {dtype:9} {result}", flush=True)
    if not options.names:
        for dtype in ("float32", "float64"):  # random numbers, which no operation stands for
            for size in (1, 255, 4099):
                device.uniform((1, 2), (size,), 0.0, 1.0, dtype)
        device.synchronize()
        for path in sorted(KERNELS.glob("*.cu")):
            for name in sorted(read_source(path).signatures.keys() - names):
                print(f"{path.name}: NOT LAUNCHED: no input here leads to {name}")
                bad += 1
    print(f"{len(registry.KERNELS)} kernels of operations, {len(names)} functions, {bad} failures")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
