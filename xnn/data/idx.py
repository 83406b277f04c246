"""IDX: the file format of MNIST, an array with a short header.

    bytes 0-1   zero
    byte  2     the dtype: 08 uint8, 09 int8, 0B int16, 0C int32, 0D float32, 0E float64
    byte  3     the number of dimensions d
    then        d lengths, 4 bytes each
    then        the elements, the last index fastest

Everything is big endian. Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "File
formats".
"""

from __future__ import annotations

import array as machine
import gzip
import math
import struct
import sys
import zlib
from os import PathLike
from pathlib import Path
from typing import Any

from xnn.backends import device as find_device
from xnn.backends import to_host
from xnn.backends.namespaces import Array, dtype_name

__all__ = ["read_idx", "write_idx"]

_GZIP = b"\x1f\x8b"

# code in the file: dtype, and the letter under which Python's array and memoryview know it
_DTYPES = {
    0x08: ("uint8", "B"),
    0x09: ("int8", "b"),
    0x0B: ("int16", "h"),
    0x0C: ("int32", "i"),
    0x0D: ("float32", "f"),
    0x0E: ("float64", "d"),
}
_CODES = {name: code for code, (name, _) in _DTYPES.items()}


def read_idx(path: str | PathLike[str]) -> Array:
    """The array in an IDX file, plain or gzip'ed (the first bytes tell which), as a host array.

    Raises:
        ValueError: the file is no IDX file, is cut off, or has bytes left over. The message names the file,
            what was expected and what came.
    """
    path = Path(path)
    data = path.read_bytes()
    if data[:2] == _GZIP:
        data = unzip(data, str(path))
    return find_device("cpu").xp.asarray(parse_idx(data, str(path)), copy=True)


def write_idx(path: str | PathLike[str], array: Array) -> None:
    """Write an array as an IDX file, gzip'ed if ``path`` ends in ``.gz``; the same array gives the same bytes.

    Raises:
        TypeError: the format has no such dtype.
    """
    path = Path(path)
    values = to_host(array)
    name = dtype_name(values.dtype)
    if name not in _CODES:
        raise TypeError(f"write_idx: expected dtype {', '.join(_CODES)}, got {name}")
    code = _CODES[name]
    elements = machine.array(_DTYPES[code][1], values.tobytes())
    if sys.byteorder == "little":
        elements.byteswap()
    header = struct.pack(f">HBB{values.ndim}I", 0, code, values.ndim, *values.shape)
    data = header + elements.tobytes()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    path.write_bytes(data)


def unzip(data: bytes, name: str) -> bytes:
    """The contents of a gzip file. Raises ValueError, which names the file, if it is damaged."""
    try:
        return gzip.decompress(data)
    except EOFError:
        raise ValueError(f"{name}: the gzip file is cut off after {len(data)} bytes") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{name}: expected a gzip file, got a damaged or foreign one ({error})") from None


def parse_idx(data: bytes, name: str) -> Array:
    """The array in the bytes of an IDX file, without a copy where the elements are single bytes.

    ``name`` is the file's name in errors.
    """
    if len(data) < 4 or data[:2] != b"\0\0":
        raise ValueError(f"{name}: expected an IDX file, which starts with two zero bytes, got {data[:4]!r}")
    code, ndim = data[2], data[3]
    if code not in _DTYPES:
        known = ", ".join(f"{c:#04x} ({n})" for c, (n, _) in _DTYPES.items())
        raise ValueError(f"{name}: expected an IDX file with dtype {known}, got {code:#04x}")
    start = 4 + 4 * ndim
    if len(data) < start:
        raise ValueError(
            f"{name}: expected an IDX header of {start} bytes for {ndim} dimensions, got {len(data)} bytes"
        )
    shape = struct.unpack_from(f">{ndim}I", data, 4)
    dtype, letter = _DTYPES[code]
    expected = start + math.prod(shape) * struct.calcsize(letter)
    if len(data) != expected:
        raise ValueError(
            f"{name}: expected {expected} bytes for {dtype} of shape {tuple(shape)}, got {len(data)} bytes"
        )
    elements: Any = memoryview(data)[start:]
    if letter not in "Bb" and sys.byteorder == "little":
        swapped = machine.array(letter)
        swapped.frombytes(elements)
        swapped.byteswap()
        elements = swapped
    elif letter != "B":
        elements = elements.cast(letter)
    xp = find_device("cpu").xp
    if math.prod(shape) == 0:
        return xp.zeros(shape, dtype=getattr(xp, dtype))
    return xp.reshape(xp.asarray(elements), shape)
