"""Compile kernels for the host, once for each text: objects are kept in a folder, by the hash of all that went in."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from xnn.backends.emulator.errors import CompileError, CompilerMissing, SanitizerUnavailable
from xnn.backends.emulator.source import Prepared

HERE = Path(__file__).parent
INCLUDE = HERE / "include"

_COMMON = ("-std=c++17", "-fno-exceptions", "-w")
# -fsigned-char: as on a GPU, whatever the host has. -ffp-contract=off: a * b + c rounds twice on every host alike.
# -O1 compiles in half the time of -O2.
_KERNEL = (
    *_COMMON,
    *("-O1", "-fPIC", "-g1", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-math-errno", "-fsigned-char"),
    "-fno-omit-frame-pointer",
)
_SANITIZE: dict[str, tuple[str, ...]] = {
    "": (),
    "address,undefined": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-fsanitize=thread",),
}
_ENGINE_MACRO = {
    "": (),
    "address,undefined": ("-DXNN_EMULATOR_ADDRESS",),
    "thread": ("-DXNN_EMULATOR_THREAD",),
}


class Parameter(NamedTuple):
    """A parameter as the compiler sees it."""

    is_pointer: bool
    is_const: bool
    size: int  # of the value, or of what the pointer points to
    alignment: int
    type: str


class Shared(NamedTuple):
    """The __shared__ variables of compiled kernels, in the linker's addresses."""

    anchor: int  # the address of xnn_emulator_describe
    ranges: list[tuple[int, int]]  # address and size, ascending
    by_function: dict[str, int]  # bytes by the (demangled) function that declares them


class Built(NamedTuple):
    """Compiled kernels: a shared library, or the program of a sanitizer run."""

    path: Path
    signatures: list[list[Parameter]]
    shared: Shared


@functools.cache
def find_compiler() -> str:
    """The C++ compiler: ``CXX``, g++, c++ or clang++."""
    for name in (os.environ.get("CXX", ""), "g++", "c++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    raise CompilerMissing(
        "the CUDA emulator compiles kernels with g++ or clang++, and found neither; "
        "install one (Debian: apt install g++), or set CXX"
    )


@functools.cache
def _compiler_version() -> str:
    return subprocess.run([find_compiler(), "--version"], capture_output=True, text=True, check=False).stdout


@functools.cache
def _own_sources() -> str:
    """The hash of the emulator's own C++, and of this file, which decides what is kept with a compiled kernel."""
    digest = hashlib.sha256()
    for path in sorted([*INCLUDE.rglob("*.h"), *HERE.glob("*.cpp"), Path(__file__)]):
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where compiled kernels are kept: in ``XNN_CACHE`` if it is set, else in the user's folder for caches."""
    base = os.environ.get("XNN_CACHE")
    if base:
        folder = Path(base) / "emulator"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xnn" / "emulator"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CompilerMissing(
            f"the CUDA emulator keeps compiled kernels in {folder}, which cannot be made ({error}); set XNN_CACHE"
        ) from None
    return folder


def _name(*parts: object) -> str:
    text = "\0".join(map(str, (*parts, _compiler_version(), _own_sources())))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _run(command: Sequence[str | Path], source: str | None = None) -> str:
    """Run the compiler; its messages if it fails, else nothing."""
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(
        list(map(str, command)), input=source, capture_output=True, text=True, check=False, env=environment
    )
    return done.stderr if done.returncode else ""


def engine(sanitize: str) -> list[Path]:
    """The compiled engine: a shared library, or the objects that a program is linked with."""
    flags = (*_COMMON, "-O2", "-fPIC", "-g1", *_ENGINE_MACRO[sanitize])
    sources = ["engine.cpp"] if not sanitize else ["engine.cpp", "program.cpp"]
    made = []
    for source in sources:
        suffix = ".o" if sanitize else ".so"
        path = cache_folder() / f"{Path(source).stem}-{_name(source, flags)}{suffix}"
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
                out = Path(scratch) / path.name
                kind = "-c" if sanitize else "-shared"
                errors = _run([find_compiler(), *flags, kind, f"-I{INCLUDE}", HERE / source, "-o", out])
                if errors:
                    raise CompilerMissing(f"the CUDA emulator's engine does not compile:\n{errors}")
                os.replace(out, path)
        made.append(path)
    return made


