"""Launch kernels, with the checks that CUDA and CuPy leave to whoever calls them.

CuPy passes to a kernel whatever it is given: a Python float arrives as eight bytes where the kernel reads four, a
transposed view as if it were not transposed, an array of another dtype or GPU as its bare address. The result is wrong
numbers, or an error at some later call. Here the parameter list is read out of the source, every argument is held
against it, and the error names kernel and parameter.

    kernels = KernelFile("softmax")
    kernels["softmax_by_block"]((rows, 1, 1), (256, 1, 1), x=x, y=y, rows=rows, columns=columns)

The same call runs on CuPy arrays and on the emulator's: see `register_runtime`.
"""

from __future__ import annotations

import contextlib
import functools
import math
import operator
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from xnn.backends.cupy.source import (
    ACCUMULATORS,
    DTYPES,
    KernelSource,
    Parameter,
    Signature,
    options,
    read_source,
)
from xnn.backends.namespaces import Array, dtype_name

__all__ = ["Kernel", "KernelFile", "Runtime", "ceil_div", "register_runtime", "runtime_of"]

_STATIC_SHARED_MEMORY = 48 * 1024  # what every device has for a block
_UNASKED_SHARED_MEMORY = 32 * 1024
"""What a launch may ask for as it is. The driver allows 48 KiB together with the kernel's static variables, whose size
is not known here; so it is told of launches that may pass that."""


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up: how many blocks of b cover a."""
    return -(-a // b)


class Runtime(Protocol):
    """What compiles and runs kernels for one type of arrays.

    Attributes:
        null: the argument that a kernel gets as a null pointer.
    """

    null: Any

    def device(self, array: Array) -> Any:
        """Where the array lives; equal for arrays that one kernel may use together."""

    def compile(self, code: str, options: tuple[str, ...], device: Any) -> Any:
        """A module with ``get_function(name)``, as ``cupy.RawModule``."""

    def current(self, device: Any) -> contextlib.AbstractContextManager[Any]:
        """Inside of it, launches go to ``device``."""

    def max_shared_memory(self, device: Any) -> int:
        """The most bytes of dynamic shared memory that a block may ask for."""

    def address(self, array: Array) -> int:
        """Where the array's first element lies, for a `Table` of arrays."""


