import gzip
import hashlib
import importlib
import io
import logging
import socket
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from xnn.data import DownloadError, cifar10, emnist, fashion_mnist, kmnist, load, mnist, write_idx
from xnn.data.download import Archive, File, cache_folder

pytest.importorskip("pooch")

MNIST = importlib.import_module("xnn.data.mnist")  # the modules; the package has functions of these names
EMNIST = importlib.import_module("xnn.data.emnist")
CIFAR10 = importlib.import_module("xnn.data.cifar10")
IMAGES = "train-images-idx3-ubyte"


class Mirror:
    """Serves ``files`` (path: bytes, or (status, bytes, announced length)); remembers what was asked for."""

    def __init__(self):
        self.files = {}
        self.asked = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.asked.append(self.path)
                found = mirror.files.get(self.path.lstrip("/"), (404, b"", 0))
                status, body, length = found if isinstance(found, tuple) else (200, found, len(found))
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def url(self, folder):
        return f"http://127.0.0.1:{self.server.server_port}/{folder}"

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def idx_bytes(tmp_path, array):
    write_idx(tmp_path / "made-up", array)
    return (tmp_path / "made-up").read_bytes()


def made_up_mnist(tmp_path, seed=0):
    """The contents of four IDX files: 12 training and 5 test images of 4x4 pixels."""
    rng = np.random.default_rng(seed)
    contents = {}
    for part, n in (("train", 12), ("t10k", 5)):
        images = rng.integers(0, 256, (n, 4, 4)).astype(np.uint8)
        labels = rng.integers(0, 10, n).astype(np.uint8)
        contents[f"{part}-images-idx3-ubyte"] = idx_bytes(tmp_path, images)
        contents[f"{part}-labels-idx1-ubyte"] = idx_bytes(tmp_path, labels)
    return contents


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def packed(contents):
    return {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in contents.items()}


@pytest.fixture
def mirror():
    server = Mirror()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The cache; and loopback is reached whatever proxy the environment names."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.setenv("XNN_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mnist"


@pytest.fixture
def contents(tmp_path, monkeypatch, mirror):
    """A small MNIST, whose contents have sums, and two mirrors."""
    contents = made_up_mnist(tmp_path)
    archives = tuple(
        Archive(f"{name}.gz", (File(name, len(d), sha256(d)),), 100) for name, d in contents.items()
    )
    monkeypatch.setattr(MNIST, "MNIST", archives)
    monkeypatch.setitem(MNIST.MIRRORS, "mnist", (mirror.url("first"), mirror.url("second/")))
    return contents


@pytest.fixture
def fashion(tmp_path, monkeypatch, mirror):
    """A small Fashion-MNIST, whose archives have sums, and a mirror."""
    files = packed(made_up_mnist(tmp_path))
    archives = tuple(Archive(name, (File(name[:-3]),), len(d), sha256(d)) for name, d in files.items())
    monkeypatch.setattr(MNIST, "FASHION_MNIST", archives)
    monkeypatch.setitem(MNIST.MIRRORS, "fashion_mnist", (mirror.url("fashion"),))
    return files


def serve(mirror, folder, files):
    mirror.files.update({f"{folder}/{name}": data for name, data in files.items()})


def check(data, contents):
    images = np.frombuffer(contents[IMAGES][16:], dtype=np.uint8).reshape(-1, 1, 4, 4)
    np.testing.assert_array_equal(data.train.inputs, images.astype(np.float32) / 255)
    assert data.test.inputs.shape == (5, 1, 4, 4)
    labels = np.frombuffer(contents["t10k-labels-idx1-ubyte"][8:], dtype=np.uint8)
    np.testing.assert_array_equal(data.test.targets, labels)


def test_download_then_cache(mirror, contents, folder):
    serve(mirror, "first", packed(contents))
    check(mnist(), contents)
    assert sorted(p.name for p in folder.iterdir()) == sorted(packed(contents)), (
        "nothing but the four archives"
    )
    assert len(mirror.asked) == 4
    check(mnist(download=False), contents)
    check(load("mnist"), contents)
    assert len(mirror.asked) == 4


def test_the_next_mirror_is_tried(mirror, contents):
    serve(mirror, "second", packed(contents))
    check(mnist(), contents)
    assert mirror.asked[:2] == [f"/first/{IMAGES}.gz", f"/second/{IMAGES}.gz"]