def build(prepared: Prepared, defines: Sequence[str], sanitize: str, filename: str) -> Built:
    """Compile the kernels, or find them compiled."""
    flags = (*_KERNEL, *_SANITIZE[sanitize], *defines)
    name = f"{Path(filename).stem}-{_name(prepared.translation_unit, flags)}"
    path = cache_folder() / (name + (".bin" if sanitize else ".so"))
    facts = cache_folder() / (name + ".json")
    if not (facts.exists() and path.exists()):
        linked = engine(sanitize)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
            out = Path(scratch) / path.name
            command: list[str | Path] = [find_compiler(), *flags, f"-I{INCLUDE}", "-x", "c++", "-", "-o", out]
            command += ["-x", "none", *linked] if sanitize else ["-shared"]
            errors = _run(command, prepared.translation_unit)
            if errors:
                raise _compile_error(errors, filename, sanitize)
            known = {
                "description": _describe(out, sanitize),
                "shared": _shared(out),
            }
            (Path(scratch) / facts.name).write_text(json.dumps(known), encoding="utf-8")
            os.replace(out, path)  # others may do the same at this moment, with the same result
            os.replace(Path(scratch) / facts.name, facts)
    known = json.loads(facts.read_text(encoding="utf-8"))
    return Built(path, _signatures(known["description"]), Shared(*known["shared"]))


def _compile_error(errors: str, filename: str, sanitize: str) -> Exception:
    if re.search(r"cannot find .*(asan|ubsan|tsan)|unsupported option '-fsanitize", errors):
        return SanitizerUnavailable(
            f"{find_compiler()} has no runtime for -fsanitize={sanitize}; install it (Debian: libgcc-dev of g++'s "
            f"version; Fedora: libasan, libubsan, libtsan):\n{errors.strip()}"
        )
    hint = ""
    if re.search(
        r"Assembler messages|in 'asm'|impossible constraint|instruction mnemonic|inline assembly", errors
    ):
        hint = "(inline PTX cannot run in the emulator; leave it out with #ifdef XNN_EMULATOR)\n"
    return CompileError(f"{filename} does not compile:\n{hint}{errors.strip()[:6000]}")


def _describe(path: Path, sanitize: str) -> str:
    if sanitize:
        from xnn.backends.emulator.sanitizers import run_program

        return run_program(path, [], sanitize).stdout
    from xnn.backends.emulator.library import describe

    return describe(path)


def _signatures(description: str) -> list[list[Parameter]]:
    kernels = []
    for line in description.split("\n")[:-1]:
        parameters = []
        for field in line.split("\t")[1:]:
            kind, const, size, alignment, name = field.split(" ", 4)
            parameters.append(Parameter(kind == "pointer", const == "const", int(size), int(alignment), name))
        kernels.append(parameters)
    return kernels


# Local (_ZZ) to a function of the kernels' unnamed namespace, or to one that is extern "C". A program contains engine
# and sanitizers too; theirs are in other namespaces, or their names begin with underscores.
_IS_SHARED = re.compile(r"_ZZN12_GLOBAL__N_1|_ZZ\d+[A-Za-z]")


def _shared(path: Path) -> Shared:
    """Read from the symbols: shared variables are the static ones that are local to functions."""
    nm = shutil.which("nm")
    if nm is None:
        raise CompilerMissing("the CUDA emulator needs nm of the binutils, which is not installed")
    raw, readable = (
        subprocess.run([nm, "-p", "-S", *extra, str(path)], capture_output=True, text=True, check=True).stdout
        for extra in ((), ("-C",))
    )
    anchor = 0
    ranges = []
    by_function: dict[str, int] = {}
    symbol = re.compile(r"([0-9a-f]+) ([0-9a-f]+) (\w) (.*)")
    for mangled, demangled in zip(raw.split("\n"), readable.split("\n"), strict=True):
        match = symbol.match(mangled)
        if match is None:
            continue
        address, size = int(match[1], 16), int(match[2], 16)
        if match[4] == "xnn_emulator_describe":
            anchor = address
        if match[3] in "bBdD" and _IS_SHARED.match(match[4]):
            ranges.append((address, size))
            name = symbol.match(demangled)
            function = (name[4] if name else "").rpartition("::")[0].replace("(anonymous namespace)::", "")
            by_function[function] = by_function.get(function, 0) + size
    return Shared(anchor, sorted(ranges), by_function)
