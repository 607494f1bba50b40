"""Torch tensors as numpy arrays over the same memory, and torch's dtypes as numpy's."""

from __future__ import annotations

import warnings

import ml_dtypes
import numpy as np
import torch

from ...ir.errors import MlcError

DTYPES: dict[torch.dtype, np.dtype] = {
    dtype: np.dtype(counterpart)
    for dtype, counterpart in {
        torch.bool: np.bool_,
        torch.int8: np.int8,
        torch.int16: np.int16,
        torch.int32: np.int32,
        torch.int64: np.int64,
        torch.uint8: np.uint8,
        torch.uint16: np.uint16,
        torch.uint32: np.uint32,
        torch.uint64: np.uint64,
        torch.float16: np.float16,
        torch.bfloat16: ml_dtypes.bfloat16,
        torch.float32: np.float32,
        torch.float64: np.float64,
        torch.float8_e4m3fn: ml_dtypes.float8_e4m3fn,
        torch.float8_e4m3fnuz: ml_dtypes.float8_e4m3fnuz,
        torch.float8_e5m2: ml_dtypes.float8_e5m2,
        torch.float8_e5m2fnuz: ml_dtypes.float8_e5m2fnuz,
        torch.float8_e8m0fnu: ml_dtypes.float8_e8m0fnu,
    }.items()
}
TORCH_DTYPES = {counterpart: dtype for dtype, counterpart in DTYPES.items()}
_CARRIERS = {1: torch.uint8, 2: torch.int16}


def numpy_dtype(dtype: torch.dtype) -> np.dtype:
    """The numpy dtype of a torch dtype.

    Raises:
        MlcError: There is none.
    """
    if dtype not in DTYPES:
        raise MlcError(f"tensors of dtype {dtype} are not supported")
    return DTYPES[dtype]


def numpy_view(tensor: torch.Tensor) -> np.ndarray:
    """The values of a tensor, sharing its memory where it lies in the CPU's.

    Raises:
        MlcError: The tensor is sparse, quantized, has no data or an unsupported dtype.
    """
    dtype = numpy_dtype(tensor.dtype)
    if tensor.is_meta or isinstance(tensor, torch._subclasses.FakeTensor):
        raise MlcError("the tensor has no data (it is on the meta device): load the weights first")
    if tensor.layout != torch.strided:
        raise MlcError(f"the layout {tensor.layout} is not supported: call to_dense()")
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    if dtype.isbuiltin == 1:
        return plain.numpy()
    return plain.view(_CARRIERS[dtype.itemsize]).numpy().view(dtype)


def torch_view(array: np.ndarray) -> torch.Tensor:
    """The inverse of ``numpy_view``: a tensor over the memory of an array, not to be written to.

    Raises:
        MlcError: Torch has no such dtype.
    """
    if array.dtype not in TORCH_DTYPES:
        raise MlcError(f"torch has no tensors of dtype {array.dtype}")
    if any(stride < 0 for stride in array.strides) or not array.dtype.isnative:
        array = np.ascontiguousarray(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        if array.dtype.isbuiltin == 1:
            return torch.from_numpy(array)
        carrier = {1: np.uint8, 2: np.int16}[array.dtype.itemsize]
        return torch.from_numpy(array.view(carrier)).view(TORCH_DTYPES[array.dtype])
