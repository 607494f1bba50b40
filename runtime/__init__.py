"""How a compiled model runs: the artifact, its loader, and the calls into native code.

The room needs numpy and llvmlite's linker and nothing of the compiler.
"""

from __future__ import annotations

from .artifact import Artifact
from .errors import ArtifactError, DeviceError, InputError, ModelError, RunError
from .model import Model, load
from .signature import Signature, Symbol, TensorSpec

__all__ = [
    "Artifact",
    "ArtifactError",
    "DeviceError",
    "InputError",
    "Model",
    "ModelError",
    "RunError",
    "Signature",
    "Symbol",
    "TensorSpec",
    "load",
]
