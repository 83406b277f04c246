"""What of ci/gpu can be tried where there is no GPU: arguments, carried packages, import path, time limits, summary."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from xnn.backends.emulator.device import emulated_device

import xnn

ROOT = Path(__file__).parents[2]
FILE = ROOT / "ci" / "gpu_run.py"


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu_run", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_run"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu_run"]


def test_the_command_runs_without_a_gpu_and_leaves_a_summary(tmp_path):
    out = tmp_path / "out"
    command = [str(ROOT / "ci" / "gpu"), "devices", "--device", "cpu", "--out", str(out), "--minutes", "2"]
    command += ["--commit", "abc"]
    environment = {**os.environ, "PYTHON": sys.executable}
    # As where nothing is installed: neither this checkout nor what its environment says.
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 ok, 0 failed, 0 skipped" in done.stdout
    assert sorted(path.name for path in out.iterdir()) == ["log.txt", "summary.json"]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["commit"] == "abc"
    assert summary["packages"]["numpy"]
    assert {"date", "device", "devices", "nvidia-smi", "python", "missing", "seconds"} <= set(summary)
    assert [(c["name"], c["status"], c["code"]) for c in summary["commands"]] == [("xnn devices", "ok", 0)]
    assert "'auto' is " in (out / "log.txt").read_text()


def test_the_copy_of_the_checkout_imports_alone(gpu, tmp_path):
    gpu.copy_checkout(tmp_path / "tree")
    code = "import xnn, xnn.backends.cupy, xnn.cli; print(xnn.__file__, xnn.backends.__file__)"
    # -S: no site-packages, so nothing installed; the dependencies come by name.
    tree = tmp_path / "tree"
    site = [path for path in sys.path if path.endswith("site-packages")]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(tree), *site])}
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tree / "xnn/__init__.py"), str(tree / "xnn/backends/__init__.py")]
    assert not (tmp_path / "tree" / ".git").exists()
    assert (tmp_path / "tree" / "tests" / "conftest.py").is_file()
    assert (tmp_path / "tree" / "backends" / "cupy" / "kernels").is_dir()


def test_without_git_all_files_are_taken(gpu, tmp_path, monkeypatch):
    for name in ("xnn/a.py", "backends/b.py", ".git/config", "xnn/__pycache__/a.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / ".git" / "config").unlink()
    assert gpu.files_of_checkout() == [Path("backends/b.py"), Path("xnn/a.py")]
    assert gpu.commit() == "unknown"


def wheel(folder: Path, name: str, module: str) -> None:
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{module}.py", "x = 1\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.mark.parametrize("pip", [True, False], ids=["pip", "no pip"])
def test_only_missing_packages_are_taken_from_the_wheels(gpu, tmp_path, monkeypatch, pip):
    packages = {"xnn_gpu_none": "xnn-gpu-none", "xnn_gpu_some": "xnn-gpu-some", "json": "json"}
    monkeypatch.setattr(gpu, "PACKAGES", packages)
    monkeypatch.setattr(sys, "path", list(sys.path))
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    wheels.mkdir()
    wheel(wheels, "xnn_gpu_some", "xnn_gpu_some")
    wheel(wheels, "json", "json")
    if not pip:
        none = subprocess.CompletedProcess([], 1)
        monkeypatch.setattr(gpu.subprocess, "run", lambda *args, **kwargs: none)
    assert gpu.add_wheels(wheels, site) == ["xnn_gpu_none"]
    assert (site / "xnn_gpu_some.py").is_file()
    assert not (site / "json.py").exists()


def test_every_package_that_the_project_needs_can_be_carried(gpu):
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {n.split(">")[0].split("[")[0].lower() for n in needed}
    assert names - {d.lower() for d in gpu.PACKAGES.values()} == {"xnn", "numpy"}


def test_tests_of_what_is_missing_are_left_out_with_the_reason(gpu, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "test_a.py").write_text("import numpy\nimport nothing.at.all\n")
    (tmp_path / "sub" / "test_b.py").write_text("from other import x\n")
    (tmp_path / "test_c.py").write_text("import numpy\n")
    assert gpu.tests_without(["nothing", "other"], tmp_path) == {
        str(tmp_path / "test_a.py"): "nothing is missing",
        str(tmp_path / "sub" / "test_b.py"): "other is missing",
    }
    assert gpu.tests_without([], tmp_path) == {}


def python(gpu, name, code, **options):
    return gpu.Command("tests", name, [sys.executable, "-c", code], **options)


def test_a_command_is_ended_at_its_limit_with_its_children(gpu, tmp_path):
    beats = tmp_path / "beats"
    child = f"""
