"""EmulatedModule and EmulatedKernel: the call form of ``cupy.RawModule`` and its functions, on NumPy arrays."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from xnn.backends.emulator import compiler, library, sanitizers, settings
from xnn.backends.emulator.arguments import check
from xnn.backends.emulator.errors import CompileError, EmulatorError, KernelError, LaunchConfigurationError
from xnn.backends.emulator.source import KernelSource, prepare

# The limits of compute capability 9.0.
_MAX_GRID = (2**31 - 1, 65535, 65535)
_MAX_BLOCK = (1024, 1024, 64)
_MAX_THREADS = 1024
_DEFAULT_SHARED = 48 * 1024
_MAX_SHARED = 227 * 1024
_MAX_ORDERED_BLOCKS = 2**24


class EmulatedModule:
    """CUDA C++ source whose kernels run on the CPU.

    Args:
        code: the source, in the subset that NVRTC takes and docs/emulator.md describes.
        options: ``-DNAME=VALUE`` and ``-I<folder>`` count; other compiler options are for a GPU and mean nothing here.
        name_expressions: the kernels to compile, for templates: ``["softmax<float, 256>"]``. By default every kernel
            declared ``extern "C"``.
        sanitize: ``"address,undefined"`` or ``"thread"`` to run launches under these sanitizers. `emulation` and the
            environment variable ``XNN_EMULATOR_SANITIZE`` choose where this is None.
        filename: how errors call the source; pass the path of the .cu file.

    Compilation happens at the first use, and once for each text: results are kept on disk.

    >>> import numpy as np
    >>> from xnn.backends.emulator import EmulatedModule
    >>> module = EmulatedModule('''
    ... extern "C" __global__ void scale(const float* x, float* y, float a, int n) {
    ...     int i = blockIdx.x * blockDim.x + threadIdx.x;
    ...     if (i < n) y[i] = a * x[i];
    ... }''')
    >>> scale = module.get_function("scale")
    >>> x = np.arange(4, dtype=np.float32)
    >>> y = np.empty_like(x)
    >>> scale((1,), (32,), (x, y, np.float32(2), np.int32(4)))
    >>> y
    array([0., 2., 4., 6.], dtype=float32)
    """

    def __init__(
        self,
        code: str,
        options: Sequence[str] = (),
        name_expressions: Sequence[str] | None = None,
        *,
        sanitize: str | None = None,
        filename: str = "kernel.cu",
    ) -> None:
        self.sanitize = None if sanitize is None else settings.check_sanitizer(sanitize)
        self.filename = filename
        self._defines = [o for o in options if o.startswith(("-D", "-U"))]
        folders = [o[2:] for o in options if o.startswith("-I")]
        self._prepared = prepare(code, filename, name_expressions, folders)
        self._built: dict[str, compiler.Built] = {}

    def compile(self, sanitize: str = "") -> None:
        """Compile now. Errors of the compiler are a CompileError with the lines of the kernel's file."""
        self.built(sanitize)

    def built(self, sanitize: str) -> compiler.Built:
        """The compiled kernels for a sanitizer, or for none (``""``)."""
        if sanitize not in self._built:
            built = compiler.build(self._prepared, self._defines, sanitize, self.filename)
            for function, size in built.shared.by_function.items():
                if size > _DEFAULT_SHARED and not sanitize:  # AddressSanitizer makes variables larger
                    raise CompileError(
                        f"{self.filename}: {function}: expected at most {_DEFAULT_SHARED} bytes of static __shared__ "
                        f"memory, got {size}; use extern __shared__ and max_dynamic_shared_size_bytes for more"
                    )
            self._built[sanitize] = built
        return self._built[sanitize]

    def get_function(self, name: str) -> EmulatedKernel:
        """The kernel of this name, or of this very name expression."""
        if name not in self._prepared.names:
            raise EmulatorError(
                f"{self.filename}: expected one of {list(self._prepared.names)}, got {name!r}"
            )
        number = self._prepared.names.index(name)
        return EmulatedKernel(self, name, number, self._prepared.kernels[number])

    def __repr__(self) -> str:
        return f"EmulatedModule({self.filename!r}, {list(self._prepared.names)})"


