"""Measured rows, and the file that keeps them with all that is needed to read them later."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import xnn
from xnn.backends.device import Device
from xnn.backends.registry import Work
from xnn.backends.timing import Meter
from xnn.bench.ceilings import Ceilings
from xnn.bench.measure import Times

__all__ = ["DeviceInfo", "Report", "Row"]

FORMAT = 1
_PACKAGES = ("numpy", "array-api-compat", "cupy-cuda12x", "cupy-cuda13x", "torch")
_BUSY = 1.25  # processes that want to run, for each core that this one may use, before it starts


@dataclass
class Row:
    """One function at one size.

    Attributes:
        device: ``"cpu"``, ``"cuda:0"``.
        name: of the operation, or of the model that is trained.
        case: the size.
        dtype: of the arrays.
        work: ``"forward"``, ``"backward"``, ``"update"`` (a step of an optimizer) or ``"training step"``.
        variant: ``"kernel"``, ``"original"`` (of xnn), ``"xnn"`` (a training step), ``"PyTorch"`` or
            ``"torch.compile"``.
        seconds: the median over rounds of the time of one call; None where nothing was measured, and `note` says why.
        low, high: the quartiles.
        rounds: how many were counted.
        relative: [low quartile, median, high quartile] of the time over that of the row's first variant, of
            xnn, in the same round: the speed-up of xnn's best over this variant.
        bytes, operations: by the operation's own formula, the same for every variant.
        bandwidth: bytes per second.
        rate: operations per second.
        share: the time that the measured ceilings of the device allow, over the time taken.
        samples_per_second: of a training step.
        error: ‖y - y_original‖ / ‖y_original‖.
        note: what else is to be said.
        samples: the times of all rounds, which are not written to files.
    """

    device: str
    name: str
    case: str
    dtype: str
    work: str
    variant: str
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    relative: list[float] | None = None
    bytes: int | None = None
    operations: int | None = None
    bandwidth: float | None = None
    rate: float | None = None
    share: float | None = None
    samples_per_second: float | None = None
    error: float | None = None
    note: str = ""
    samples: tuple[float, ...] = field(default=(), repr=False, compare=False)

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two rows comparable, apart from the device."""
        return (self.name, self.case, self.dtype, self.work, self.variant)

    def fill(self, times: Times, work: Work | None, ceilings: Ceilings, samples: int | None = None) -> Row:
        """Enter what was measured, and what follows from it."""
        self.low, self.seconds, self.high = times.seconds
        self.samples, self.rounds = times.samples, len(times.samples)
        self.relative = list(times.ratio)
        if work is not None:
            self.bytes, self.operations = work.bytes or None, work.operations or None
            self.bandwidth = work.bytes / self.seconds if work.bytes else None
            self.rate = work.operations / self.seconds if work.operations else None
            self.share = ceilings.least_seconds(work, self.dtype) / self.seconds
        if samples is not None:
            self.samples_per_second = samples / self.seconds
        return self


@dataclass
class DeviceInfo:
    """A device that was measured, and its ceilings."""

    description: str
    details: dict[str, str]
    cache_bytes: int
    ceilings: Ceilings


@dataclass
class Report:
    """All that one run of ``xnn bench`` found."""

    rows: list[Row] = field(default_factory=list)
    devices: dict[str, DeviceInfo] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    date: str = ""
    platform: str = ""
    load: float | None = None

    @classmethod
    def begin(cls, **settings: Any) -> Report:
        """An empty one with date, versions and commit."""
        try:
            load = round(os.getloadavg()[0], 2)
        except (AttributeError, OSError):
            load = None
        report = cls(
            settings=settings,
            versions=_versions(),
            commit=_commit(),
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            platform=f"{platform.system()} {platform.machine()}",
            load=load,
        )
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if load is not None and load > _BUSY * cores:
            report.notes.append(
                f"The machine was not quiet: before the start {load:g} processes wanted to run on {cores} cores. "
                "Threads wait for each other then: neither times nor ratios are results to keep."
            )
        return report

    def add_device(self, device: Device, meter: Meter, ceilings: Ceilings) -> None:
        """Enter a device before its rows."""
        self.devices[device.name] = DeviceInfo(
            device.describe(), meter.details(), meter.cache_bytes(), ceilings
        )

    def write(self, path: str | os.PathLike[str]) -> None:
        """As JSON."""
        from xnn.training.checkpoint import write_atomically

        content = {"format": FORMAT, **dataclasses.asdict(self)}
        rows = content.pop("rows")
        text = json.dumps(content, indent=1)
        # One row, one line.
        kept = ({k: _short(v) for k, v in row.items() if k != "samples"} for row in rows)
        lines = ",\n  ".join(map(json.dumps, kept))
        write_atomically(path, f'{text[:-2]},\n "rows": [\n  {lines}\n ]\n}}\n'.encode())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Report:
        """From the JSON that `write` wrote.

        Raises:
            ValueError: the file is something else.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT:
                raise ValueError("another format")
            content["rows"] = [Row(**row) for row in content["rows"]]
            content["devices"] = {
                name: DeviceInfo(**{**info, "ceilings": Ceilings(**info["ceilings"])})
                for name, info in content["devices"].items()
            }
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: expected results written by xnn bench --json ({error})") from None


def _short(value: Any) -> Any:
    """Six digits are more than any time is worth."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return [_short(v) for v in value] if isinstance(value, list) else value


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "xnn": xnn.__version__}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _commit() -> str:
    """Of the checkout that xnn runs from, with ``+`` if files of the package were changed since.

    Without a checkout it is what XNN_COMMIT says: `ci/gpu` runs a copy without git.
    """
    root = Path(xnn.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return os.environ.get("XNN_COMMIT", "")
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "xnn", "backends")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+" if changed else "")


def _git(root: Path, *command: str) -> str:
    return subprocess.run(
        ["git", *command], cwd=root, check=True, capture_output=True, text=True, timeout=10
    ).stdout.strip()