def test_another_folder(mirror, contents, tmp_path, folder):
    serve(mirror, "first", packed(contents))
    check(mnist(folder=tmp_path / "elsewhere"), contents)
    assert (tmp_path / "elsewhere" / f"{IMAGES}.gz").is_file()
    assert not folder.exists()


def test_default_folder(monkeypatch, folder):
    import pooch

    monkeypatch.delenv("XNN_DATA")
    assert cache_folder(None, "mnist") == Path(pooch.os_cache("xnn")) / "mnist"


def wrong_contents(good):
    return gzip.compress(gzip.decompress(good)[:-1] + b"\0")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (wrong_contents, f"{IMAGES}: expected contents with SHA-256"),
        (lambda good: (200, good[:50], len(good)), "50 bytes read"),
        (lambda good: good[:50], "gzip file is cut off after 50 bytes"),
        (lambda good: b"<html>sign in first</html>", "expected a gzip file, got a damaged or foreign one"),
        (lambda good: gzip.compress(b"short"), f"{IMAGES}: expected 208 bytes, got 5"),
        (lambda good: (500, b"", 0), "HTTP 500 Internal Server Error"),
    ],
)
def test_what_is_wrong_is_not_kept(mirror, contents, folder, spoil, reason):
    files = packed(contents)
    serve(mirror, "first", {f"{IMAGES}.gz": spoil(files[f"{IMAGES}.gz"])})
    with pytest.raises(DownloadError) as error:
        mnist()
    first, second = (line for line in str(error.value).splitlines() if "http://" in line)
    assert f"/first/{IMAGES}.gz: " in first
    assert reason in first
    assert f"/second/{IMAGES}.gz: HTTP 404 Not Found" in second
    assert list(folder.iterdir()) == []
    serve(mirror, "second", files)  # and the second mirror heals it
    check(mnist(), contents)


def test_archives_packed_anew_are_accepted(mirror, contents):
    serve(
        mirror,
        "first",
        {f"{name}.gz": gzip.compress(d, compresslevel=1, mtime=99) for name, d in contents.items()},
    )
    check(mnist(), contents)


def test_offline(monkeypatch, contents, folder, caplog):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setitem(MNIST.MIRRORS, "mnist", (f"http://127.0.0.1:{port}",))
    with pytest.raises(DownloadError) as error:
        mnist()
    text = str(error.value)
    assert text.startswith("mnist: 4 of 4 files could not be had.")
    assert f"http://127.0.0.1:{port}/{IMAGES}.gz: Connection refused" in text
    assert f"into the folder {folder}\n" in text
    assert f"{IMAGES}.gz, 100 bytes (or, unpacked: {IMAGES})" in text
    assert "XNN_DATA" in text
    # What the message says to do, half of it packed, half unpacked.
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, data) in enumerate(contents.items()):
        if number % 2:
            (folder / name).write_bytes(data)
        else:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
    check(mnist(), contents)
    assert not caplog.records


def test_a_folder_that_cannot_be(contents, folder, mirror):
    folder.parent.mkdir()
    folder.write_bytes(b"a file where the folder should be")
    with pytest.raises(DownloadError, match=rf"{folder}: File exists"):
        mnist()
    assert mirror.asked == []


