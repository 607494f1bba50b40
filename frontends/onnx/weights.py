"""Tensors of a model file as arrays; external data is mapped into memory, not read."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import onnx

from ...ir.errors import InvalidModelError
from ...ir.types import BOOL, DTYPE_NAMES, bit_width

_SPARSE_LIMIT = 1 << 26


class Weights:
    """Makes arrays of tensors; ``folder`` is the only place where external data may lie."""

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.files: dict[Path, mmap.mmap] = {}

    def array(self, tensor: onnx.TensorProto) -> np.ndarray:
        """The values of a tensor.

        Raises:
            InvalidModelError: The tensor is damaged, its data is outside of the folder, or its
                elements are of a type that mlc has not (strings, complex numbers).
        """
        try:
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
            if dtype not in DTYPE_NAMES:
                kind = onnx.TensorProto.DataType.Name(tensor.data_type)
                raise InvalidModelError(f"elements of type {kind} are not supported")
            array = np.asarray(self._read(tensor, dtype))
        except InvalidModelError as error:
            raise InvalidModelError(f"tensor '{tensor.name}': {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise InvalidModelError(f"tensor '{tensor.name}' is damaged: {error}") from None
        return array.view(np.uint8) != 0 if dtype == BOOL else array

    def dense(self, sparse: onnx.SparseTensorProto) -> np.ndarray:
        """The values of a sparse tensor with its zeros.

        Raises:
            InvalidModelError: As ``array``; or positions are outside of the tensor.
        """
        values, indices = self.array(sparse.values), self.array(sparse.indices)
        shape, name = tuple(sparse.dims), sparse.values.name
        if min(shape, default=0) < 0 or np.prod(shape, dtype=float) > _SPARSE_LIMIT:
            raise InvalidModelError(f"sparse tensor '{name}': shape {list(shape)} is too large")
        dense = np.zeros(shape, values.dtype)
        try:
            where = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
            dense.reshape(-1)[where] = values
        except (ValueError, IndexError, TypeError) as error:
            raise InvalidModelError(f"sparse tensor '{name}' is damaged: {error}") from None
        return dense

    def _read(self, tensor: onnx.TensorProto, dtype: np.dtype) -> np.ndarray:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            return onnx.numpy_helper.to_array(tensor)
        data, start, length = self._external(tensor)
        if bit_width(dtype) % 8 == 0:
            count = length // dtype.itemsize
            return np.frombuffer(data, dtype, count, start).reshape(tensor.dims)
        inside = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims)
        inside.raw_data = data[start : start + length]
        return onnx.numpy_helper.to_array(inside)

    def _external(self, tensor: onnx.TensorProto) -> tuple[mmap.mmap | bytes, int, int]:
        """The file with the data of a tensor, and where in it."""
        entries = {e.key: e.value for e in tensor.external_data}
        data = self._file(entries.get("location", ""))
        start = int(entries.get("offset", 0))
        length = int(entries.get("length", len(data) - start))
        if start < 0 or length < 0 or start + length > len(data):
            raise InvalidModelError(
                f"bytes {start} to {start + length} of external data '{entries['location']}' "
                f"are asked for, it has {len(data)}"
            )
        return data, start, length

    def _file(self, location: str) -> mmap.mmap | bytes:
        if self.folder is None:
            raise InvalidModelError("its data is external: give the path of the model file")
        path = Path(os.path.realpath(self.folder / location))
        if not path.is_relative_to(os.path.realpath(self.folder)) or not path.is_file():
            raise InvalidModelError(f"external data '{location}' is no file in the model's folder")
        if path not in self.files and path.stat().st_size == 0:
            return b""
        if path not in self.files:
            with path.open("rb") as file:
                self.files[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self.files[path]
