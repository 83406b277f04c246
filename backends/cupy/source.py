"""The source of a kernel, and what the launch code needs to know of it: read out of the ``.cu`` file, its one place.

A ``.cu`` file has the form

    #include "common.cuh"

    using Index = XNN_INDEX;  // int, long long
    constexpr int THREADS = 256;

    extern "C" __global__ void __launch_bounds__(THREADS) gather(
        const T* __restrict__ x,     // rows * columns: comments say how many elements there are
        const Index* index,          // rows
        const T* scale,              // columns, or null
        T* y,                        // rows
        long long rows, int columns)

* ``T`` (from common.cuh) and ``Index`` are chosen when the file is compiled, by ``-DXNN_T=__half -DXNN_INDEX=int``;
  the comment lists the choices. ``A`` is the type in which T is accumulated.
* Each pointer has its own line with its number of elements, as a formula of the numbers among the parameters.
* A ``Table`` (kernels/tables.cuh) has a line that says which arrays it lists: ``// T* params, const T* grads``.
"""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path
from types import CodeType
from typing import NamedTuple

__all__ = ["DTYPES", "KernelSource", "Parameter", "Signature", "SourceError", "read_source"]

DIRECTORY = Path(__file__).parent / "kernels"

DTYPES = {
    "__half": "float16",
    "__nv_bfloat16": "bfloat16",
    "float": "float32",
    "double": "float64",
    "bool": "bool",
    "signed char": "int8",
    "short": "int16",
    "int": "int32",
    "long long": "int64",
    "unsigned char": "uint8",
    "unsigned short": "uint16",
    "unsigned": "uint32",
    "unsigned int": "uint32",
    "unsigned long long": "uint64",
}
"""The dtype of each type of CUDA C++ that a parameter may have."""

C_TYPES = {dtype: c_type for c_type, dtype in DTYPES.items() if c_type != "unsigned int"}
"""The other way round."""

ACCUMULATORS = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}
"""What common.cuh calls acc_t<T>, and A."""

_RESERVED = {"grid", "block", "shared_memory", "types"}


class SourceError(SyntaxError):
    """A ``.cu`` file does not have the form that the launch code reads."""


class Parameter(NamedTuple):
    """One parameter of a kernel.

    Attributes:
        name: as in the source.
        type: as in the source, without const and ``*``: ``"T"``, ``"long long"``.
        pointer: whether it is an array.
        constant: whether the kernel only reads the array.
        optional: whether None (a null pointer) may be given.
        size: the number of elements of an array, as a formula of the other parameters.
        formula: ``size``, compiled.
        lists: of a ``Table``, what it lists: the name, type, `constant` and `optional` of each.
    """

    name: str
    type: str
    pointer: bool = False
    constant: bool = False
    optional: bool = False
    size: str = ""
    formula: CodeType | None = None
    lists: tuple[Parameter, ...] = ()


class Signature(NamedTuple):
    """A kernel's name, its parameters and the most threads that a block of it may have."""

    name: str
    parameters: tuple[Parameter, ...]
    max_threads: int


class KernelSource(NamedTuple):
    """A ``.cu`` file with its own headers inlined.

    Attributes:
        name: the file's name without ``.cu``.
        code: one string, because CuPy's cache of compiled kernels does not see a change of an included file. ``#line``
            keeps file and line of errors right.
        signatures: its kernels.
        types: the choices of each type that is open, as dtypes: ``{"T": ("float32", ...), "Index": ("int32", ...)}``.
        constants: its ``constexpr int`` numbers, for the launch code.
    """

    name: str
    code: str
    signatures: dict[str, Signature]
    types: dict[str, tuple[str, ...]]
    constants: dict[str, int]

    def variants(self) -> list[dict[str, str]]:
        """Every choice of the open types."""
        return [
            dict(zip(self.types, chosen, strict=True)) for chosen in itertools.product(*self.types.values())
        ]


def options(types: dict[str, str]) -> tuple[str, ...]:
    """The compiler's options that choose the open types: ``{"T": "float16"}`` is ``("-DXNN_T=__half",)``."""
    return tuple(f"-DXNN_{name.upper()}={C_TYPES[dtype]}" for name, dtype in sorted(types.items()))