def test_only_what_is_missing_is_named_and_asked_for(contents, folder, mirror):
    folder.mkdir(parents=True)
    for name, data in packed(contents).items():
        if name != "t10k-labels-idx1-ubyte.gz":
            (folder / name).write_bytes(data)
    with pytest.raises(DownloadError, match="mnist: 1 of 4 files could not be had") as error:
        mnist(download=False)
    assert "Downloading was switched off" in str(error.value)
    assert IMAGES not in str(error.value)
    assert mirror.asked == []
    serve(mirror, "first", packed(contents))
    check(mnist(), contents)
    assert mirror.asked == ["/first/t10k-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize("name", [IMAGES, f"{IMAGES}.gz"])
def test_a_wrong_file_put_by_hand(contents, folder, mirror, name):
    folder.mkdir(parents=True)
    (folder / name).write_bytes(contents[IMAGES][:-1])
    with pytest.raises(DownloadError) as error:
        mnist(download=False)
    assert f"{folder / name}: " in str(error.value)
    serve(mirror, "first", packed(contents))
    check(mnist(), contents)


def test_sums_of_archives(mirror, fashion, tmp_path, monkeypatch, caplog):
    serve(mirror, "fashion", fashion)
    assert fashion_mnist().train.inputs.shape == (12, 1, 4, 4)
    assert not caplog.records
    # The same contents packed anew cannot be proven right: not taken from a mirror, ...
    anew = {name: gzip.compress(gzip.decompress(d), compresslevel=1, mtime=7) for name, d in fashion.items()}
    serve(mirror, "fashion", anew)
    with pytest.raises(DownloadError, match="expected an archive with SHA-256"):
        fashion_mnist(folder=tmp_path / "new")
    # ... but from the user, with a word about it.
    for name, data in anew.items():
        (tmp_path / "new" / name).write_bytes(data)
    with caplog.at_level(logging.WARNING, "xnn"):
        assert fashion_mnist(folder=tmp_path / "new").classes[-1] == "Ankle boot"
    assert "is not the published archive, but its contents look right" in caplog.text


def test_kmnist(mirror, contents, monkeypatch):
    monkeypatch.setattr(MNIST, "KMNIST", MNIST.MNIST)
    monkeypatch.setitem(MNIST.MIRRORS, "kmnist", (mirror.url("k"),))
    serve(mirror, "k", packed(contents))
    data = kmnist(normalize=True, dtype="float64")
    np.testing.assert_allclose(data.train.inputs.mean(), 0.0, atol=1e-12)
    assert data.classes[:3] == ("o", "ki", "su")


def test_labels_that_do_not_fit(mirror, tmp_path, monkeypatch):
    contents = made_up_mnist(tmp_path)
    contents["train-labels-idx1-ubyte"] = idx_bytes(tmp_path, np.arange(11, dtype=np.uint8))
    archives = tuple(Archive(f"{name}.gz", (File(name, None, sha256(d)),)) for name, d in contents.items())
    monkeypatch.setattr(MNIST, "MNIST", archives)
    monkeypatch.setitem(MNIST.MIRRORS, "mnist", (mirror.url("m"),))
    serve(mirror, "m", packed(contents))
    with pytest.raises(ValueError, match="one label for each of 12 training images, got shape"):
        mnist()


def test_published_sums_are_whole():
    sums = [f.sha256 for a in MNIST.MNIST for f in a.holds]
    sums += [a.sha256 for a in (*MNIST.FASHION_MNIST, *MNIST.KMNIST, CIFAR10.ARCHIVE)]
    sums.append(EMNIST.SHA256)
    assert len(set(sums)) == 14
    assert all(len(s) == 64 and int(s, 16) for s in sums)


# --- EMNIST: a zip of gzip'ed IDX files ---


@pytest.fixture
def emnist_zip(tmp_path, monkeypatch, mirror):
    images = np.arange(3 * 28 * 28).astype(np.uint8).reshape(3, 28, 28)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for part in ("train", "test"):
            for what, array in (
                ("images-idx3", images),
                ("labels-idx1", np.asarray([1, 26, 3], dtype=np.uint8)),
            ):
                data = gzip.compress(idx_bytes(tmp_path, array))
                archive.writestr(f"gzip/emnist-letters-{part}-{what}-ubyte.gz", data)
    monkeypatch.setattr(EMNIST, "SHA256", sha256(stream.getvalue()))
    monkeypatch.setattr(EMNIST, "MIRRORS", (mirror.url("emnist"),))
    return images, stream.getvalue()


def test_emnist(mirror, emnist_zip, tmp_path):
    images, archive = emnist_zip
    serve(mirror, "emnist", {"gzip.zip": archive})
    data = emnist("letters")
    np.testing.assert_array_equal(data.train.inputs[:, 0], images.transpose(0, 2, 1).astype(np.float32) / 255)
    assert data.train.targets.tolist() == [0, 25, 2], "letters count from 1 in the files, from 0 here"
    assert "".join(data.classes[t] for t in data.test.targets) == "azc"
    assert [p.name for p in (tmp_path / "cache" / "emnist").iterdir()] == ["gzip.zip"]
    with pytest.raises(ValueError, match=r"emnist: expected split 'byclass', .*got 'greek'"):
        emnist("greek")
    with pytest.raises(DownloadError, match="no item named 'gzip/emnist-digits-train-images"):
        emnist("digits")


@pytest.mark.parametrize("place", ["gzip/{}.gz", "gzip/{}", "{}.gz", "{}"])
def test_emnist_unpacked_by_hand(emnist_zip, tmp_path, place, caplog):
    images, archive = emnist_zip
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        for name in opened.namelist():
            data = opened.read(name)
            path = tmp_path / place.format(Path(name).stem)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data if path.suffix == ".gz" else gzip.decompress(data))
    with caplog.at_level(logging.WARNING, "xnn"):
        data = emnist(folder=tmp_path, download=False, dtype="uint8")
    np.testing.assert_array_equal(data.train.inputs[:, 0], images.transpose(0, 2, 1))
    assert "have no published sums" in caplog.text


