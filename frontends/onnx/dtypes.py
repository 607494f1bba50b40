"""The element types of ONNX."""

from __future__ import annotations

import numpy as np
import onnx

from ...ir.types import DTYPE_NAMES
from .refusal import Refusal

_CODES = set(onnx.TensorProto.DataType.values()) - {onnx.TensorProto.UNDEFINED}


def dtype_of(code: int) -> np.dtype:
    """The dtype of a number of ``onnx.TensorProto.DataType``.

    Raises:
        Refusal: There is none: strings, complex numbers.
    """
    dtype = onnx.helper.tensor_dtype_to_np_dtype(code) if code in _CODES else np.dtype(object)
    if dtype not in DTYPE_NAMES:
        name = onnx.TensorProto.DataType.Name(code) if code in _CODES else str(code)
        raise Refusal(f"elements of type {name} are not supported")
    return np.dtype(dtype)