def read_source(path: Path | str) -> KernelSource:
    """Read a ``.cu`` file: a path, or the name of one in backends/cupy/kernels.

    Raises:
        SourceError: it does not have the form described at the top of this file.
    """
    path = Path(path)
    if not path.suffix:
        path = DIRECTORY / f"{path}.cu"
    code = _inlined(path, set())
    return KernelSource(path.stem, code, _signatures(path, code), _open_types(path, code), _constants(code))


def _inlined(path: Path, seen: set[Path]) -> str:
    """The text of a file with every ``#include "..."`` replaced by the text of that file, once each."""
    seen.add(path.resolve())
    lines = [f'#line 1 "{path.name}"']
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        included = re.match(r'\s*#include\s+"([^"]+)"', line)
        if included is None:
            if not re.match(r"\s*#pragma\s+once", line):
                lines.append(line)
            else:
                lines.append("")
            continue
        beside, shared = path.parent / included[1], DIRECTORY / included[1]
        header = beside if beside.exists() else shared
        if not header.exists():
            raise SourceError(
                f"{path.name}:{number}: there is no file {included[1]!r} beside it or in kernels/"
            )
        if header.resolve() not in seen:
            lines.append(_inlined(header, seen))
        lines.append(f'#line {number + 1} "{path.name}"')
    return "\n".join(lines) + "\n"


def _open_types(path: Path, code: str) -> dict[str, tuple[str, ...]]:
    types: dict[str, tuple[str, ...]] = {}
    for match in re.finditer(r"^using (\w+) = XNN_(\w+);(.*)$", code, re.MULTILINE):
        name, macro, comment = match.groups()
        choices = [c.strip() for c in comment.partition("//")[2].split(",")]
        unknown = [c for c in choices if c not in DTYPES]
        if macro != name.upper() or unknown:
            raise SourceError(
                f"{path.name}: expected 'using {name} = XNN_{name.upper()};  // ' and a list of "
                f"{', '.join(DTYPES)}, got {match[0]!r}"
            )
        types[name] = tuple(DTYPES[c] for c in choices)
    return types


def _constants(code: str) -> dict[str, int]:
    """``constexpr int NAME = formula;`` of numbers and earlier constants. Others are left to the compiler."""
    constants: dict[str, int] = {}
    for name, text in re.findall(r"^constexpr int (\w+) = ([^;]+);", code, re.MULTILINE):
        try:
            formula = _formula(text.replace("/", "//"))
            constants[name] = int(eval(formula, {"__builtins__": {}}, constants))
        except (ValueError, SyntaxError, NameError):
            continue
    return constants


def _signatures(path: Path, code: str) -> dict[str, Signature]:
    constants = _constants(code)
    found = {}
    start = re.compile(
        r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\(\s*(\w+)[^)]*\)\s*)?(\w+)\s*\('
    )
    for match in start.finditer(code):
        bounds, name = match.groups()
        max_threads = 1024
        if bounds is not None:
            max_threads = int(bounds) if bounds.isdigit() else constants.get(bounds, 0)
            if not max_threads:
                raise SourceError(
                    f"{path.name}: {name}: expected a number or a constexpr int in __launch_bounds__"
                )
        text = code[match.end() :]
        parameters = _parameters(f"{path.name}: {name}", _until_closed(text))
        found[name] = Signature(name, parameters, max_threads)
    if len(found) != len(re.findall(r"\b__global__\b", _without_comments(code))):
        raise SourceError(f'{path.name}: expected every kernel to begin with: extern "C" __global__ void')
    return found


def _without_comments(code: str) -> str:
    return re.sub(r"//.*", "", code)


def _until_closed(text: str) -> str:
    """What stands before the parenthesis that closes the parameter list; comments may contain any."""
    taken = []
    for line in text.splitlines():
        code, slashes, comment = line.partition("//")
        before, closed, _ = code.partition(")")
        taken.append(before + slashes + (comment if not closed else ""))
        if closed:
            # A comment of the last parameter stands behind the parenthesis: ") {  // rows"
            taken[-1] = before + (slashes + comment if slashes else "")
            break
    return "\n".join(taken)


