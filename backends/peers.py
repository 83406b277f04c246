"""PyTorch, as what xnn is measured against: the same operation on the same device and the same numbers."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xnn.backends.cupy.device import CudaDevice
from xnn.backends.device import Device
from xnn.backends.namespaces import dtype_name, is_array
from xnn.backends.numpy import HostDevice
from xnn.backends.timing import cores

__all__ = ["PyTorch", "Unavailable"]


class Unavailable(Exception):
    """There is nothing to compare with; the message says why."""


class PyTorch:
    """PyTorch on the device where xnn is measured.

    Raises:
        Unavailable: it is not installed, or does not run on the device.
    """

    def __init__(self, device: Device) -> None:
        if importlib.util.find_spec("torch") is None:
            raise Unavailable("PyTorch is not installed")
        self.torch = torch = importlib.import_module("torch")
        if isinstance(device, CudaDevice):
            if not torch.cuda.is_available():
                raise Unavailable(f"PyTorch {torch.__version__} finds no CUDA device")
            self.device = torch.device("cuda", device.index)
        elif isinstance(device, HostDevice):
            self.device = torch.device("cpu")
            torch.set_num_threads(cores())
        else:
            raise Unavailable(f"PyTorch is not compared on {device}")

    @property
    def version(self) -> str:
        """Of PyTorch, and what it was built for."""
        return str(self.torch.__version__)

    def release(self) -> None:
        """Free what PyTorch keeps of the GPU's memory for later."""
        if self.device.type == "cuda":
            self.torch.cuda.empty_cache()

    def tensors(self, value: Any) -> Any:
        """Arrays become tensors on the same memory, also inside lists and dictionaries; the rest stays as it is."""
        if is_array(value):
            if (
                dtype_name(value.dtype) == "bfloat16"
            ):  # not every library hands it over: as the bits that it is
                return self._tensor(value.view("int16")).view(self.torch.bfloat16)
            return self._tensor(value)
        if type(value) in (list, tuple):
            return type(value)(map(self.tensors, value))
        if isinstance(value, dict):
            return {name: self.tensors(v) for name, v in value.items()}
        return value

    def _tensor(self, array: Any) -> Any:
        if self.device.type == "cpu":
            if not array.flags.writeable:
                array = array.copy()
            return self.torch.asarray(array)
        return self.torch.from_dlpack(array)

    def function(self, name: str, *, compiled: bool = False) -> Callable[..., Any]:
        """What PyTorch has for the operation that xnn calls ``name``: by the same name, or the table below.

        Raises:
            Unavailable: PyTorch has no such operation.
        """
        torch = self.torch
        found: Any
        if name in _OWN:
            found = functools.partial(_OWN[name], torch)
        else:
            found = getattr(torch.nn.functional, name, None) or getattr(torch, name, None)
        if not callable(found):
            raise Unavailable(f"PyTorch has no {name}")
        return self._compile(found) if compiled else found

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        torch = self.torch
        torch._dynamo.reset()
        torch._functorch.config.donated_buffer = False  # backward functions are run more than once here
        return _explained(torch.compile(function, dynamic=False))

    def call(
        self, name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Callable[[], Any], list[Any]]:
        """A call of ``function`` on arrays of xnn, which records, and the tensors that get a gradient."""
        tensors, options = self.tensors(tuple(args)), self.tensors(dict(kwargs))
        wanted = _DIFFERENTIABLE.get(name, range(len(tensors)))
        leaves = [
            t.requires_grad_(True)
            for i, t in enumerate(tensors)
            if i in wanted and self.torch.is_tensor(t) and t.is_floating_point()
        ]
        return functools.partial(function, *tensors, **options), leaves

    def backward(self, y: Any, dy: Any, leaves: Sequence[Any]) -> Callable[[], Any]:
        """A call of the backward of ``y``, as often as one likes."""
        gradient = self.tensors(dy)
        return lambda: self.torch.autograd.grad(y, leaves, gradient, retain_graph=True, allow_unused=True)

    def difference(self, y: Any, expected: Any) -> float:
        """‖y - expected‖ / ‖expected‖, of the first result if there are several. NaN where there is a NaN."""
        y = y[0] if isinstance(y, (list, tuple)) else y
        y, expected = y.detach(), self.tensors(expected)
        if y.shape != expected.shape:
            return float("nan")
        wide = self.torch.float64 if y.dtype == self.torch.float64 else self.torch.float32
        y, expected = y.to(wide), expected.to(wide)
        norm = self.torch.linalg.vector_norm
        return float(norm(y - expected) / norm(expected).clamp_min(1e-30))

    def update(self, name: str, args: Sequence[Any], options: Mapping[str, Any]) -> Callable[[], Any]:
        """A call of the step of an optimizer on lists of parameters and gradients.

        The fused implementation where there is one, the fastest that PyTorch has.
        """
        optimizer = _OPTIMIZERS.get(name)
        if optimizer is None:
            raise Unavailable(f"PyTorch has no {name}")
        params, grads = self.tensors(list(args[0])), self.tensors(list(args[1]))
        parameters = [self.torch.nn.Parameter(p) for p in params]
        for parameter, gradient in zip(parameters, grads, strict=True):
            parameter.grad = gradient
        built: Any = getattr(self.torch.optim, optimizer)(parameters, **options, fused=True)
        return built.step

    def training_step(
        self,
        sizes: Sequence[int],
        optimizer: str,
        options: Mapping[str, Any],
        state: Mapping[str, Any],
        x: Any,
        target: Any,
        *,
        compiled: bool = False,
    ) -> Callable[[], Any]:
        """A step of training a perceptron with ReLU from the weights ``state``; returns the loss as a tensor."""
        torch = self.torch
        layers: list[Any] = []
        for n_in, n_out in itertools.pairwise(sizes):
            layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1]).to(self.device)
        model.load_state_dict({name: self.tensors(array).clone() for name, array in state.items()})
        update = getattr(torch.optim, optimizer)(model.parameters(), **options)
        loss_of = torch.nn.CrossEntropyLoss()
        inputs, labels = self.tensors(x), self.tensors(target)
        run: Callable[[Any], Any] = model
        if compiled:
            run = self._compile(model)

        def step() -> Any:
            update.zero_grad()
            loss = loss_of(run(inputs), labels)
            loss.backward()
            update.step()
            return loss.detach()

        return step


