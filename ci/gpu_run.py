"""Everything that needs a GPU, in one command, on a machine without network.

    ci/gpu [STEP ...] [--out FOLDER]     all steps, or some of: devices kernels copies sanitize tests train bench
    ci/gpu --pack                        on a machine with network, before: fetch what the other may lack
    ci/gpu --device cpu                  the same steps where there is no GPU, to try this script itself

The machine needs Python with NumPy, CuPy and pytest, and PyTorch for the comparisons. What else the tests import is
carried as wheels in .gpu-wheels (made by --pack, ignored by git); what is still missing is left out and named. Nothing
is installed: the package runs from a copy of the checkout in which backends/ stands where it is imported from.

Each step has its time limit, a share of --minutes; one that fails stops no other. At the end FOLDER holds summary.json
(machine, versions, commit, date; status and time of every command), log.txt and the measurements. The exit status is 0
if nothing failed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import datetime
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

# Import name -> distribution, of what may be missing where CuPy, NumPy, pytest and PyTorch are.
PACKAGES = {
    "array_api_compat": "array-api-compat",
    "array_api_strict": "array-api-strict",
    "click": "click",
    "execnet": "execnet",
    "hypothesis": "hypothesis",
    "cpuinfo": "py-cpuinfo",
    "iniconfig": "iniconfig",
    "ml_dtypes": "ml_dtypes",
    "packaging": "packaging",
    "platformdirs": "platformdirs",
    "pluggy": "pluggy",
    "pooch": "pooch",
    "pygments": "pygments",
    "pytest": "pytest",
    "pytest_benchmark": "pytest-benchmark",
    "requests": "requests",
    "urllib3": "urllib3",
    "idna": "idna",
    "certifi": "certifi",
    "charset_normalizer": "charset-normalizer",
    "safetensors": "safetensors",
    "sortedcontainers": "sortedcontainers",
    "tqdm": "tqdm",
    "xdist": "pytest-xdist",
}
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")
LOG_LIMIT = 1 << 20  # bytes of one command's output that are kept: its beginning and its end
GRACE = 5.0  # seconds between asking a command to end and ending it
# Operations that torch.compile fuses.
COMPILED = ("cross_entropy", "softmax", "layer_norm", "rms_norm", "batch_norm_training", "bias_gelu")
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")


@dataclass
class Command:
    """One thing to run.

    Attributes:
        step: the step that it belongs to.
        name: what it is called in the summary.
        arguments: program and arguments.
        weight: its share of the time, beside the others.
        parallel: runs together with its neighbours that say so too.
        skip: why it is not run, if it is not.
        environment: variables beside those of all.
    """

    step: str
    name: str
    arguments: list[str]
    weight: float = 1.0
    parallel: bool = False
    skip: str = ""
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """How a Command ended: "ok", "failed", "timed out" or "skipped"."""

    step: str
    name: str
    status: str
    seconds: float = 0.0
    limit: float = 0.0
    code: int | None = None
    last_line: str = ""
    command: str = ""


# --- the checkout and what it imports ---


def files_of_checkout() -> list[Path]:
    """Tracked files and new ones that git does not ignore; every file where git does not answer."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        files = [Path(os.fsdecode(name)) for name in listed.split(b"\0") if name]
    except (OSError, subprocess.CalledProcessError):
        files = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
    hidden = {".git", ".venv", "__pycache__", ".gpu-wheels"}
    return sorted({f for f in files if hidden.isdisjoint(f.parts) and (ROOT / f).is_file()})


def copy_checkout(target: Path) -> None:
    """A copy of the checkout whose folder xnn has backends in it, as an installed package has."""
    for file in files_of_checkout():
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, target / file)
        shutil.copymode(ROOT / file, target / file)
    (target / "xnn" / "backends").symlink_to(Path("..") / "backends", target_is_directory=True)


