"""CUDA C++ kernels on the CPU: the kernels that run on a GPU are executed, and looked at, on a machine without one.

    module = EmulatedModule(source)
    kernel = module.get_function("name")
    kernel(grid, block, (array, numpy.int32(n)), shared_mem=0)

Every thread of a block is a fiber, barriers and warp operations mean what they mean on a GPU, and what would hang or
read foreign memory there is an error here, with the kernel's line. docs/emulator.md tells how to work with it.
"""

from xnn.backends.emulator.compiler import find_compiler
from xnn.backends.emulator.errors import (
    ArgumentError,
    CompileError,
    CompilerMissing,
    EmulatorError,
    KernelError,
    LaunchConfigurationError,
    SanitizerError,
    SanitizerUnavailable,
)
from xnn.backends.emulator.module import EmulatedKernel, EmulatedModule
from xnn.backends.emulator.settings import Settings, emulation
from xnn.backends.emulator.sparse import sparse_array

__all__ = [
    "ArgumentError",
    "CompileError",
    "CompilerMissing",
    "EmulatedKernel",
    "EmulatedModule",
    "EmulatorError",
    "KernelError",
    "LaunchConfigurationError",
    "SanitizerError",
    "SanitizerUnavailable",
    "Settings",
    "emulation",
    "find_compiler",
    "sparse_array",
]