def _explained(function: Callable[..., Any]) -> Callable[..., Any]:
    """The first run, which compiles, without warnings; a failure is told in one line."""
    compiled = False

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal compiled
        if compiled:
            return function(*args, **kwargs)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = function(*args, **kwargs)
        except Exception as error:  # compilers fail in many ways
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise Unavailable(f"torch.compile failed: {lines[0]}") from error
        compiled = True
        return result

    return call


# What has another name, other arguments or another form in PyTorch.
_OWN: dict[str, Callable[..., Any]] = {
    "softmax": lambda torch, x, dim=-1: torch.nn.functional.softmax(x, dim),
    "log_softmax": lambda torch, x, dim=-1: torch.nn.functional.log_softmax(x, dim),
    "batch_norm_training": lambda torch, x, weight=None, bias=None, eps=1e-5: torch.nn.functional.batch_norm(
        x, None, None, weight, bias, training=True, eps=eps
    ),
    "batch_norm": lambda torch, x, mean, var, weight=None, bias=None, eps=1e-5: (
        torch.nn.functional.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)
    ),
    "layer_norm": lambda torch, x, shape, *rest, **options: torch.nn.functional.layer_norm(
        x, (shape,) if isinstance(shape, int) else tuple(shape), *rest, **options
    ),
    "rms_norm": lambda torch, x, shape, *rest, **options: torch.nn.functional.rms_norm(
        x, (shape,) if isinstance(shape, int) else tuple(shape), *rest, **options
    ),
    "keyed_dropout": lambda torch, x, p, key=None: torch.nn.functional.dropout(x, p),
    "bias_gelu": lambda torch, x, bias, approximate="none": torch.nn.functional.gelu(
        x + bias, approximate=approximate
    ),
    "bias_silu": lambda torch, x, bias: torch.nn.functional.silu(x + bias),
    "total_norm": lambda torch, *grads, p: torch.nn.utils.get_total_norm(grads, p),
    "scale_to_norm": lambda torch, total, *grads, max_norm: torch._foreach_mul(
        list(grads), (max_norm / (total + 1e-6)).clamp(max=1.0).to(grads[0].dtype)
    ),
    "sum": lambda torch, x, axis=None, keepdims=False: torch.sum(x, axis, keepdims),
    "mean": lambda torch, x, axis=None, keepdims=False: torch.mean(x, axis, keepdims),
}

# The positional arguments that get a gradient, where not all of floating-point dtype do.
_DIFFERENTIABLE: dict[str, tuple[int, ...]] = {
    "cross_entropy": (0,),
    "nll_loss": (0,),
    "batch_norm": (0, 3, 4),
    "total_norm": (),
    "scale_to_norm": (),
}

_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "adagrad": "Adagrad"}
