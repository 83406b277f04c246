"""From the source of kernels, as NVRTC takes it, to a C++ translation unit for the host.

Nearly all of CUDA's words are macros, functions and types of the headers in ``include/``. What no header can do is
done here: find the kernels and the names of their parameters, give ``extern __shared__`` arrays their memory, and
refuse what g++ would take but NVRTC would not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from xnn.backends.emulator.errors import CompileError

HEADERS = ("cuda_bf16.h", "cuda_fp16.h", "math_constants.h")

# Names that g++ knows from the headers of the emulator, or from habit, and NVRTC does not.
_UNKNOWN_TO_NVRTC = {
    "INFINITY": "CUDART_INF_F of <math_constants.h>",
    "NAN": "CUDART_NAN_F of <math_constants.h>",
    "HUGE_VAL": "CUDART_INF of <math_constants.h>",
    "HUGE_VALF": "CUDART_INF_F of <math_constants.h>",
    "M_PI": "CUDART_PI of <math_constants.h>",
    **{f"int{n}_t": f"{t}" for n, t in ((8, "signed char"), (16, "short"), (32, "int"), (64, "long long"))},
    **{
        f"uint{n}_t": f"unsigned {t}" for n, t in ((8, "char"), (16, "short"), (32, "int"), (64, "long long"))
    },
    "uintptr_t": "unsigned long long",
    "intptr_t": "long long",
    "malloc": "memory that the host allocates",
    "__shfl": "__shfl_sync",
    "__shfl_xor": "__shfl_xor_sync",
    "__shfl_down": "__shfl_down_sync",
    "__shfl_up": "__shfl_up_sync",
    "__ballot": "__ballot_sync",
}
_NOT_EMULATED = {
    "cooperative_groups": "cooperative groups",
    "wmma": "tensor core instructions",
    "__pipeline_memcpy_async": "asynchronous copies",
    "texture": "textures",
}


class KernelSource(NamedTuple):
    """What the text says about one ``__global__`` function."""

    name: str
    parameters: tuple[str, ...]
    is_template: bool
    is_extern_c: bool
    max_threads: int | None  # from __launch_bounds__, where it is a plain number


class Prepared(NamedTuple):
    """A kernel file, ready for the compiler."""

    translation_unit: str
    kernels: tuple[KernelSource, ...]  # one for each name expression, in their order
    names: tuple[str, ...]


def blank(code: str) -> str:
    """``code`` with comments and the contents of literals replaced by spaces; the same length, the same lines."""
    pattern = re.compile(r'//(?:\\\n|[^\n])*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)

    def spaces(match: re.Match[str]) -> str:
        text = match[0]
        if text[0] in "\"'":
            return text[0] + re.sub(r"[^\n]", " ", text[1:-1]) + text[-1]
        return re.sub(r"[^\n]", " ", text)

    return pattern.sub(spaces, code)


def prepare(code: str, filename: str, names: Sequence[str] | None, include_dirs: Sequence[str]) -> Prepared:
    """The translation unit of ``code`` and what is known of its kernels.

    Args:
        code: CUDA C++.
        filename: how errors call the file.
        names: name expressions such as ``"softmax<float, 256>"``; None for all kernels that are ``extern "C"``.
        include_dirs: where ``#include "file"`` looks.
    """
    body, headers = _include(code, filename, include_dirs, [])
    text = blank(body)
    _refuse(body, text, filename)
    found = find_kernels(body, text)
    body = _dynamic_shared(body, text, filename)
    if names is None:
        names = [k.name for k in found.values() if k.is_extern_c and not k.is_template]
        if not names:
            raise CompileError(
                f'{filename}: expected a kernel declared extern "C" __global__, or its name in name_expressions; '
                f"found {', '.join(found) or 'no __global__ function'}"
            )
    kernels = []
    for name in names:
        base = name.split("<")[0].rpartition("::")[2].strip()
        if base not in found:
            raise CompileError(
                f"{filename}: name_expressions: {name!r}: the file has {', '.join(found) or 'no __global__ function'}"
            )
        kernels.append(found[base])
    entries = "".join(
        f"    {{::xnn_emulator::Kernel<&{n}>::call, ::xnn_emulator::Kernel<&{n}>::describe}},\n"
        for n in names
    )
    includes = "".join(f"#include <{h}>\n" for h in headers)
    unit = f"""#include "xnn_emulator/emulator.h"
{includes}namespace {{
#line 1 "{filename}"
{body}
#line 1 "name_expressions of {filename}"
const ::xnn_emulator::Entry xnn_emulator_entries[] = {{
{entries}}};
}}  // namespace
{_EXPORTS}"""
    return Prepared(unit, tuple(kernels), tuple(names))


_EXPORTS = """#line 1 "xnn_emulator exports"
extern "C" {
__attribute__((visibility("default"))) void (*xnn_emulator_kernel(int i))(void**) {
    return xnn_emulator_entries[i].call;
}
// One line per kernel, its parameters separated by tabs.
__attribute__((visibility("default"))) const char* xnn_emulator_describe() {
    const int n = int(sizeof xnn_emulator_entries / sizeof xnn_emulator_entries[0]);
    const size_t room = 65536 * size_t(n);
    char* text = static_cast<char*>(malloc(room));
    size_t used = 0;
    for (int i = 0; i < n; i++) {
        used += size_t(xnn_emulator_entries[i].describe(text + used, room - used));
        text[used++] = '\\n';
    }
    text[used] = 0;
    return text;
}
}
"""


def _include(code: str, filename: str, dirs: Sequence[str], seen: list[Path]) -> tuple[str, list[str]]:
    """``code`` with its own files pasted in, and the CUDA headers that it asks for."""
    headers: list[str] = []
    out = []
    visible = blank(code).split("\n")
    for number, (line, shown) in enumerate(zip(code.split("\n"), visible, strict=True), 1):
        if not re.match(r"\s*#\s*include\b", shown):
            out.append(line)
            continue
        match = re.match(r'\s*#\s*include\s*(?:<([^>]+)>|"([^"]+)")', line)
        name = (match[1] or match[2]) if match else line.strip()
        if name in HEADERS:
            headers.append(name)
            out.append("")
            continue
        path = next((p for d in dirs if (p := Path(d) / name).is_file()), None)
        if match is None or match[1] or path is None:
            raise CompileError(
                f"{filename}:{number}: #include {name}: the emulator has {', '.join(HEADERS)}, and files in quotes "
                'that lie in a folder given by "-I<folder>"'
            )
        if path.resolve() in seen:
            out.append("")
            continue
        seen.append(path.resolve())
        pasted, more = _include(path.read_text(encoding="utf-8"), str(path), dirs, seen)
        headers += more
        out.append(f'#line 1 "{path}"\n{pasted}\n#line {number + 1} "{filename}"')
    return re.sub(r"(?m)^\s*#\s*pragma\s+once\b", "", "\n".join(out)), list(dict.fromkeys(headers))


def _line(text: str, position: int, filename: str) -> str:
    """ "k.cu:12" for a position, after whatever #line directives stand before it."""
    number, name = 1, filename
    for line in text[:position].split("\n")[:-1]:
        if directive := re.match(r'\s*#\s*line\s+(\d+)(?:\s*"([^"]*)")?', line):
            number, name = int(directive[1]), directive[2] or name
        else:
            number += 1
    return f"{name}:{number}"


