"""What goes wrong with an emulated kernel. Every error is an EmulatorError."""


class EmulatorError(RuntimeError):
    """The base of all errors of the emulator."""


class CompilerMissing(EmulatorError):
    """There is no C++ compiler on this machine, or it lacks what is needed."""


class CompileError(EmulatorError):
    """The source does not compile, or would not compile for a GPU. Lines are those of the kernel's own file."""


class ArgumentError(EmulatorError, TypeError):
    """An argument is not what the kernel's parameter asks for."""


class LaunchConfigurationError(EmulatorError, ValueError):
    """Grid, block or shared memory are not what a GPU would accept."""


class KernelError(EmulatorError):
    """The kernel went wrong: deadlock, divergent barriers, illegal access, failed assertion."""


class SanitizerError(KernelError):
    """A sanitizer found a fault. ``report`` is its whole report, ``location`` the line of the kernel ("k.cu:12")."""

    def __init__(self, message: str, report: str, location: str) -> None:
        super().__init__(message)
        self.report = report
        self.location = location


class SanitizerUnavailable(EmulatorError):
    """The sanitizer does not run on this machine. The message says what to do."""
