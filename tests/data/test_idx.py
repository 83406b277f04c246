import gzip
import struct

import numpy as np
import pytest

from xnn.data import read_idx, write_idx

DTYPES = ["uint8", "int8", "int16", "int32", "float32", "float64"]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4), (0, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_written_is_read(tmp_path, rng, dtype, shape, suffix):
    array = (rng.standard_normal(shape) * 100).astype("int8").astype(dtype)
    path = tmp_path / f"array{suffix}"
    write_idx(path, array)
    back = read_idx(path)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)
    assert back.flags.writeable


def test_bytes_are_those_of_the_format(tmp_path):
    write_idx(tmp_path / "a", np.asarray([[1, -2], [258, 3]], dtype=np.int16))
    assert (tmp_path / "a").read_bytes() == bytes.fromhex("00000b02 00000002 00000002 0001 fffe 0102 0003")
    (tmp_path / "b").write_bytes(bytes.fromhex("00000d01 00000002 3f800000 c0200000"))
    np.testing.assert_array_equal(read_idx(tmp_path / "b"), np.asarray([1.0, -2.5], dtype=np.float32))


def test_the_same_array_gives_the_same_archive(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_idx(tmp_path / name, np.arange(1000, dtype=np.uint8))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_gzip_is_known_by_its_first_bytes_and_not_by_its_name(tmp_path):
    write_idx(tmp_path / "a.gz", np.arange(4, dtype=np.uint8))
    (tmp_path / "plain").write_bytes((tmp_path / "a.gz").read_bytes())
    np.testing.assert_array_equal(read_idx(tmp_path / "plain"), np.arange(4, dtype=np.uint8))


def test_dtype_that_the_format_lacks(tmp_path):
    with pytest.raises(TypeError, match=r"write_idx: expected dtype uint8, .*got int64"):
        write_idx(tmp_path / "a", np.arange(3))


GOOD = bytes.fromhex("00000802 00000002 00000003") + bytes(6)


# (No time of day in the bytes: they name the tests, whose names must be the same in every process.)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "starts with two zero bytes, got b''"),
        (b"<!DOCTYPE html>", "starts with two zero bytes, got b'<!DO'"),
        (struct.pack(">HBB", 0, 0x0A, 1), r"with dtype 0x08 \(uint8\), .*got 0x0a"),
        (GOOD[:7], "header of 12 bytes for 2 dimensions, got 7 bytes"),
        (GOOD[:-1], r"expected 18 bytes for uint8 of shape \(2, 3\), got 17 bytes"),
        (GOOD + b"\0", r"expected 18 bytes for uint8 of shape \(2, 3\), got 19 bytes"),
        (gzip.compress(GOOD, mtime=0)[:-10], "gzip file is cut off after"),
        (gzip.compress(GOOD, mtime=0)[:-8] + bytes(8), "expected a gzip file, got a damaged or foreign one"),
        (b"\x1f\x8bnothing of the sort", "expected a gzip file, got a damaged or foreign one"),
    ],
)
def test_broken_files(tmp_path, data, message):
    path = tmp_path / "broken-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(path)
    assert str(path) in str(error.value)