def _refuse(code: str, text: str, filename: str) -> None:
    """Raise CompileError for what compiles here but not for a GPU, or cannot run here."""
    for match in re.finditer(r"\bstd\s*::|\b[A-Za-z_]\w*\b", text):
        name = match[0]
        where = (
            _line(code, match.start(), filename) if name in _UNKNOWN_TO_NVRTC or name in _NOT_EMULATED else ""
        )
        if name.startswith("std") and name.endswith(":") and not text[: match.start()].endswith("::"):
            where = _line(code, match.start(), filename)
            raise CompileError(
                f"{where}: NVRTC has no C++ standard library; {name} is not available in kernels"
            )
        if name in _UNKNOWN_TO_NVRTC:
            own = rf"(?:#\s*define\s+{name}\b|\btypedef\b[^;]*\b{name}\s*;|\busing\s+{name}\s*=)"
            if not re.search(own, text):
                raise CompileError(f"{where}: NVRTC does not know {name}; use {_UNKNOWN_TO_NVRTC[name]}")
        if name in _NOT_EMULATED:
            raise CompileError(f"{where}: {name}: {_NOT_EMULATED[name]} cannot run in the emulator")


def _closing(text: str, opening: int) -> int:
    """The position of the parenthesis that closes the one at ``opening``."""
    depth = 0
    for i in range(opening, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    return len(text)


def find_kernels(code: str, text: str) -> dict[str, KernelSource]:
    """Every ``__global__`` function of ``code``; ``text`` is its `blank` form."""
    extern_c = [
        (m.end(), _block_end(text, m.end()))
        for m in re.finditer(r'extern\s*"\s*"\s*\{', text)
        if '"C"' in code[m.start() : m.end()]
    ]
    kernels: dict[str, KernelSource] = {}
    for match in re.finditer(r"\b__global__\b", text):
        before = max(text.rfind(c, 0, match.start()) for c in ";}{") + 1
        position, bounds = match.end(), None
        start = re.search(r"__launch_bounds__\s*\(", text[before : match.start()])
        if start:
            bounds = text[before + start.end() : _closing(text, before + start.end() - 1)]
        while (word := re.compile(r"\s*(\w+)\s*(\(?)").match(text, position)) is not None:
            if not word[2]:
                position = word.end()
                continue
            closing = _closing(text, word.end() - 1)
            inside = text[word.end() : closing]
            if word[1] in ("__launch_bounds__", "__maxnreg__", "__attribute__"):
                if word[1] == "__launch_bounds__":
                    bounds = inside
                position = closing + 1
                continue
            first = (bounds or "").split(",")[0].strip()
            head = code[before : match.start()]
            kernels[word[1]] = KernelSource(
                name=word[1],
                parameters=_parameter_names(inside),
                is_template=bool(re.search(r"\btemplate\b", head)),
                is_extern_c=bool(re.search(r'extern\s*"C"', head))
                or any(a <= match.start() < b for a, b in extern_c),
                max_threads=int(first) if first.isdecimal() else None,
            )
            break
    return kernels


def _block_end(text: str, begin: int) -> int:
    depth = 1
    for i in range(begin, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return i
    return len(text)


def _parameter_names(inside: str) -> tuple[str, ...]:
    names, depth, begin = [], 0, 0
    for i, c in enumerate(inside + ","):
        depth += (c in "(<[") - (c in ")>]")
        if c == "," and depth == 0:
            words = re.findall(r"[A-Za-z_]\w*", inside[begin:i].split("=")[0])
            if words and words != ["void"]:
                names.append(words[-1])
            begin = i + 1
    return tuple(names)


def _dynamic_shared(code: str, text: str, filename: str) -> str:
    """``extern __shared__ T x[];`` becomes a pointer to the block's dynamic shared memory."""
    out, end = [], 0
    for match in re.finditer(r"\bextern\b([^;{}]*?)\b(\w+)\s*\[\s*\]\s*;", text):
        declared = match[1]
        if "__shared__" not in declared:
            continue
        before = text[: match.start()]
        if before.count("{") == before.count("}"):
            raise CompileError(
                f"{_line(code, match.start(), filename)}: expected extern __shared__ {match[2]}[] inside of a "
                "kernel or device function; the emulator has no such array at file scope"
            )
        align = re.search(r"(?:__align__|alignas)\s*(\((?:[^()]|\([^()]*\))*\))", declared)
        kind = declared if align is None else declared[: align.start()] + declared[align.end() :]
        kind = " ".join(kind.replace("__shared__", " ").split())
        lines = "\n" * match[0].count("\n")
        size = align[1] if align else "1"
        out.append(code[end : match.start()])
        out.append(f"{kind}* {match[2]} = ::xnn_emulator::dynamic_shared_array<{kind}>{_once(size)};{lines}")
        end = match.end()
    return "".join(out) + code[end:]


def _once(size: str) -> str:
    return size if size.startswith("(") else f"({size})"