class CupyRuntime:
    """CuPy: compiled by NVRTC and kept in CuPy's cache on disk; launched on the current stream."""

    null = np.uint64(0)  # None reaches the kernel as some address in CuPy before 14 (cupy/cupy issue 9046)

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy
        self._current_device = cupy.cuda.runtime.getDevice
        self._stay = contextlib.nullcontext()

    def device(self, array: Array) -> Any:
        """The GPU's number."""
        return array.device.id

    def compile(self, code: str, options: tuple[str, ...], device: Any) -> Any:
        """A RawModule. CuPy adds its own options (-ftz=true, the architecture); its C++ was C++11 before CuPy 14."""
        return self._cupy.RawModule(code=code, options=("--std=c++17", *options))

    def current(self, device: Any) -> contextlib.AbstractContextManager[Any]:
        """The device's context, entered only where it is not the current one already."""
        return self._stay if self._current_device() == device else self._cupy.cuda.Device(device)

    @functools.cache  # noqa: B019  one runtime a process
    def max_shared_memory(self, device: Any) -> int:
        """As the driver says."""
        return int(self._cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"])

    def address(self, array: Array) -> int:
        """The device pointer."""
        return int(array.data.ptr)


_runtimes: dict[type, Runtime] = {}


def register_runtime(array_type: type, runtime: Runtime) -> None:
    """Make kernels run on arrays of ``array_type``. CuPy's are known."""
    _runtimes[array_type] = runtime


def runtime_of(array: Any) -> Runtime | None:
    """What runs kernels on arrays of this type; None if nothing does."""
    runtime = _runtimes.get(type(array))
    if runtime is None and type(array).__module__.partition(".")[0] == "cupy" and hasattr(array, "data"):
        runtime = CupyRuntime()
        register_runtime(type(array), runtime)
    return runtime


class KernelFile:
    """The kernels of one ``.cu`` file, by name.

    Args:
        path: a path, or the name of a file in backends/cupy/kernels without ``.cu``.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._kernels: dict[str, Kernel] = {}
        self._modules: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"KernelFile({str(self._path)!r})"

    @functools.cached_property
    def source(self) -> KernelSource:
        """What the file says."""
        return read_source(self._path)

    @property
    def constants(self) -> dict[str, int]:
        """The ``constexpr int`` numbers of the file."""
        return self.source.constants

    def __getitem__(self, name: str) -> Kernel:
        try:
            return self._kernels[name]
        except KeyError:
            signature = self.source.signatures.get(name)
        if signature is None:
            known = ", ".join(self.source.signatures)
            raise KeyError(f"{self.source.name}.cu has no kernel {name!r}; it has {known}")
        return self._kernels.setdefault(name, Kernel(self, signature))

    def _function(self, name: str, types: tuple[tuple[str, str], ...], runtime: Runtime, device: Any) -> Any:
        """The compiled kernel. Two threads that ask at once compile it once."""
        key = (types, runtime, device)
        with self._lock:
            module = self._modules.get(key)
            if module is None:
                with runtime.current(device):
                    module = runtime.compile(self.source.code, options(dict(types)), device)
                self._modules[key] = module
            with runtime.current(device):
                return module.get_function(name)


class Kernel:
    """One kernel, callable with its launch grid and its arguments by name."""

    def __init__(self, file: KernelFile, signature: Signature) -> None:
        self.name = signature.name
        self.file = file
        self.signature = signature
        self._names = {p.name for p in signature.parameters}
        self._functions: dict[Any, _Function] = {}
        self._look = _quick_look(signature)
        self._seen: dict[Any, _Seen] = {}

    def __repr__(self) -> str:
        return f"<kernel {self.name} of {self.file.source.name}.cu>"

    def __call__(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        *,
        shared_memory: int = 0,
        types: dict[str, str] | None = None,
        **arguments: Any,
    ) -> None:
        """Check everything and launch on the current stream of the arrays' device. Returns before the kernel is done.

        Args:
            grid: how many blocks, up to three numbers. With a 0 among them nothing is launched.
            block: how many threads each, up to three numbers.
            shared_memory: bytes of dynamic shared memory per block.
            types: the open types that no array among the arguments decides, as dtypes: ``{"T": "float32"}``.
            **arguments: the kernel's parameters, all of them.

        Raises:
            TypeError: an argument is missing, unknown, no number, no array, or of another dtype than the source says.
            ValueError: an array has another size than the source says, is not C-contiguous, is read-only where the
                kernel writes, or on another device; a number does not fit; a limit of the launch is passed.
        """
        try:
            fits, key = self._look(**arguments)
            seen = self._seen[key] if fits and types is None else None
        except (TypeError, AttributeError, KeyError):  # said by what follows, if it is an error
            seen = None
        if seen is None or not self._launch_as_before(seen, grid, block, shared_memory, arguments):
            self._check_and_launch(grid, block, shared_memory, types, arguments)

    def _launch_as_before(
        self,
        seen: _Seen,
        grid: Sequence[int],
        block: Sequence[int],
        shared_memory: int,
        arguments: dict[str, Any],
    ) -> bool:
        """The short way where types, sizes and layout are known to fit: what remains is devices, numbers and grid.

        Returns whether it was launched. Whatever is unusual is left to `_check_and_launch`, which has the errors.
        """
        runtime, chosen, types_key = seen
        device = None
        values = []
        for p in self.signature.parameters:
            value = arguments[p.name]
            if not p.pointer:
                convert = _QUICK.get(p.type)
                quick = convert(value) if convert is not None else None
                values.append(self._number(p, value, chosen) if quick is None else quick)
                continue
            if value is not None:
                its_device = runtime.device(value)
                if device is None:
                    device = its_device
                elif its_device != device:
                    return False
                if not p.constant and not getattr(value.flags, "writeable", True):
                    return False
            values.append(runtime.null if value is None else value)
        function = self._functions.get((types_key, runtime, device))
        x, y, z = (*grid, 1, 1)[:3]
        bx, by, bz = (*block, 1, 1)[:3]
        if (
            function is None
            or not (0 < x < 2**31 and 0 < y < 65536 and 0 < z < 65536)
            or not (bx > 0 and by > 0 and 0 < bz <= 64 and bx * by * bz <= self.signature.max_threads)
            or shared_memory > _STATIC_SHARED_MEMORY
            or len(grid) > 3
            or len(block) > 3
        ):
            return False
        with runtime.current(device):
            function((x, y, z), (bx, by, bz), tuple(values), shared_memory)
        return True

    def _check_and_launch(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        shared_memory: int,
        types: dict[str, str] | None,
        arguments: dict[str, Any],
    ) -> None:
        if arguments.keys() != self._names:
            raise TypeError(self._wrong_names(arguments))
        chosen = dict(types) if types else {}
        runtime: Runtime | None = None
        device: Any = None
        first = ""
        for p in self.signature.parameters:
            if p.lists:
                runtime, device, first = *self._check_table(p, arguments[p.name], grid, chosen), p.name
                continue
            if not p.pointer:
                continue
            array = arguments[p.name]
            if array is None:
                if not p.optional:
                    raise TypeError(f"{self._at(p)}: expected an array, got None")
                continue
            its_runtime = _runtimes.get(type(array)) or runtime_of(array)
            if its_runtime is None:
                raise TypeError(f"{self._at(p)}: expected a CUDA array, got {type(array).__name__}")
            if runtime is None:
                runtime, device, first = its_runtime, its_runtime.device(array), p.name
            elif its_runtime is not runtime or runtime.device(array) != device:
                raise ValueError(
                    f"{self._at(p)}: expected an array on the device of {first!r}, {device}, "
                    f"got one on {its_runtime.device(array)}"
                )
            self._check_array(p, array, arguments)
            self._check_dtype(p, array.dtype, chosen)
        if runtime is None:
            raise TypeError(f"{self._where()}: expected at least one array")
        open_types = self.file.source.types
        if chosen.keys() != open_types.keys():
            missing = ", ".join(open_types.keys() - chosen.keys()) or "no other"
            raise TypeError(f"{self._where()}: expected types={{...}} to say which type {missing} is")
        converted = tuple(
            [
                (runtime.null if arguments[p.name] is None else arguments[p.name])
                if p.pointer or p.lists
                else self._number(p, arguments[p.name], chosen)
                for p in self.signature.parameters
            ]
        )
        grid = self._dimensions("grid", grid, (2**31 - 1, 65535, 65535))
        block = self._dimensions("block", block, (1024, 1024, 64))
        if 0 in block or math.prod(block) > self.signature.max_threads:
            raise ValueError(
                f"{self._where()}: block: expected 1 to {self.signature.max_threads} threads, got {block}"
            )
        if shared_memory > _STATIC_SHARED_MEMORY and shared_memory > runtime.max_shared_memory(device):
            raise ValueError(
                f"{self._where()}: shared_memory: expected at most {runtime.max_shared_memory(device)} bytes "
                f"on this device, got {shared_memory}"
            )
        if 0 in grid:  # CuPy would launch one block
            return
        key = (tuple(chosen.items()), runtime, device)
        function = self._functions.get(key)
        if function is None:
            compiled = self.file._function(self.name, tuple(sorted(chosen.items())), runtime, device)
            function = self._functions.setdefault(key, _Function(compiled))
        with runtime.current(device):
            function(grid, block, converted, shared_memory)
        if types is None and not any(p.lists for p in self.signature.parameters):
            self._seen[self._look(**arguments)[1]] = _Seen(runtime, chosen, key[0])

    def _where(self) -> str:
        return f"kernel {self.name}"

    def _at(self, p: Parameter) -> str:
        return f"kernel {self.name}: {p.name}"

    def _wrong_names(self, arguments: dict[str, Any]) -> str:
        missing = [p.name for p in self.signature.parameters if p.name not in arguments]
        unknown = [name for name in arguments if name not in self._names]
        got = "; ".join(
            f"{what} {', '.join(names)}"
            for what, names in (("missing:", missing), ("unknown:", unknown))
            if names
        )
        return f"{self._where()}: expected {', '.join(p.name for p in self.signature.parameters)}; {got}"

    def _check_array(self, p: Parameter, array: Array, arguments: dict[str, Any]) -> None:
        flags = array.flags
        if not flags.c_contiguous:
            raise ValueError(
                f"{self._at(p)}: expected a C-contiguous array, got shape {array.shape} with strides {array.strides}"
            )
        if not p.constant and not getattr(flags, "writeable", True):
            raise ValueError(f"{self._at(p)}: the kernel writes into it, but the array is read-only")
        try:
            size = eval(p.formula, _NO_BUILTINS, arguments)  # type: ignore[arg-type]
        except TypeError:
            size = p.size  # one of its numbers is none; say what came, below
        if array.size != size:
            raise ValueError(f"{self._at(p)}: expected {p.size} = {size} elements, got shape {array.shape}")

    def _check_table(
        self, p: Parameter, table: Any, grid: Sequence[int], chosen: dict[str, str]
    ) -> tuple[Runtime, Any]:
        """The arrays were checked when the table was made (tables.py), but for the types that this kernel wants."""
        layout = getattr(table, "layout", None)
        if layout is None:
            raise TypeError(f"{self._at(p)}: expected a Table, got {type(table).__name__}")
        if math.prod(grid) != table.blocks:
            raise ValueError(
                f"{self._where()}: grid: expected the table's {table.blocks} blocks, got {tuple(grid)}"
            )
        for of in p.lists:
            if of.name in layout.dtypes:
                self._check_dtype(of, layout.dtypes[of.name], chosen)
        return layout.runtime, layout.device

    def _check_dtype(self, p: Parameter, dtype: Any, chosen: dict[str, str]) -> None:
        got = _name_of(dtype)
        choices = self.file.source.types.get(p.type)
        if choices is not None:
            want = chosen.setdefault(p.type, got)
            if got not in choices:
                raise TypeError(
                    f"{self._at(p)}: expected {p.type}* with {p.type} of {', '.join(choices)}, got {got}"
                )
        elif p.type == "A":
            if "T" not in chosen:
                self._choose_t(chosen)
            return self._check_accumulator(p, got, chosen)
        else:
            want = DTYPES.get(p.type, "")
        if got != want:
            raise TypeError(f"{self._at(p)}: expected {p.type}* = {want}, got {got}")
        return None

    def _choose_t(self, chosen: dict[str, str]) -> None:
        raise TypeError(
            f"{self._where()}: an array of type T must stand before the first of type A, or types= say what T is"
        )

    def _check_accumulator(self, p: Parameter, got: str, chosen: dict[str, str]) -> None:
        want = ACCUMULATORS[chosen["T"]]
        if got != want:
            raise TypeError(f"{self._at(p)}: expected A* = {want} for T = {chosen['T']}, got {got}")

    def _number(self, p: Parameter, value: Any, chosen: dict[str, str]) -> Any:
        """The exact NumPy scalar of the parameter's type: CuPy passes what it is given, byte for byte."""
        dtype = DTYPES.get(p.type) or chosen.get(p.type) or ACCUMULATORS[chosen["T"]]
        if dtype == "bool":
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"{self._at(p)}: expected a bool, got {type(value).__name__} {value!r}")
            return np.bool_(value)
        scalar: Any = getattr(np, dtype)
        if dtype in _INTEGER_LIMITS:
            low, high = _INTEGER_LIMITS[dtype]
            try:
                number = operator.index(value) if not isinstance(value, (bool, np.bool_)) else None
            except TypeError:
                number = None
            if number is None:
                raise TypeError(f"{self._at(p)}: expected an integer, got {type(value).__name__} {value!r}")
            if not low <= number <= high:
                raise ValueError(f"{self._at(p)}: expected {p.type} in [{low}, {high}], got {number}")
            return scalar(number)
        if isinstance(value, (bool, np.bool_)) or not isinstance(
            value, (int, float, np.integer, np.floating)
        ):
            raise TypeError(f"{self._at(p)}: expected a number, got {type(value).__name__} {value!r}")
        if math.isfinite(value) and abs(value) > _LARGEST[dtype]:
            raise ValueError(f"{self._at(p)}: expected a number within {dtype}, got {value!r}")
        return scalar(value)

    def _dimensions(
        self, what: str, given: Sequence[int], limits: tuple[int, int, int]
    ) -> tuple[int, int, int]:
        sizes = tuple(given)
        if not 1 <= len(sizes) <= 3:
            raise ValueError(f"{self._where()}: {what}: expected one to three numbers, got {given!r}")
        x, y, z = (*sizes, 1, 1)[:3]
        for size, limit, axis in zip((x, y, z), limits, "xyz", strict=True):
            if not 0 <= size <= limit:
                raise ValueError(f"{self._where()}: {what}.{axis}: expected 0 to {limit}, got {size}")
        return x, y, z


