"""A mirror on loopback for the tests of downloads, and a made-up MNIST to serve from it."""

from __future__ import annotations

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from xnn.data import write_idx


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
