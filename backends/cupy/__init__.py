"""CUDA devices through CuPy. Importing this module does not import CuPy: that happens when a CUDA device is asked for."""

from xnn.backends.cupy.device import CudaDevice
from xnn.backends.cupy.probe import report, usable_device

__all__ = ["CudaDevice", "report", "usable_device"]