_DECLARATION = re.compile(
    r"(?P<const>const\s+)?(?:__grid_constant__\s+)?(?P<type>[\w ]+?)\s*"
    r"(?P<pointer>\*)?\s*(?:__restrict__\s+)?(?P<name>\w+)"
)


def _parameters(where: str, text: str) -> tuple[Parameter, ...]:
    parameters: list[Parameter] = []
    for line in text.splitlines():
        code, _, comment = line.partition("//")
        for declaration in filter(None, (part.strip() for part in code.split(","))):
            match = _DECLARATION.fullmatch(declaration)
            if match is None:
                raise SourceError(f"{where}: expected 'type name' or 'type* name', got {declaration!r}")
            if match["name"] in _RESERVED:
                raise SourceError(f"{where}: the launch call uses the name {match['name']!r} itself")
            if match["type"] == "Table":
                parameters.append(
                    Parameter(match["name"], "Table", lists=_lists(where, declaration, comment))
                )
                continue
            if not match["pointer"]:
                parameters.append(Parameter(match["name"], match["type"]))
                continue
            size = re.fullmatch(r"\s*(?P<size>[^:]+?)(?P<null>,\s*or null)?\s*(?::.*)?", comment)
            if size is None:
                raise SourceError(
                    f"{where}: expected the number of elements in a comment behind {declaration!r}, such as "
                    "'// rows * columns' or '// columns, or null'"
                )
            try:
                formula = _formula(size["size"])
            except (ValueError, SyntaxError):
                raise SourceError(
                    f"{where}: {match['name']}: expected a formula of parameters for the number of elements, "
                    f"got {size['size']!r}"
                ) from None
            parameters.append(
                Parameter(
                    match["name"],
                    match["type"],
                    True,
                    match["const"] is not None,
                    size["null"] is not None,
                    size["size"],
                    formula,
                )
            )
    if any(p.lists for p in parameters[1:]):
        raise SourceError(f"{where}: expected a Table as the first parameter, and one only")
    numbers = {p.name for p in parameters if not p.pointer}
    for p in parameters:
        if p.formula is not None and not set(p.formula.co_names) <= numbers:
            missing = ", ".join(sorted(set(p.formula.co_names) - numbers))
            raise SourceError(
                f"{where}: the size of {p.name}, {p.size!r}, names {missing}: no number it is given"
            )
    return tuple(parameters)


_LIST = re.compile(r"(?P<const>const )?(?P<type>[\w ]+)\* (?P<name>\w+)(?P<null> or null)?")


def _lists(where: str, declaration: str, comment: str) -> tuple[Parameter, ...]:
    lists = []
    for text in comment.split(","):
        match = _LIST.fullmatch(text.strip())
        if match is None:
            raise SourceError(
                f"{where}: expected the lists of arrays in a comment behind {declaration!r}, such as "
                f"'// T* params, const T* grads, T* momentum or null', got {text.strip()!r}"
            )
        constant, optional = match["const"] is not None, match["null"] is not None
        lists.append(Parameter(match["name"], match["type"], True, constant, optional))
    if any(before.optional and not p.optional for before, p in itertools.pairwise(lists)):
        raise SourceError(
            f"{where}: expected the lists that may be null behind the others in {declaration!r}"
        )
    return tuple(lists)


_ARITHMETIC = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.Name, ast.Constant, ast.Load),
    *(ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.USub),
)


def _formula(text: str) -> CodeType:
    """Compile integer arithmetic of names and numbers, and nothing else."""
    tree = ast.parse(text.strip(), mode="eval")
    for node in ast.walk(tree):
        if not isinstance(node, _ARITHMETIC) or (
            isinstance(node, ast.Constant) and not isinstance(node.value, int)
        ):
            raise ValueError(f"expected names, whole numbers, + - * // and parentheses, got {text!r}")
    return compile(tree, "<size>", "eval")