class _Seen(NamedTuple):
    """What is known of arguments of the types of an earlier launch."""

    runtime: Runtime
    chosen: dict[str, str]
    types_key: tuple[tuple[str, str], ...]


def _quick_look(signature: Signature) -> Callable[..., tuple[bool, Any]]:
    """A function of a kernel's arguments that says whether sizes and layout fit, and names their types.

    It is written here for each kernel, since Python runs one expression much faster than a loop over parameters.
    """
    fits, key = [], []
    for p in signature.parameters:
        if p.lists:
            return lambda **arguments: (False, None)
        if p.pointer:
            test = f"{p.name}.flags.c_contiguous and {p.name}.size == ({p.size})"
            fits.append(f"({p.name} is None or {test})" if p.optional else test)
            key.append(f"type({p.name}), None if {p.name} is None else {p.name}.dtype")
    names = ", ".join(p.name for p in signature.parameters)
    code = f"lambda *, {names}: ({' and '.join(fits) or True}, ({', '.join(key)},))"
    return cast("Callable[..., tuple[bool, Any]]", eval(code, {"type": type, "__builtins__": {}}))


def _int32(value: Any) -> Any:
    return np.int32(value) if type(value) is int and -(2**31) <= value < 2**31 else None


def _int64(value: Any) -> Any:
    return np.int64(value) if type(value) is int and -(2**63) <= value < 2**63 else None


