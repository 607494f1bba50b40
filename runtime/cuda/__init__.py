"""Runs models on NVIDIA GPUs through the driver alone: neither torch nor Triton is needed.

A run is one launch of a CUDA graph, or several where the data decide how it goes on. The room needs
numpy and ctypes.
"""

from __future__ import annotations

from .arrays import DeviceArray
from .device import current_device, describe
from .engine import CudaEngine

__all__ = ["CudaEngine", "DeviceArray", "current_device", "describe"]