def test_emnist_damaged(mirror, emnist_zip):
    serve(mirror, "emnist", {"gzip.zip": emnist_zip[1][:-50]})
    with pytest.raises(DownloadError, match=r"gzip\.zip: damaged \(File is not a zip file\)"):
        emnist()


def test_emnist_classes():
    assert [
        len(EMNIST.CLASSES[s]) for s in ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
    ] == [*(62, 47, 47, 26, 10, 10)]


# --- CIFAR-10: a tar.gz of records ---


@pytest.fixture
def cifar_tar(monkeypatch, mirror, rng):
    records = rng.integers(0, 256, (6, 2, 3073)).astype(np.uint8)
    records[:, :, 0] %= 10
    names = CIFAR10._FILES
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, rows in [
            *zip(names, records, strict=True),
            ("cifar-10-batches-bin/readme.html", np.zeros(9)),
        ]:
            info = tarfile.TarInfo(name)
            info.size = rows.nbytes
            archive.addfile(info, io.BytesIO(rows.tobytes()))
    files = tuple(File(name, 2 * 3073) for name in names)
    data = stream.getvalue()
    monkeypatch.setattr(CIFAR10, "ARCHIVE", Archive("cifar-10-binary.tar.gz", files, len(data), sha256(data)))
    monkeypatch.setattr(CIFAR10, "MIRRORS", (mirror.url("cifar"),))
    return records, data


def test_cifar10(mirror, cifar_tar):
    records, archive = cifar_tar
    serve(mirror, "cifar", {"cifar-10-binary.tar.gz": archive})
    data = cifar10()
    rows = records[:5].reshape(10, 3073)
    np.testing.assert_array_equal(data.train.targets, rows[:, 0])
    np.testing.assert_array_equal(
        data.train.inputs, rows[:, 1:].reshape(10, 3, 32, 32).astype(np.float32) / 255
    )
    np.testing.assert_array_equal(data.test.targets, records[5, :, 0])
    assert len(data.mean) == len(data.std) == 3
    np.testing.assert_allclose(data.mean, data.train.inputs.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(data.std, data.train.inputs.std(axis=(0, 2, 3)), rtol=1e-5)
    normalized = cifar10(normalize=True).train.inputs
    np.testing.assert_allclose(normalized.std(axis=(0, 2, 3)), 1.0, rtol=1e-5)


def test_cifar10_unpacked_by_hand(cifar_tar, tmp_path):
    with tarfile.open(fileobj=io.BytesIO(cifar_tar[1])) as archive:
        for member in archive:
            path = tmp_path / member.name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(archive.extractfile(member).read())
    assert cifar10(folder=tmp_path, download=False).train.inputs.shape == (10, 3, 32, 32)
    path.with_name("test_batch.bin").write_bytes(b"short")
    with pytest.raises(DownloadError, match=r"test_batch\.bin: .*expected 6146 bytes, got 5"):
        cifar10(folder=tmp_path, download=False)


@pytest.mark.parametrize("length", [30, 3000])
def test_cifar10_damaged(mirror, cifar_tar, length):
    serve(mirror, "cifar", {"cifar-10-binary.tar.gz": cifar_tar[1][:length]})
    with pytest.raises(DownloadError, match=r"cifar-10-binary\.tar\.gz: .*(damaged|holds no)"):
        cifar10()
