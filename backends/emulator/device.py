"""A device whose arrays lie in the host's memory but are kept apart from NumPy's, and whose kernels are emulated.

On it the tests run what otherwise only a GPU would run: the kernels of backends/cupy, the Python that launches them,
and every decision that asks for the device. As with CuPy, its arrays do not mix with NumPy's, results without
dimensions are arrays and not numbers, and reading a value does not count as free.

    device = xnn.device("emulated")
    x = device.asarray([1.0, 2.0])
"""

from __future__ import annotations

import contextlib
import functools
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import array_api_compat.numpy
import numpy as np
from xnn.backends.device import Device
from xnn.backends.errors import DeviceError
from xnn.backends.namespaces import register_device_array

__all__ = ["NAMESPACE", "EmulatedArray", "EmulatedDevice", "EmulatorRuntime", "emulated_device"]


class _Place:
    """What arrays say as their device. As CuPy's, it has no hash."""

    def __eq__(self, other: object) -> bool:
        return str(other) == "emulated"

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return "emulated"

    __repr__ = __str__


_PLACE = _Place()


class EmulatedArray(np.ndarray):
    """An array on the emulated device. Operators and NumPy's functions take and give it; NumPy's own do not mix in."""

    @property
    def device(self) -> _Place:  # type: ignore[override]
        """Equal to ``"emulated"``."""
        return _PLACE

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return NAMESPACE

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        plain = [_plain(x, ufunc.__name__) for x in inputs]
        if out is not None:
            kwargs["out"] = tuple(_plain(x, ufunc.__name__) for x in out)
            getattr(ufunc, method)(*plain, **kwargs)
            return out[0] if len(out) == 1 else out
        kwargs = {name: _plain(value, ufunc.__name__) for name, value in kwargs.items()}
        result = getattr(ufunc, method)(*plain, **kwargs)
        return None if method == "at" else _emulated(result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _wrapped(function)(*args, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        return _emulated(self.view(np.ndarray)[_plain(key, "indexing")])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.view(np.ndarray)[_plain(key, "indexing")] = _plain(value, "indexing")

    def to_device(self, device: Any, /, *, stream: Any = None) -> EmulatedArray:
        """The array itself; there is one emulated device."""
        _check_device(device)
        return self

    def __reduce__(self) -> Any:
        return _rebuild, (np.array(self.view(np.ndarray)),)


def _rebuild(values: np.ndarray) -> EmulatedArray:
    return values.view(EmulatedArray)


def _plain(x: Any, name: str) -> Any:
    """NumPy's view of emulated arrays, in whatever they are nested; an array of NumPy's own does not belong here."""
    if isinstance(x, EmulatedArray):
        return x.view(np.ndarray)
    if type(x) is np.ndarray:
        raise TypeError(
            f"{name}: expected arrays on the emulated device, got a numpy.ndarray; move it with device.asarray(array)"
        )
    if type(x) in (tuple, list):
        return type(x)(_plain(part, name) for part in x)
    return x


def _emulated(x: Any) -> Any:
    """Arrays on the emulated device from NumPy's arrays and scalars, in whatever they are nested."""
    if isinstance(x, np.ndarray):
        return x if isinstance(x, EmulatedArray) else x.view(EmulatedArray)
    if isinstance(x, np.generic):
        return np.asarray(x).view(EmulatedArray)
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*map(_emulated, x))
    if type(x) in (tuple, list):
        return type(x)(_emulated(part) for part in x)
    return x


def _check_device(device: Any) -> None:
    if device is not None and str(device) != "emulated":
        raise ValueError(f"expected the device 'emulated', got {device!r}")


def _wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of NumPy's, on emulated arrays."""
    name = getattr(function, "__name__", str(function))

    @functools.wraps(function)
    def on_emulated(*args: Any, **kwargs: Any) -> Any:
        kwargs = {key: _plain(value, name) for key, value in kwargs.items()}
        _check_device(kwargs.pop("device", None))
        return _emulated(function(*[_plain(x, name) for x in args], **kwargs))

    return on_emulated


def _from_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """asarray and its like, which take NumPy arrays too: as with CuPy, this is the way to the device, and a copy."""

    @functools.wraps(function)
    def to_device(data: Any, *args: Any, **kwargs: Any) -> Any:
        _check_device(kwargs.pop("device", None))
        if isinstance(data, EmulatedArray):
            data = data.view(np.ndarray)
        elif isinstance(data, np.ndarray):
            data = np.array(data)
        return _emulated(function(data, *args, **kwargs))

    return to_device


def _ascontiguousarray(a: Any, dtype: Any = None) -> Any:
    """As CuPy's, which leaves an array without dimensions as it is; NumPy's gives it one."""
    return np.asarray(a, dtype=dtype, order="C")


_BRINGS_TO_DEVICE = ("asarray", "array", "ascontiguousarray", "from_dlpack")


class _Namespace(types.ModuleType):
    """array_api_compat.numpy, or a part of it such as linalg, whose functions give emulated arrays."""

    def __init__(self, name: str, of: Any) -> None:
        super().__init__(name, "NumPy, completed by array-api-compat, on the emulated device.")
        self._of = of

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__array_namespace_info__", "__array_api_version__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = _ascontiguousarray if name == "ascontiguousarray" else getattr(self._of, name)
        if isinstance(value, types.ModuleType):
            value = _Namespace(f"{self.__name__}.{name}", value)
        elif name == "__array_namespace_info__":
            value = _Info
        elif callable(value) and not isinstance(value, type) and name not in _NO_ARRAYS:
            value = (_from_host if name in _BRINGS_TO_DEVICE else _wrapped)(value)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return dir(self._of)


_COMPLETED: Any = array_api_compat.numpy
_NO_ARRAYS = ("can_cast", "finfo", "iinfo", "isdtype", "result_type", "broadcast_shapes")


class _Info:
    """What the namespace says of itself: NumPy's answers, and one device."""

    def __init__(self) -> None:
        self._of: Any = _COMPLETED.__array_namespace_info__()

    def capabilities(self) -> Mapping[str, Any]:
        """As NumPy."""
        return self._of.capabilities()

    def default_device(self) -> str:
        """``"emulated"``."""
        return "emulated"

    def default_dtypes(self, *, device: Any = None) -> Mapping[str, Any]:
        """As NumPy."""
        _check_device(device)
        return self._of.default_dtypes()

    def dtypes(self, *, device: Any = None, kind: Any = None) -> Mapping[str, Any]:
        """As NumPy."""
        _check_device(device)
        return self._of.dtypes(kind=kind)

    def devices(self) -> list[str]:
        """The one."""
        return ["emulated"]


NAMESPACE: Any = _Namespace("xnn.backends.emulator.namespace", _COMPLETED)
"""The Array API namespace of EmulatedArray."""


class EmulatedDevice(Device):
    """The host, taken for a GPU: the kernels of the CUDA backend run in the emulator."""

    name = "emulated"
    handle = "emulated"

    @property
    def xp(self) -> Any:
        """NumPy's functions, on emulated arrays."""
        return NAMESPACE

    def uniform(
        self, key: tuple[int, int], shape: tuple[int, ...], low: float, high: float, dtype: Any
    ) -> Any:
        """Random numbers, by the kernel."""
        from xnn.backends.cupy.kernels.uniform import uniform_on

        drawn = uniform_on(self, key, shape, low, high, dtype)
        return super().uniform(key, shape, low, high, dtype) if drawn is None else drawn

    def describe(self) -> str:
        """What it is."""
        return f"CUDA kernels emulated on the CPU, NumPy {np.__version__}"


_DEVICE = EmulatedDevice()
NAMESPACE.xnn_device = _DEVICE
register_device_array(EmulatedArray, NAMESPACE)


class EmulatorRuntime:
    """Compiles and runs the kernels of backends/cupy for emulated arrays: see `xnn.backends.cupy.launch.Runtime`."""

    null = None

    def device(self, array: Any) -> str:
        """There is one."""
        return "emulated"

    def compile(self, code: str, options: Sequence[str], device: Any) -> Any:
        """An EmulatedModule."""
        from xnn.backends.emulator.module import EmulatedModule

        named = re.match(r'#line 1 "(.*)"', code)
        return EmulatedModule(code, tuple(options), filename=named[1] if named else "kernel.cu")

    def current(self, device: Any) -> contextlib.AbstractContextManager[Any]:
        """Nothing to do."""
        return contextlib.nullcontext()

    def max_shared_memory(self, device: Any) -> int:
        """That of compute capability 9.0."""
        return 227 * 1024

    def address(self, array: Any) -> int:
        """The host's."""
        return int(array.ctypes.data)


@functools.cache
def emulated_device() -> EmulatedDevice:
    """The emulated device, with the kernels of the CUDA backend made ready for its arrays.

    Raises:
        DeviceError: there is no C++ compiler here.
    """
    from xnn.backends.cupy.launch import register_runtime
    from xnn.backends.emulator.compiler import find_compiler
    from xnn.backends.emulator.errors import CompilerMissing
    from xnn.backends.registry import activate

    try:
        find_compiler()
    except CompilerMissing as error:
        raise DeviceError(str(error)) from None
    register_runtime(EmulatedArray, EmulatorRuntime())
    activate("cupy", EmulatedArray)
    return _DEVICE
