"""Arrays of any origin to numpy and back: numpy, torch, DLPack, Python numbers and lists."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .dtypes import dtype_of
from .errors import InputError

# Dtypes that numpy lacks travel between torch and numpy as integers of the same width.
_CARRIERS = {
    "bfloat16": "int16",
    "float8_e4m3fn": "uint8",
    "float8_e4m3fnuz": "uint8",
    "float8_e5m2": "uint8",
    "float8_e5m2fnuz": "uint8",
    "float8_e8m0fnu": "uint8",
}


def is_torch(value: Any) -> bool:
    """Whether ``value`` is a torch tensor; torch is not imported to find out."""
    if type(value) is np.ndarray:
        return False
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def from_torch(tensor: Any, name: str) -> np.ndarray:
    """The tensor's memory as an array.

    Raises:
        InputError: The tensor is not a dense one on the CPU.
    """
    if tensor.device.type != "cpu" or tensor.layout is not sys.modules["torch"].strided:
        raise InputError(
            f"input {name}: expected a dense tensor on the CPU, got one on {tensor.device} with "
            f"layout {tensor.layout}; use .cpu() or .to_dense() first"
        )
    kind = str(tensor.dtype).removeprefix("torch.")
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if kind not in _CARRIERS:
        return tensor.numpy()
    carrier = getattr(sys.modules["torch"], _CARRIERS[kind])
    return tensor.view(carrier).numpy().view(dtype_of(kind))


def to_torch(array: np.ndarray) -> Any:
    """The array's memory as a tensor; sub-byte dtypes come as bytes."""
    torch = sys.modules["torch"]
    kind = array.dtype.name
    if kind in _CARRIERS:
        return torch.from_numpy(array.view(_CARRIERS[kind])).view(getattr(torch, kind))
    if array.dtype.kind == "V":
        return torch.from_numpy(array.view(np.uint8))
    return torch.from_numpy(array)


def plain_array(value: Any, dtype: np.dtype, name: str) -> np.ndarray:
    """``value`` as an array in this machine's byte order.

    Python numbers and lists have no dtype and take ``dtype`` where no value is lost in kind;
    whatever has a dtype keeps it.

    Raises:
        InputError: ``value`` is nothing that can be read as an array.
    """
    try:
        if isinstance(value, (bool, int, float, list, tuple)):
            array = np.asarray(value)
            loses = array.size and not np.can_cast(array.dtype, dtype, "same_kind")
            return array if loses else array.astype(dtype)
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        array = np.asarray(value)
    except (ValueError, TypeError, BufferError, RuntimeError) as error:
        raise InputError(
            f"input {name}: expected an array, got {type(value).__name__}: {error}"
        ) from None
    native = array.dtype.newbyteorder("=") if array.dtype.kind in "iufb" else array.dtype
    return array if native == array.dtype else array.astype(native)
