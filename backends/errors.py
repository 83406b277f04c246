"""Errors of backends."""


class DeviceError(RuntimeError):
    """A device is unknown or not usable. The message says why and what to do."""


class OutOfMemoryError(DeviceError, MemoryError):
    """A device has not the memory that was asked for. The message says how much that was, what is in use and free, and
    what may help.
    """