class EmulatedKernel:
    """A kernel. Call it as a function of ``cupy.RawModule``: ``kernel(grid, block, args, shared_mem=0)``.

    Attributes:
        max_dynamic_shared_size_bytes: how much ``shared_mem`` a launch may ask for: 48 KiB, unless set to more, up to
            227 KiB (as a GPU of compute capability 9.0 has it).
    """

    def __init__(self, module: EmulatedModule, name: str, number: int, source: KernelSource) -> None:
        self.module = module
        self.name = name
        self._number = number
        self._source = source
        self._max_dynamic_shared = _DEFAULT_SHARED

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """How much dynamic shared memory a launch may ask for."""
        return self._max_dynamic_shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if not 0 <= size <= _MAX_SHARED - self._static_shared():
            raise LaunchConfigurationError(
                f"{self.name}: max_dynamic_shared_size_bytes: expected at most {_MAX_SHARED} bytes together with "
                f"{self._static_shared()} of static __shared__ variables, got {size}"
            )
        self._max_dynamic_shared = int(size)

    def _static_shared(self) -> int:
        own = re.compile(rf"(?:^|[\s:]){self._source.name}(?:<.*>)?(?:\(.*\))?$")
        shared = self.module.built("").shared.by_function
        return max((size for function, size in shared.items() if own.search(function)), default=0)

    def __call__(
        self,
        grid: Sequence[int] | int,
        block: Sequence[int] | int,
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        stream: Any = None,
        only_blocks: Sequence[Any] | slice | None = None,
    ) -> None:
        """Run the kernel over a grid of blocks and return when it is done.

        Args:
            grid: the number of blocks in x, y, z.
            block: the number of threads of a block in x, y, z.
            args: NumPy arrays for pointers, None for a null pointer; NumPy scalars or ctypes values of the exact type
                of the parameter.
            shared_mem: bytes of dynamic shared memory.
            stream: ignored.
            only_blocks: see `emulation`.

        Raises:
            ArgumentError: number or types of the arguments do not fit the kernel's parameters.
            LaunchConfigurationError: a GPU would not accept grid, block or shared memory.
            KernelError: the kernel went wrong; SanitizerError if a sanitizer says so.
        """
        chosen = settings.current()
        sanitize = chosen.sanitize
        if sanitize is None:
            sanitize = self.module.sanitize
        if sanitize is None:
            sanitize = settings.default_sanitizer()
        grid3 = self._size("grid", grid, _MAX_GRID)
        block3 = self._size("block", block, _MAX_BLOCK)
        self._check_limits(block3, shared_mem)
        built = self.module.built(sanitize)
        arguments = check(self.name, self._source.parameters, built.signatures[self._number], args)
        blocks = self._blocks(grid3, chosen.only_blocks if only_blocks is None else only_blocks, chosen)
        order = settings.ORDERS.index(chosen.thread_order)
        if sanitize:
            sanitizers.launch(
                self.name,
                built.path,
                built.shared,
                self._number,
                sanitize,
                arguments,
                grid3,
                block3,
                shared_mem,
                blocks,
                order,
                chosen.seed,
                chosen.timeout,
            )
            return
        error, fault = library.launch(
            built.path,
            built.shared,
            self._number,
            arguments,
            grid3,
            block3,
            shared_mem,
            blocks,
            order,
            chosen.seed,
        )
        if error:
            raise KernelError(f"{self.name}: {error}{self._near(arguments, fault)}")

    def _size(
        self, what: str, given: Sequence[int] | int, limits: tuple[int, int, int]
    ) -> tuple[int, int, int]:
        sizes = given if isinstance(given, (tuple, list)) else (given,)
        for n in sizes:
            if isinstance(n, (bool, np.bool_)) or not isinstance(n, (int, np.integer)):
                raise LaunchConfigurationError(f"{self.name}: expected {what} of integers, got {given!r}")
        if not 1 <= len(sizes) <= 3:
            raise LaunchConfigurationError(
                f"{self.name}: expected {what} of one to three integers, got {given!r}"
            )
        x, y, z = (*map(int, sizes), 1, 1)[:3]
        if min(x, y, z) < 1:
            raise LaunchConfigurationError(
                f"{self.name}: expected {what} of at least one in each direction, got {given!r} "
                "(CuPy would launch one block of one thread: leave out the launch where there is nothing to do)"
            )
        if x > limits[0] or y > limits[1] or z > limits[2]:
            raise LaunchConfigurationError(f"{self.name}: expected {what} of at most {limits}, got {given!r}")
        return x, y, z

    def _check_limits(self, block: tuple[int, int, int], shared_mem: int) -> None:
        threads = block[0] * block[1] * block[2]
        if threads > _MAX_THREADS:
            raise LaunchConfigurationError(
                f"{self.name}: expected a block of at most {_MAX_THREADS} threads, got {block}: {threads}"
            )
        bound = self._source.max_threads
        if bound is not None and threads > bound:
            raise LaunchConfigurationError(
                f"{self.name}: expected a block of at most {bound} threads, as __launch_bounds__ says, got {threads}"
            )
        if not 0 <= shared_mem <= self._max_dynamic_shared:
            raise LaunchConfigurationError(
                f"{self.name}: expected shared_mem of at most {self._max_dynamic_shared} bytes, got {shared_mem}; "
                f"max_dynamic_shared_size_bytes can be set up to {_MAX_SHARED}"
            )
        if (
            self._max_dynamic_shared == _DEFAULT_SHARED
            and shared_mem + self._static_shared() > _DEFAULT_SHARED
        ):
            raise LaunchConfigurationError(
                f"{self.name}: expected at most {_DEFAULT_SHARED} bytes of shared memory in all, got {shared_mem} of "
                f"shared_mem and {self._static_shared()} of static __shared__ variables"
            )

    def _blocks(
        self, grid: tuple[int, int, int], only: Sequence[Any] | slice | None, chosen: settings.Settings
    ) -> np.ndarray | None:
        """The linear numbers of the blocks to run, in order; None for all of them, ascending."""
        count = grid[0] * grid[1] * grid[2]
        if only is None and chosen.block_order == "ascending":
            return None
        if isinstance(only, slice):
            picked: Any = range(*only.indices(count))
        elif only is None:
            picked = range(count)
        else:
            picked = [self._block_number(b, grid) for b in only]
        if len(picked) > _MAX_ORDERED_BLOCKS:
            raise LaunchConfigurationError(
                f"{self.name}: expected at most {_MAX_ORDERED_BLOCKS} blocks in a chosen order, got {len(picked)}"
            )
        if isinstance(picked, range):
            numbers = np.arange(picked.start, picked.stop, picked.step, dtype=np.uint64)
        else:
            numbers = np.asarray(picked, dtype=np.uint64)
        if chosen.block_order == "descending":
            numbers = np.ascontiguousarray(np.sort(numbers)[::-1])
        if chosen.block_order == "random":
            numbers = np.random.default_rng(chosen.seed).permutation(numbers)
        return numbers

    def _block_number(self, block: Any, grid: tuple[int, int, int]) -> int:
        if isinstance(block, (tuple, list)):
            x, y, z = (*block, 0, 0)[:3]
            inside = all(0 <= b < n for b, n in zip((x, y, z), grid, strict=True))
            number = x + grid[0] * (y + grid[1] * z)
        else:
            number, inside = int(block), 0 <= block < grid[0] * grid[1] * grid[2]
        if not inside:
            raise LaunchConfigurationError(
                f"{self.name}: only_blocks: expected a block of grid {grid}, got {block!r}"
            )
        return number

    def _near(self, arguments: Sequence[Any], fault: int) -> str:
        """Which array an illegal address is nearest to."""
        if not fault:
            return ""
        distances = []
        for name, a in itertools.zip_longest(self._source.parameters, arguments, fillvalue="?"):
            if isinstance(a, np.ndarray):
                begin, end = a.ctypes.data, a.ctypes.data + a.nbytes
                if fault >= end:
                    distances.append((fault - end, f"{fault - end} bytes behind the end of {name}"))
                elif fault < begin:
                    distances.append((begin - fault, f"{begin - fault} bytes before the begin of {name}"))
                else:
                    distances.append((0, f"inside of {name}, which is read-only memory"))
        null = "a null pointer, or nearly" if fault < 2**20 else ""
        near = null or (min(distances)[1] if distances else "")
        small = sum(a.nbytes for a in arguments if isinstance(a, np.ndarray)) <= sanitizers.MAX_BYTES
        advice = "; emulation(sanitize='address,undefined') would name the line" if small else ""
        return f" ({near}){advice}" if near else advice

    def __repr__(self) -> str:
        return f"<EmulatedKernel {self.name}>"