def _bool(value: Any) -> Any:
    return np.bool_(value) if type(value) is bool else None


_QUICK: dict[str, Callable[[Any], Any]] = {"int": _int32, "long long": _int64, "bool": _bool}
"""The most frequent types of numbers; None where the value is not plainly one."""


class _Function:
    """A compiled kernel, of which the driver is told how much shared memory it gets where that is much."""

    __slots__ = ("_allowed", "_function")

    def __init__(self, function: Any) -> None:
        self._function = function
        self._allowed = _UNASKED_SHARED_MEMORY

    def __call__(
        self,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        args: tuple[Any, ...],
        shared_memory: int,
    ) -> None:
        if shared_memory > self._allowed:
            self._function.max_dynamic_shared_size_bytes = self._allowed = shared_memory
        self._function(grid, block, args, shared_mem=shared_memory)


_LARGEST = {
    "float16": 65504.0,
    "float32": float(np.finfo(np.float32).max),
    "float64": float(np.finfo(np.float64).max),
}
_NO_BUILTINS: dict[str, Any] = {"__builtins__": {}}
_INTEGER_LIMITS = {
    f"{sign}int{bits}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}
_dtype_names: dict[Any, str] = {}


def _name_of(dtype: Any) -> str:
    """`dtype_name`, remembered: NumPy makes the name anew each time."""
    try:
        return _dtype_names[dtype]
    except KeyError:
        return _dtype_names.setdefault(dtype, dtype_name(dtype))
