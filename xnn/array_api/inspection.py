"""What the namespace can do, asked in the words of the Array API standard."""

from __future__ import annotations

from typing import Any

from xnn.array_api import data_types
from xnn.backends import Device, devices
from xnn.backends import device as find_device


class Info:
    """The namespace's capabilities, defaults, dtypes and devices."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean indexing and results whose shape depends on the data are supported, in any number of dimensions."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": None}

    def default_device(self) -> Device:
        """Where creation functions put arrays: the CPU."""
        return find_device("cpu")

    def default_dtypes(self, *, device: Any = None) -> dict[str, Any]:
        """The dtypes that creation functions choose, on any device."""
        names = {
            "real floating": "float32",
            "complex floating": "complex64",
            "integral": "int64",
            "indexing": "int64",
        }
        return {kind: getattr(data_types, name) for kind, name in names.items()}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Any]:
        """The dtypes of a kind (all for None), by name, on any device."""
        found = {name: getattr(data_types, name) for name in data_types.NAMES}
        return {name: d for name, d in found.items() if kind is None or data_types.isdtype(d, kind)}

    def devices(self) -> list[Device]:
        """The usable devices."""
        return [report.device for report in devices() if report.device is not None]


def __array_namespace_info__() -> Info:
    """What the namespace can do; see `Info`."""
    return Info()
