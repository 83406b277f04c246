"""Files of data sets: found in a folder or downloaded, and checked either way.

A file counts as right if its contents have the published sum, or if it lies in an archive that has. What was
downloaded is checked under another name and gets its own only then, so that nothing half done is ever taken
for good.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import logging
import os
import secrets
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, Union

from xnn.data.idx import unzip

__all__ = ["Archive", "DownloadError", "File", "cache_folder", "fetch"]

Folder: TypeAlias = Union[str, "os.PathLike[str]", None]

_log = logging.getLogger("xnn")


class DownloadError(RuntimeError):
    """A data set is neither here nor to be had. The message says what was tried and what to put where by hand."""


@dataclass(frozen=True)
class File:
    """A file that a data set is read from, unpacked."""

    name: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Archive:
    """What mirrors hold: one gzip'ed file, or a zip or tar.gz of several."""

    name: str
    holds: tuple[File, ...]
    size: int | None = None
    sha256: str | None = None
    """Of the archive as it was published. Not needed where the sums of all files are known."""


def cache_folder(folder: Folder, name: str) -> Path:
    """Where the files of the data set ``name`` are kept.

    ``folder`` if given; else a folder ``name`` in that which the environment variable ``XNN_DATA`` names, or
    in the system's folder for caches.
    """
    if folder is not None:
        return Path(folder).expanduser()
    chosen = os.environ.get("XNN_DATA")
    if chosen:
        return Path(chosen).expanduser() / name
    import pooch

    return Path(pooch.os_cache("xnn")) / name


def fetch(
    name: str, archives: Sequence[Archive], mirrors: Sequence[str], folder: Path, *, download: bool = True
) -> dict[str, bytes]:
    """The contents of all files in ``archives``, by name.

    Looks into ``folder`` for each archive and for its files unpacked, then tries the mirrors in turn.

    Args:
        name: of the data set, for messages.
        archives: what to get.
        mirrors: beginnings of addresses, to which an archive's name is added.
        folder: where the files are, or are to be.
        download: whether to ask the mirrors at all.

    Raises:
        DownloadError: something is missing or wrong, and no mirror gave it.
    """
    found: dict[str, bytes] = {}
    for archive in archives:
        problems: list[str] = []
        contents = _look(name, archive, folder, problems)
        if contents is None and download:
            contents = _download(name, archive, mirrors, folder, problems)
        if contents is None:
            raise DownloadError(_advice(name, archives, folder, download, problems))
        found.update(contents)
    return found


def _look(name: str, archive: Archive, folder: Path, problems: list[str]) -> dict[str, bytes] | None:
    """The files as they are in ``folder``: in the archive, or each of them unpacked (or gzip'ed)."""
    path = folder / archive.name
    if path.is_file():
        try:
            contents, proven = _read(archive, path)
        except (ValueError, OSError) as error:
            problems.append(f"{path}: {_short(error)}")
        else:
            if not proven:
                _log.warning(
                    "xnn: %s: %s is not the published archive, but its contents look right", name, path
                )
            return contents
    contents, proven = {}, True
    for file in archive.holds:
        for candidate in _places(folder, file.name):
            if candidate == path or not candidate.is_file():
                continue
            try:
                contents[file.name] = data = _plain(candidate.read_bytes(), candidate.name)
                proven = _check(file, data) and proven
            except (ValueError, OSError) as error:
                problems.append(f"{candidate}: {_short(error)}")
                contents.pop(file.name, None)
            else:
                break
        else:
            return None
    if not proven:
        _log.warning("xnn: %s: the unpacked files in %s look right, but have no published sums", name, folder)
    return contents


def _places(folder: Path, name: str) -> Iterator[Path]:
    """Where a file may lie: under its name in the archive or without that folder, unpacked or gzip'ed."""
    plain = name.removesuffix(".gz")
    for place in dict.fromkeys((plain, Path(plain).name)):
        yield folder / place
        yield folder / f"{place}.gz"


def _read(archive: Archive, path: Path) -> tuple[dict[str, bytes], bool]:
    """The files in an archive, and whether they are proven to be the published ones.

    Raises ValueError if the archive is damaged, or a file in it is missing or wrong.
    """
    if archive.name.endswith(".zip"):
        contents = _read_zip(archive, path)
    elif archive.name.endswith(".tar.gz"):
        contents = _read_tar(archive, path)
    else:
        contents = {archive.holds[0].name: unzip(path.read_bytes(), archive.name)}
    proven = [_check(file, contents[file.name]) for file in archive.holds]
    return contents, all(proven) or (archive.sha256 is not None and _sum_of(path) == archive.sha256)


