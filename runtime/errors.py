"""What loading and running a compiled model raises; each message says what to do."""

from __future__ import annotations


class ModelError(Exception):
    """Base of everything the runtime raises on purpose."""


class ArtifactError(ModelError):
    """The file is no artifact, is damaged, or was made for another machine or version."""


class InputError(ModelError, ValueError):
    """The arrays given to a model do not fit its inputs; the message lists every problem."""


class RunError(ModelError, RuntimeError):
    """The model met values it cannot compute with, such as an index out of range."""


class DeviceError(ModelError, RuntimeError):
    """There is no GPU to run on, it cannot run this code, or a call to its driver failed.

    Attributes:
        code: The driver's error number; 0 where the driver was not asked.
    """

    def __init__(self, message: str, code: int = 0):
        super().__init__(message)
        self.code = code
