"""Errors of backends."""


class DeviceError(RuntimeError):
    """A device is unknown or not usable. The message says why and what to do."""
