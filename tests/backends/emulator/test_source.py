"""What is read out of a kernel file, errors of the compiler, and the cache of compiled kernels."""

from __future__ import annotations

import multiprocessing
import shutil

import numpy as np
import pytest
from xnn.backends.emulator import CompileError, CompilerMissing, EmulatedModule, EmulatorError, compiler
from xnn.backends.emulator.source import blank, find_kernels, prepare


def test_comments_and_literals_are_blanked_in_place():
    code = 'int a; // __global__ "x"\n/* b\n c */ char* s = "/* no */ \\" //"; char q = \'"\'; int d;'
    text = blank(code)
    assert len(text) == len(code)
    assert text.count("\n") == code.count("\n")
    assert "global" not in text
    assert "no" not in text
    assert text.endswith("int d;")


def test_kernels_and_parameters_are_found():
    code = """
    // __global__ void commented(int x)
    extern "C" __global__ void __launch_bounds__(256, 2) first(const float* __restrict__ x, float *y, int n = 3) {}
    extern "C" { __global__ void second(void) {} __launch_bounds__(64) __global__ void third(Pair<int, 4> p, int (&q)[3]) {} }
    namespace a { template <class T, int N> static __global__ void fourth(T* const x /* , no */, unsigned long long count) {} }
    __global__ void __launch_bounds__(THREADS) fifth();
    """
    found = find_kernels(code, blank(code))
    assert list(found) == ["first", "second", "third", "fourth", "fifth"]
    assert found["first"].parameters == ("x", "y", "n")
    assert found["first"].max_threads == 256
    assert found["second"].parameters == ()
    assert found["third"].max_threads == 64
    assert found["third"].parameters[0] == "p"
    assert found["fourth"].parameters == ("x", "count")
    assert found["fifth"].max_threads is None
    assert [k.is_extern_c for k in found.values()] == [True, True, True, False, False]
    assert [k.is_template for k in found.values()] == [False, False, False, True, False]


def unit(code, **options):
    return prepare(code, "k.cu", options.get("names"), options.get("dirs", ()))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "float v = INFINITY;",
            r"k.cu:3: NVRTC does not know INFINITY; use CUDART_INF_F of <math_constants.h>",
        ),
        ("int32_t v = 0;", r"k.cu:3: NVRTC does not know int32_t; use int"),
        ("float v = std::max(1.f, 2.f);", r"k.cu:3: NVRTC has no C\+\+ standard library"),
        ("__shfl_xor(1, 2);", "k.cu:3: NVRTC does not know __shfl_xor; use __shfl_xor_sync"),
        ("cooperative_groups::sync();", "k.cu:3: .* cooperative groups cannot run in the emulator"),
    ],
)
def test_what_would_not_compile_for_a_gpu(line, message):
    with pytest.raises(CompileError, match=message):
        unit(f'extern "C" __global__ void k(int* x) {{\n// INFINITY in a comment is fine\n{line}\n}}')


def test_own_definitions_of_such_names_are_fine():
    unit(
        'typedef int int32_t;\n#define INFINITY 1e30f\nextern "C" __global__ void k(int32_t* x) { x[0] = INFINITY > 1; }'
    )
    unit('extern "C" __global__ void k(float* x) { x[0] = cuda::std::max(1.f, 2.f); }')


def test_headers_and_own_files(tmp_path):
    (tmp_path / "own.cuh").write_text(
        '#pragma once\n#include "other.cuh"\n__device__ int two() { return TWO; }\n'
    )
    (tmp_path / "other.cuh").write_text("#pragma once\n#define TWO 2\n")
    code = '#include <cuda_fp16.h>\n#include "own.cuh"\n#include "own.cuh"\nextern "C" __global__ void k(int* y) { y[0] = two(); }'
    module = EmulatedModule(code, (f"-I{tmp_path}",))
    y = np.zeros(1, np.int32)
    module.get_function("k")((1,), (1,), (y,))
    assert y[0] == 2
    for include in ("<stdint.h>", "<math.h>", '"missing.cuh"', "<cub/cub.cuh>"):
        with pytest.raises(
            CompileError, match=r"k.cu:2: #include .*: the emulator has cuda_bf16.h, cuda_fp16.h, math"
        ):
            unit(f'\n#include {include}\nextern "C" __global__ void k() {{}}')


