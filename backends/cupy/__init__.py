"""CUDA devices through CuPy, which is not imported before a CUDA device is asked for."""

from xnn.backends.cupy.device import CudaDevice
from xnn.backends.cupy.probe import report, usable_device

__all__ = ["CudaDevice", "prepare", "report", "usable_device"]


def prepare() -> None:
    """Called once, when the first CuPy array is met: from then on operations on CuPy arrays go to the kernels."""
    import cupy
    from xnn.backends.cupy.clip import clip_without_waiting
    from xnn.backends.cupy.precision import teach_bfloat16
    from xnn.backends.registry import activate

    teach_bfloat16()
    clip_without_waiting()
    activate("cupy", cupy.ndarray)