def _read_zip(archive: Archive, path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as packed:
            return {file.name: _plain(packed.read(file.name), file.name) for file in archive.holds}
    except KeyError as error:
        raise ValueError(f"{archive.name}: {error.args[0]}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{archive.name}: damaged ({error})") from None


def _read_tar(archive: Archive, path: Path) -> dict[str, bytes]:
    wanted = {file.name for file in archive.holds}
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as packed:
            for member in packed:
                name = member.name.removeprefix("./")
                if name in wanted and (stream := packed.extractfile(member)) is not None:
                    contents[name] = stream.read()
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{archive.name}: damaged ({error})") from None
    if wanted - contents.keys():
        raise ValueError(f"{archive.name}: holds no {', '.join(sorted(wanted - contents.keys()))}")
    return contents


def _plain(data: bytes, name: str) -> bytes:
    return unzip(data, name) if data[:2] == b"\x1f\x8b" else data


def _check(file: File, data: bytes) -> bool:
    """Whether the contents are proven to be the published ones. Raises ValueError if they are proven not to be."""
    if file.size is not None and len(data) != file.size:
        raise ValueError(f"{file.name}: expected {file.size} bytes, got {len(data)}")
    if file.sha256 is None:
        return False
    actual = hashlib.sha256(data).hexdigest()
    if actual != file.sha256:
        raise ValueError(f"{file.name}: expected contents with SHA-256 {file.sha256}, got {actual}")
    return True


def _sum_of(path: Path) -> str:
    result = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            result.update(block)
    return result.hexdigest()


def _download(
    name: str, archive: Archive, mirrors: Sequence[str], folder: Path, problems: list[str]
) -> dict[str, bytes] | None:
    """Get an archive from the first mirror that has the right one, and keep it in ``folder``."""
    import requests

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problems.append(f"{folder}: {_short(error)}")
        return None
    part = folder / f".{archive.name}.{secrets.token_hex(4)}.part"
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{archive.name}"
        try:
            _log.info("xnn: %s: downloading %s", name, url)
            _transfer(url, part, archive)
            contents, proven = _read(archive, part)
            if not proven:
                raise ValueError(f"expected an archive with SHA-256 {archive.sha256}, got {_sum_of(part)}")
            part.replace(folder / archive.name)
            return contents
        except (requests.RequestException, ValueError, OSError) as error:
            problems.append(f"{url}: {_short(error)}")
        finally:
            part.unlink(missing_ok=True)
    return None


def _transfer(url: str, path: Path, archive: Archive) -> None:
    """Download with a progress bar on a terminal, none elsewhere."""
    import pooch
    from tqdm import tqdm

    with tqdm(desc=archive.name, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        get = pooch.HTTPDownloader(progressbar=_Progress(bar), chunk_size=1 << 16, timeout=(10, 60))
        get(url, str(path), None)


class _Progress:
    """A progress bar in the form that pooch wants, which may not be a tqdm itself: an empty one counts as False."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    @property
    def total(self) -> int:
        return int(self._bar.total or 0)

    @total.setter
    def total(self, value: int) -> None:
        self._bar.total = value or None

    def update(self, n: int) -> None:
        self._bar.update(n)

    def reset(self) -> None:
        self._bar.reset()

    def close(self) -> None:
        self._bar.close()


def _short(error: BaseException) -> str:
    """The reason of an error in a few words."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code} {response.reason}"
    cause: Any = error
    while True:  # requests wraps urllib3, which wraps the system's own error
        inner = getattr(cause, "reason", None) or next(
            (a for a in cause.args if isinstance(a, BaseException)), None
        )
        inner = inner or cause.__cause__
        if not isinstance(inner, BaseException):
            break
        cause = inner
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    with contextlib.suppress(IndexError):
        text = text.splitlines()[0]
    return text if len(text) < 300 else text[:297] + "..."


def _advice(
    name: str, archives: Sequence[Archive], folder: Path, download: bool, problems: Sequence[str]
) -> str:
    missing = [a for a in archives if _look(name, a, folder, []) is None]
    lines = [f"{name}: {len(missing)} of {len(archives)} files could not be had."]
    if problems:
        lines += ["What was tried:", *(f"  {problem}" for problem in problems)]
    if not download:
        lines.append("Downloading was switched off (download=False).")
    lines.append(f"To go without network, put by hand into the folder {folder}")
    for archive in missing:
        size = f", {archive.size:,} bytes" if archive.size else ""
        plain = ", ".join(file.name.removesuffix(".gz") for file in archive.holds)
        lines.append(f"  {archive.name}{size} (or, unpacked: {plain})")
    lines.append("and load again. The environment variable XNN_DATA names another folder for all data sets.")
    return "\n".join(lines)