import time
while True:
    open({str(beats)!r}, "a").write(".")
    time.sleep(0.05)
"""
    code = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {child!r}])
print("began", flush=True)
time.sleep(60)
"""
    start = time.monotonic()
    outcome = gpu.run_command(python(gpu, "slow", code), 3.0, tmp_path, tmp_path / "log", dict(os.environ))
    assert outcome.status == "timed out"
    assert "began" in (tmp_path / "log").read_text()
    assert time.monotonic() - start < 40
    count = beats.stat().st_size
    assert count > 0
    time.sleep(0.5)
    assert beats.stat().st_size == count


def test_one_that_fails_stops_no_other_and_time_goes_on_to_the_next(gpu, tmp_path, capsys):
    commands = [
        python(gpu, "fails", "print('why'); raise SystemExit(3)"),
        python(gpu, "skipped", "", skip="there is none"),
        gpu.Command("tests", "no program", ["/no/such/program"]),
        python(gpu, "left", "print(1)", parallel=True),
        python(gpu, "right", "print(2)", parallel=True),
        python(gpu, "last", "print(3)"),
    ]
    outcomes = gpu.run_all(commands, 100, tmp_path, tmp_path, dict(os.environ))
    assert [o.status for o in outcomes] == ["failed", "skipped", "failed", "ok", "ok", "ok"]
    assert outcomes[0].code == 3
    assert outcomes[0].last_line == "why"
    assert outcomes[1].last_line == "there is none"
    assert outcomes[0].limit == pytest.approx(25, abs=1)  # of four that take turns
    assert outcomes[-1].limit > 90
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [o.status for o in outcomes]
    text = gpu.joined([tmp_path / f"{i:02d}.txt" for i in range(6)], outcomes)
    assert "fails: failed" in text
    assert "skipped: there is none" in text


def test_long_logs_keep_their_beginning_and_their_end(gpu, tmp_path):
    log = tmp_path / "00.txt"
    log.write_text("begin" + "x" * (gpu.LOG_LIMIT + 1000) + "end")
    text = gpu.joined([log], [gpu.Outcome("tests", "long", "ok")])
    assert len(text) < gpu.LOG_LIMIT + 1000
    assert "begin" in text
    assert text.rstrip().endswith("end")
    assert "characters left out" in text


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_the_plan_has_every_step(gpu, tmp_path, device, monkeypatch):
    monkeypatch.setattr(gpu, "find_sanitizer", lambda: None)
    gpu.copy_checkout(tmp_path)
    commands = gpu.plan(device, tmp_path, tmp_path, [], 4)
    assert {c.step for c in commands} == set(gpu.STEPS)
    sanitizers = [c for c in commands if c.name.startswith("sanitizer")]
    assert len(sanitizers) == (4 if device != "cpu" else 0)
    assert all("neither on the PATH nor in a CUDA toolkit" in c.skip for c in sanitizers)
    written = [c.arguments[c.arguments.index("--json") + 1] for c in commands if "--json" in c.arguments]
    assert len(set(written)) + 3 <= 8  # with the picture, the log and the summary
    assert len(set(written)) == 4
    bare = gpu.plan(device, tmp_path, tmp_path, ["pytest", "xdist"], 4)
    assert [c.skip for c in bare if c.step == "tests"] == ["pytest is missing"]


@pytest.mark.parametrize(
    ("given", "message"),
    [(["everything"], "unknown step everything"), (["--minutes", "0"], "expected a number > 0, got 0.0")],
)
def test_wrong_arguments(gpu, given, message, capsys):
    with pytest.raises(SystemExit):
        gpu.arguments(given)
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_driver_for_the_sanitizers_launches_every_kernel():
    try:
        emulated_device()
    except xnn.DeviceError as error:
        pytest.skip(str(error))
    command = [sys.executable, str(ROOT / "ci" / "launch_kernels.py"), "--device", "emulated"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].endswith(" 0 failures")
