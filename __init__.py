"""mlc: a compression-aware compiler for machine-learning models.

``mlc.compile`` takes an ONNX model or a PyTorch module to native code; ``mlc.load`` brings an
artifact back. Nothing heavy is imported until one of the names below is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .driver import compile as compile
    from .driver import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "compile", "load"]

_LAZY = {"compile": ".driver", "load": ".driver"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'mlc' has no attribute '{name}'")
    return getattr(importlib.import_module(_LAZY[name], __name__), name)