def test_kernels_must_be_reachable():
    with pytest.raises(CompileError, match=r'k.cu: expected a kernel declared extern "C" .* found k'):
        unit("__global__ void k() {}")
    with pytest.raises(CompileError, match="name_expressions: 'other<int>': the file has k"):
        unit("template <class T> __global__ void k(T* x) {}", names=["other<int>"])
    with pytest.raises(CompileError, match=r"k.cu:2: expected extern __shared__ s\[\] inside"):
        unit('\nextern __shared__ float s[];\nextern "C" __global__ void k() {}')


def test_forms_of_dynamic_shared_memory():
    code = """template <class T> __device__ T* of() { extern __shared__ __align__(sizeof(double)) unsigned char m[]; return (T*)m; }
    extern "C" __global__ void k(int* y) {
        extern __shared__ float a[];
        extern __align__(16) __shared__ int4 b[];
        extern __shared__ volatile unsigned
            char c[]; int line = __LINE__;
        a[0] = 1.f; b[1].x = 3; c[8] = 4;
        y[0] = of<float>()[0]; y[1] = of<int>()[4]; y[2] = of<unsigned char>()[8]; y[3] = line;
    }"""
    y = np.zeros(4, np.int32)
    EmulatedModule(code).get_function("k")((1,), (1,), (y,), shared_mem=64)
    assert y.tolist() == [1, 3, 4, 6]


def test_errors_of_the_compiler_name_the_kernels_own_line():
    module = EmulatedModule(
        'extern "C" __global__ void k(int* x) {\n\n    x[0] = undeclared;\n}', filename="some/path/own.cu"
    )
    with pytest.raises(CompileError, match=r"some/path/own.cu:3:12: error: .*undeclared"):
        module.compile()
    inlined = 'extern "C" __global__ void k(int* x) {\n#line 40 "inner.cuh"\n    x[0] = undeclared;\n}'
    with pytest.raises(CompileError, match=r"inner.cuh:40:12: error: .*undeclared"):
        EmulatedModule(inlined).compile()


def test_types_that_cuda_has_no_atomics_for():
    module = EmulatedModule('extern "C" __global__ void k(long long* x) { atomicAdd(x, 1ll); }')
    with pytest.raises(CompileError, match=r"kernel.cu:1:\d+: error: .*(conversion|no matching)"):
        module.compile()


def test_inline_ptx():
    module = EmulatedModule('extern "C" __global__ void k(int* x) { asm volatile("bar.sync 0;"); }')
    with pytest.raises(CompileError, match=r"inline PTX cannot run in the emulator; .* XNN_EMULATOR"):
        module.compile()


CACHED = 'extern "C" __global__ void k(int* y) { y[0] = 41 + EXTRA; }'


def run_cached(extra):
    y = np.zeros(1, np.int32)
    EmulatedModule(CACHED, (f"-DEXTRA={extra}",)).get_function("k")((1,), (1,), (y,))
    return int(y[0])


def run_in_process(folder, extra, results):
    import os

    os.environ["XNN_CACHE"] = folder
    results.put(run_cached(extra))


def test_compiled_kernels_are_kept_and_shared_by_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("XNN_CACHE", str(tmp_path))
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [
        context.Process(target=run_in_process, args=(str(tmp_path), extra, results)) for extra in (1, 1, 2)
    ]
    for worker in workers:
        worker.start()
    assert sorted(results.get(timeout=60) for _ in workers) == [42, 42, 43]
    for worker in workers:
        worker.join()
    kept = sorted(p.suffix for p in (tmp_path / "emulator").iterdir())
    assert kept == [".json", ".json", ".so", ".so", ".so"]  # the engine and two kernels, nothing half done
    called = []
    monkeypatch.setattr(compiler, "_run", lambda *args: called.append(args) or "")
    assert run_cached(1) == 42
    assert called == []


def test_a_changed_header_is_seen(monkeypatch):
    before = compiler._name("same text")
    monkeypatch.setattr(compiler, "_own_sources", lambda: "another hash")
    assert compiler._name("same text") != before


def test_without_a_compiler(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CompilerMissing, match="found neither; install one"):
        compiler.find_compiler.__wrapped__()


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XNN_CACHE", str(tmp_path / "file"))
    with pytest.raises(EmulatorError, match=r"cannot be made .* set XNN_CACHE"):
        EmulatedModule(CACHED, ("-DEXTRA=99",)).compile()