def missing_packages() -> list[str]:
    """Import names in PACKAGES that this Python does not find."""
    importlib.invalidate_caches()
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def add_wheels(wheels: Path, site: Path) -> list[str]:
    """Unpack the wheels of packages that are missing into ``site``; the import names still missing then."""
    site.mkdir(parents=True, exist_ok=True)
    wanted = {PACKAGES[name].replace("-", "_").lower() for name in missing_packages()}
    chosen = [w for w in sorted(wheels.glob("*.whl")) if w.name.split("-")[0].lower() in wanted]
    if chosen:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
        pip += ["--disable-pip-version-check", "--no-cache-dir", "--target", str(site)]
        for wheel in chosen:  # one by one: one for another Python must not stop the rest
            failed = subprocess.run([*pip, str(wheel)], capture_output=True).returncode
            if failed and "-none-any" in wheel.name:
                with zipfile.ZipFile(wheel) as archive:  # there is no pip
                    archive.extractall(site)
    sys.path.append(str(site))
    return missing_packages()


def pack(wheels: Path, python: str) -> int:
    """Fetch wheels of all PACKAGES for Linux on x86-64 and the Python of the GPU machine."""
    wheels.mkdir(parents=True, exist_ok=True)
    failed = []
    for distribution in PACKAGES.values():
        name = distribution.replace("-", "_").lower()
        for old in wheels.glob("*.whl"):
            if old.name.split("-")[0].lower() == name:
                old.unlink()
        platforms = [option for p in PLATFORMS for option in ("--platform", p)]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--python-version", python, "--implementation", "cp"]
        if subprocess.run([*command, *platforms, "-d", str(wheels), distribution]).returncode:
            failed.append(distribution)
    size = sum(w.stat().st_size for w in wheels.glob("*.whl"))
    count = len(list(wheels.glob("*.whl")))
    print(f"{count} wheels for Python {python}, {size / 2**20:.1f} MiB, in {wheels}")
    if failed:
        print(f"not found: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def tests_without(missing: Iterable[str], tests: Path) -> dict[str, str]:
    """Test files that import what is missing, with the reason."""
    gone = set(missing)
    left_out = {}
    for path in sorted(tests.rglob("*.py")):
        names = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
        if names & gone:
            left_out[str(path)] = f"{', '.join(sorted(names & gone))} is missing"
    return left_out


# --- what there is to do ---


def find_sanitizer() -> str | None:
    """compute-sanitizer, on the PATH or in a CUDA toolkit."""
    found = shutil.which("compute-sanitizer")
    if found:
        return found
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    homes += sorted(map(str, Path("/usr/local").glob("cuda-*")), reverse=True)
    for home in filter(None, homes):
        for place in ("bin", "compute-sanitizer", "extras/compute-sanitizer"):
            candidate = Path(home) / place / "compute-sanitizer"
            if candidate.is_file():
                return str(candidate)
    return None


def plan(device: str, tree: Path, results: Path, missing: Sequence[str], workers: int) -> list[Command]:
    """All commands of all steps, in the order in which they are run."""
    python = sys.executable
    gpu = device.startswith("cuda")
    xnn = [python, "-m", "xnn"]
    pytest = [python, "-m", "pytest", "-p", "no:cacheprovider", "-rfE", "--tb=short"]
    pytest += ["--continue-on-collection-errors"]
    # Other versions of other packages warn of other things; in the project's own tests warnings are errors.
    for category in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"):
        pytest += ["-W", f"default::{category}"]
    for message in ("CUDA path could not be detected", "Jitify is performing"):  # CuPy's
        pytest += ["-W", f"default:{message}"]
    for path in tests_without(missing, tree / "tests"):
        pytest += [f"--ignore={path}"]
    several = [] if "xdist" in missing or workers < 2 else ["-n", str(workers)]
    no_pytest = "pytest is missing" if "pytest" in missing else ""
    driver = [python, str(tree / "ci" / "launch_kernels.py"), "--device", device if gpu else "emulated"]

    # What runs on the CPU alone and takes long is left to where there is no GPU.
    elsewhere = ["--ignore=tests/backends/emulator", "-k", "not emulated"] if gpu else []

    commands = [Command("devices", "xnn devices", [*xnn, "devices"], 0.3)]
    commands.append(
        Command(
            "kernels",
            "tests of the kernels",
            [*pytest, *several, "tests/backends/cupy", *(["-k", "cuda or not emulated"] if gpu else [])],
            2.0,
            skip=no_pytest,
        )
    )
    commands.append(
        Command(
            "copies",
            "no copy to the host in a step",
            [*pytest, "tests/training", "-k", "no_step_reads or gpu_copies"],
            0.6,
            skip=no_pytest,
        )
    )
    sanitizer = find_sanitizer() if gpu else None
    if gpu:
        for tool in SANITIZERS:
            wrapped = [sanitizer or "compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
            if tool == "memcheck":  # CuPy asks for attributes that a device may not have, and goes on without
                wrapped += ["--report-api-errors", "no"]
            wrapped += ["--print-limit", "30", *driver, "--no-pool"]
            reason = "" if sanitizer else "compute-sanitizer is neither on the PATH nor in a CUDA toolkit"
            commands.append(Command("sanitize", f"sanitizer {tool}", wrapped, 2.5, True, reason))
    else:
        commands.append(Command("sanitize", "launch every kernel", driver, 2.0))
    commands.append(
        Command(
            "tests", "the whole test suite", [*pytest, *several, "tests", *elsewhere], 3.5, skip=no_pytest
        )
    )
    for precision in ("float32", "tf32", "bfloat16", "float16"):
        run = [*xnn, "train", "digits", "--device", device, "--precision", precision, "--quiet"]
        # On the CPU one epoch shows that it works.
        run += ["--epochs", "20" if gpu else "1", "--out", str(tree / "runs" / precision)]
        skip = "NumPy has no bfloat16" if precision == "bfloat16" and not gpu else ""
        commands.append(Command("train", f"train digits, {precision}", run, 0.4, skip=skip))
    no_bench = "" if (tree / "xnn" / "cli" / "bench.py").is_file() else "there is no xnn bench"
    bench = [*xnn, "bench", "--device", device if gpu else "cpu"]
    if not gpu:
        bench += ["softmax", "--quick"]
    for name, options in (
        ("float32", ["--dtype", "float32"]),
        ("half", ["--dtype", "float16,bfloat16"]),
        ("steps", ["--steps"]),
        ("compiled", [*COMPILED, "--compile"]),  # last, as it takes what is left: each case is compiled anew
    ):
        run = [*bench, *options, "--json", str(results / f"bench-{name}.json")]
        if name == "float32" and importlib.util.find_spec("matplotlib"):
            run += ["--figure", str(results / "roofline.png")]
        skip = no_bench or ("" if gpu or name == "float32" else "takes long on the CPU")
        commands.append(Command("bench", f"bench {name}", run, 1.5, skip=skip))
    return commands


STEPS = ("devices", "kernels", "copies", "sanitize", "tests", "train", "bench")


# --- running ---


def run_command(
    command: Command, limit: float, folder: Path, log: Path, environment: dict[str, str]
) -> Outcome:
    """Run one command in ``folder``, with all that it prints in ``log``; end it and its children at the limit."""
    outcome = Outcome(command.step, command.name, "skipped", command=" ".join(command.arguments))
    if command.skip:
        log.write_text(f"skipped: {command.skip}\n")
        outcome.last_line = command.skip
        return outcome
    start = time.monotonic()
    with open(log, "wb") as output:
        try:
            process = subprocess.Popen(
                command.arguments,
                cwd=folder,
                env={**environment, **command.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            output.write(f"{error}\n".encode())
            outcome.status, outcome.last_line = "failed", str(error)
            return outcome
        try:
            outcome.code = process.wait(limit)
            outcome.status = "ok" if outcome.code == 0 else "failed"
        except subprocess.TimeoutExpired:
            outcome.status = "timed out"
            process.send_signal(signal.SIGINT)  # pytest then says what has failed so far
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    outcome.seconds, outcome.limit = round(time.monotonic() - start, 1), round(limit, 1)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    outcome.last_line = lines[-1].strip()[:200] if lines else ""
    return outcome


def run_all(
    commands: Sequence[Command],
    seconds: float,
    folder: Path,
    logs: Path,
    environment: dict[str, str],
    after: Callable[[Sequence[Outcome]], None] = lambda outcomes: None,
) -> list[Outcome]:
    """Run the commands; what one leaves of its time goes to those after it. ``after`` gets what is done so far."""
    end = time.monotonic() + seconds
    outcomes: list[Outcome] = []
    waiting = list(commands)
    while waiting:
        together = [waiting.pop(0)]
        while together[0].parallel and waiting and waiting[0].parallel:
            together.append(waiting.pop(0))

        def cost(group: Iterable[Command]) -> float:
            return sum(c.weight for c in group if not c.skip)

        mine = max((c.weight for c in together if not c.skip), default=0.0)
        parallel_later = max((c.weight for c in waiting if c.parallel and not c.skip), default=0.0)
        later = cost(c for c in waiting if not c.parallel) + parallel_later
        left = max(end - time.monotonic(), 1.0)
        limit = left * mine / (mine + later) if mine else left

        def one(command: Command, number: int, limit: float = limit) -> Outcome:
            return run_command(command, limit, folder, logs / f"{number:02d}.txt", environment)

        first = len(outcomes)
        with ThreadPoolExecutor(len(together)) as pool:
            done = list(pool.map(one, together, range(first, first + len(together))))
        outcomes += done
        for o in done:
            print(f"{o.status:>9}  {o.seconds:6.1f} s  {o.name}: {o.last_line}", flush=True)
        after(outcomes)
    return outcomes


# --- telling ---


def machine(tree: Path, environment: dict[str, str], device: str) -> dict[str, Any]:
    """What was measured on, asked in a process of its own, as a broken driver can end the process that asks."""
    code = """
import importlib, importlib.metadata, json, sys
facts = {"packages": {}}
for name in sys.argv[2:]:
    try:
        facts["packages"][name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
try:
    import torch
    facts["packages"]["torch"] = torch.__version__
except Exception:
    pass
try:
    import xnn
    facts["xnn"] = xnn.__version__
    facts["devices"] = {r.name: r.description for r in xnn.devices()}
    device = xnn.device(sys.argv[1])
    facts["device"] = device.describe()
except Exception as error:
    facts["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(facts))
"""
    names = ["numpy", "cupy-cuda12x", "cupy-cuda13x", *sorted(set(PACKAGES.values()))]
    try:
        answer = subprocess.run(
            [sys.executable, "-c", code, device, *names],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        facts = json.loads(answer.stdout.splitlines()[-1])
    except (IndexError, ValueError, OSError, subprocess.TimeoutExpired) as error:
        facts = {"error": f"the machine could not be described: {error}"}
    facts["python"] = platform.python_version()
    facts["system"] = platform.platform()
    facts["nvidia-smi"] = output_of(
        "nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"
    )
    return facts


def output_of(*command: str) -> str:
    """What a program prints, or "" if it does not run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def commit() -> str:
    """The commit of the checkout, with "+" if files differ from it; "unknown" without git."""
    head = output_of("git", "rev-parse", "HEAD")
    return (head + ("+" if output_of("git", "status", "--porcelain") else "")) if head else "unknown"


def joined(logs: Sequence[Path], outcomes: Sequence[Outcome]) -> str:
    """All output in one text, of each command its beginning and its end."""
    parts = []
    for log, outcome in zip(logs, outcomes, strict=True):
        text = log.read_text(errors="replace")
        if len(text) > LOG_LIMIT:
            left_out = f"\n... {len(text) - LOG_LIMIT} characters left out ...\n"
            text = text[: LOG_LIMIT // 4] + left_out + text[-3 * LOG_LIMIT // 4 :]
        head = f"{outcome.name}: {outcome.status}, {outcome.seconds} s\n{outcome.command}"
        parts.append(f"{'=' * 100}\n{head}\n\n{text}\n")
    return "\n".join(parts)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    about, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        "ci/gpu", description=about, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"{', '.join(STEPS)}; all by default")
    parser.add_argument("--out", type=Path, help="folder for the results (default: $OUT, else gpu-results)")
    parser.add_argument("--device", default="cuda:0", help="cuda:0, another one, or cpu for a rehearsal")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all steps together (default: 9)")
    parser.add_argument(
        "--workers", type=int, default=min(8, os.cpu_count() or 1), help="processes of the tests"
    )
    parser.add_argument("--wheels", type=Path, default=ROOT / ".gpu-wheels", help="folder of the wheels")
    parser.add_argument("--commit", help="what is tested, where git cannot say")
    parser.add_argument("--pack", action="store_true", help="fetch the wheels, and nothing else")
    parser.add_argument("--python", default="3.12", help="of the GPU machine, for --pack (default: 3.12)")
    options = parser.parse_args(given)
    unknown = set(options.steps) - set(STEPS)
    if unknown:
        parser.error(f"unknown step {', '.join(sorted(unknown))}: expected {', '.join(STEPS)}")
    if options.minutes <= 0:
        parser.error(f"--minutes: expected a number > 0, got {options.minutes}")
    return options


def main(given: Sequence[str] | None = None) -> int:
    """Run the steps."""
    options = arguments(given)
    if options.pack:
        return pack(options.wheels, options.python)
    start = time.monotonic()
    out = (options.out or Path(os.environ.get("OUT") or "gpu-results")).resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="xnn-gpu-") as scratch:
        work = Path(scratch)
        tree, site, logs = work / "tree", work / "site", work / "logs"
        logs.mkdir()
        copy_checkout(tree)
        missing = add_wheels(options.wheels, site)
        if missing:
            print(
                f"missing (ci/gpu --pack fetches wheels), and what needs them is left out: {', '.join(missing)}",
                flush=True,
            )
        tested = options.commit or commit()
        environment = {
            **os.environ,
            "XNN_COMMIT": tested,  # the copy has no git
            # The tree first: python -m puts the folder it runs in there too.
            "PYTHONPATH": os.pathsep.join([str(tree), str(site)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "CUPY_CACHE_DIR": str(work / "cupy"),
            "XDG_CACHE_HOME": str(work / "cache"),
        }
        facts = machine(tree, environment, options.device)
        print(facts.get("device") or facts.get("error"), flush=True)
        commands = plan(options.device, tree, out, missing, options.workers)
        commands = [c for c in commands if not options.steps or c.step in options.steps]
        left_out = tests_without(missing, tree / "tests")
        about = {
            "commit": tested,
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            **facts,
            "missing": missing,
            "tests left out": {str(Path(p).relative_to(tree)): why for p, why in left_out.items()},
        }

        def write(done: Sequence[Outcome]) -> None:
            """After every command, as the machine may be taken away at any time."""
            summary = {**about, "seconds": round(time.monotonic() - start, 1)}
            summary["commands"] = [asdict(outcome) for outcome in done]
            (out / "log.txt").write_text(joined(sorted(logs.iterdir()), done).replace(scratch, "."))
            (out / "summary.json").write_text(json.dumps(summary, indent=1).replace(scratch, ".") + "\n")

        left = 60 * options.minutes - (time.monotonic() - start)
        outcomes = run_all(commands, left, tree, logs, environment, write)
    bad = [outcome for outcome in outcomes if outcome.status in ("failed", "timed out")]
    good = sum(outcome.status == "ok" for outcome in outcomes)
    skipped = sum(outcome.status == "skipped" for outcome in outcomes)
    print(
        f"{good} ok, {len(bad)} failed, {skipped} skipped, {time.monotonic() - start:.0f} s; everything is in {out}"
    )
    for outcome in bad:
        print(f"  {outcome.status}: {outcome.name}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
