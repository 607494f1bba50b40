"""DLPack by ctypes: capsules of arrays in a GPU's memory, out and in."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import dtype_of
from ..errors import InputError

_CUDA = 2
_NAME, _USED = b"dltensor", b"used_dltensor"
_KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}
_EXTENDED = {
    "bfloat16": 4,
    "float8_e3m4": 7,
    "float8_e4m3": 8,
    "float8_e4m3b11fnuz": 9,
    "float8_e4m3fn": 10,
    "float8_e4m3fnuz": 11,
    "float8_e5m2": 12,
    "float8_e5m2fnuz": 13,
    "float8_e8m0fnu": 14,
}
_NAMES = {code: name for name, code in _EXTENDED.items()}
_PLAIN = {0: "int{}", 1: "uint{}", 2: "float{}", 6: "bool"}


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    _fields_ = [
        ("tensor", _Tensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    ]


def _api(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = getattr(ctypes.pythonapi, name)
    # A prototype of our own, since that of the shared object is everybody's.
    prototype = ctypes.PYFUNCTYPE(result, *arguments)
    return prototype(ctypes.cast(function, ctypes.c_void_p).value or 0)


# Capsules go by address: in its destructor, a capsule must not be referred to any more.
_new = _api("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_pointer = _api("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
_is_valid = _api("PyCapsule_IsValid", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
_rename = _api("PyCapsule_SetName", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
_exported: dict[int, tuple[_Managed, Any, Any]] = {}


def export(address: int, shape: tuple[int, ...], dtype: np.dtype, device: int, owner: Any) -> Any:
    """A capsule of a contiguous array; ``owner`` lives until the taker lets go of it.

    Raises:
        BufferError: DLPack has no such dtype.
    """
    code = _KINDS.get(dtype.kind, _EXTENDED.get(dtype.name))
    if code is None:
        raise BufferError(f"DLPack has no dtype {dtype.name}")
    dims = (ctypes.c_int64 * len(shape))(*shape)
    managed = _Managed(deleter=_release)
    managed.tensor = _Tensor(
        address, _CUDA, device, len(shape), code, 8 * dtype.itemsize, 1, dims, None, 0
    )
    key = ctypes.addressof(managed)
    _exported[key] = managed, dims, owner
    return _new(key, _NAME, ctypes.cast(_destroy, ctypes.c_void_p))


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _release(managed: int) -> None:
    _exported.pop(managed, None)


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _destroy(capsule: int) -> None:
    """Of a capsule: lets go of an array that nobody took."""
    if _is_valid(capsule, _NAME):
        _exported.pop(_pointer(capsule, _NAME), None)


class Imported:
    """An array taken from a capsule, which is given back with this object.

    Attributes:
        address: Of the first element.
        shape: Its dims.
        strides: In elements; None for a contiguous array.
        dtype: Its dtype.

    Raises:
        InputError: The capsule is none, or of a dtype that numpy cannot name.
    """

    def __init__(self, capsule: Any):
        self._managed: Any = None
        if not _is_valid(id(capsule), _NAME):
            raise InputError("expected a capsule of DLPack named dltensor")
        address = _pointer(id(capsule), _NAME)
        tensor = _Managed.from_address(address).tensor
        self.dtype = _dtype(tensor)
        self.address = (tensor.data or 0) + tensor.byte_offset
        self.shape = tuple(tensor.shape[: tensor.ndim])
        self.strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
        self._managed = address
        _rename(id(capsule), _USED)

    def __del__(self) -> None:
        if self._managed:
            deleter = _Managed.from_address(self._managed).deleter
            if deleter:
                deleter(self._managed)


def _dtype(tensor: _Tensor) -> np.dtype:
    name = _NAMES.get(tensor.code) or _PLAIN.get(tensor.code, "").format(tensor.bits)
    if not name or tensor.lanes != 1:
        raise InputError(f"DLPack's dtype {tensor.code} of {tensor.bits} bits is not supported")
    return dtype_of(name)
