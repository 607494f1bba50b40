"""Arrays in a GPU's memory: what other libraries hold, and what a run gives them."""

from __future__ import annotations

import math
import sys
from functools import cache
from typing import Any

import numpy as np

from ..dtypes import dtype_of
from ..errors import InputError
from ..memory import address_of
from ..tensors import is_torch
from . import dlpack
from .device import Device, Memory, current_device, device_of

_ALIGNMENT = 16
_CUDA = 2
_LEGACY_STREAM = 1
_ORDINAL = 9


class DeviceArray:
    """A C-contiguous array in the memory of a GPU.

    Libraries that know ``__dlpack__`` or ``__cuda_array_interface__`` use it where it lies;
    ``numpy()`` copies it to the host.

    Attributes:
        address: Of its first element.
        shape: Its dims.
        dtype: Of its elements; sub-byte ones take a byte each.
        device: Where it is.
        owner: What keeps the memory.
    """

    def __init__(
        self, address: int, shape: tuple[int, ...], dtype: np.dtype, device: Device, owner: Any
    ):
        self.address = address
        self.shape = shape
        self.dtype = dtype
        self.device = device
        self.owner = owner
        self.ndim = len(shape)
        self.nbytes = math.prod(shape) * dtype.itemsize

    @staticmethod
    def empty(shape: tuple[int, ...], dtype: np.dtype, device: Device) -> DeviceArray:
        """A new array with any elements."""
        memory = Memory(device, math.prod(shape) * dtype.itemsize)
        return DeviceArray(memory.address, shape, dtype, device, memory)

    def first(self, shape: tuple[int, ...]) -> DeviceArray:
        """As many of the elements, from the first one on, as a shape has."""
        return DeviceArray(self.address, shape, self.dtype, self.device, self.owner)

    def data_ptr(self) -> int:
        """The address, by the name it has in torch."""
        return self.address

    def numpy(self) -> np.ndarray:
        """A copy on the host."""
        array = np.empty(self.shape, self.dtype)
        if self.nbytes:
            with self.device.entered():
                self.device.cuda.cuMemcpyDtoH(address_of(array), self.address, self.nbytes)
        return array

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(f"an array on {self.device} is copied to the host by its numpy() only")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.dtype.kind not in "biuf":
            raise AttributeError(f"{self.dtype.name} crosses by DLPack only")
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> Any:
        """A capsule of the array, whose elements are there already whatever ``stream`` is."""
        return dlpack.export(self.address, self.shape, self.dtype, self.device.ordinal, self)

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, self.device.ordinal

    def __repr__(self) -> str:
        return f"<{self.dtype.name} {list(self.shape)} on {self.device}>"


def on_device(value: Any, name: str) -> DeviceArray | None:
    """``value`` where it lies, if that is the memory of a GPU.

    Raises:
        InputError: It lies there in a form that no kernel reads.
    """
    if is_torch(value):
        return _of_torch(value) if value.device.type == "cuda" else None
    if isinstance(value, DeviceArray):
        return value
    if hasattr(value, "__cuda_array_interface__"):
        return _aligned(_of_interface(value, name))
    if hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] == _CUDA:
        return _aligned(_of_dlpack(value, name))
    return None


def _of_torch(tensor: Any) -> DeviceArray:
    if not tensor.is_contiguous() or tensor.is_neg() or tensor.is_conj():
        tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    if tensor.data_ptr() % _ALIGNMENT:
        tensor = tensor.detach().clone()
    dtype, device = _dtype_of_torch(tensor.dtype), device_of(tensor.device.index)
    return DeviceArray(tensor.data_ptr(), tuple(tensor.shape), dtype, device, tensor)


@cache
def _dtype_of_torch(dtype: Any) -> np.dtype:
    return dtype_of(str(dtype).removeprefix("torch."))


def _of_interface(value: Any, name: str) -> DeviceArray:
    found = value.__cuda_array_interface__
    shape, dtype = tuple(found["shape"]), np.dtype(found["typestr"])
    _check_strides(found.get("strides"), shape, dtype.itemsize, name)
    address = int(found["data"][0])
    device = _device_of(address)
    _wait(device, found.get("stream") or _LEGACY_STREAM)
    return DeviceArray(address, shape, dtype, device, value)


def _of_dlpack(value: Any, name: str) -> DeviceArray:
    device = device_of(value.__dlpack_device__()[1])
    tensor = dlpack.Imported(value.__dlpack__(stream=_LEGACY_STREAM))
    _check_strides(tensor.strides, tensor.shape, 1, name)
    _wait(device, _LEGACY_STREAM)
    return DeviceArray(tensor.address, tensor.shape, tensor.dtype, device, tensor)


def _check_strides(strides: Any, shape: tuple[int, ...], unit: int, name: str) -> None:
    if strides is None or 0 in shape:
        return
    for size, stride in zip(reversed(shape), reversed(tuple(strides)), strict=True):
        if size != 1 and stride != unit:
            raise InputError(f"input {name}: its elements on the GPU are not contiguous: copy it")
        unit *= size


def _aligned(array: DeviceArray) -> DeviceArray:
    """The same elements where kernels may load 16 bytes at once."""
    if array.address % _ALIGNMENT == 0:
        return array
    copy = DeviceArray.empty(array.shape, array.dtype, array.device)
    with array.device.entered():
        array.device.cuda.cuMemcpyDtoD(copy.address, array.address, array.nbytes)
    _wait(array.device, _LEGACY_STREAM)
    return copy


def _device_of(address: int) -> Device:
    """The device whose memory it is."""
    device = current_device()
    if not address:
        return device
    with device.entered():
        return device_of(device.cuda.number(device.cuda.cuPointerGetAttribute, _ORDINAL, address))


def _wait(device: Device, stream: int) -> None:
    """Until everything that was put on a stream is done."""
    with device.entered():
        device.cuda.cuStreamSynchronize(stream)


def torch_empty(shape: tuple[int, ...], dtype: np.dtype, device: Device) -> Any:
    """A new tensor on the device, from torch's own memory."""
    kind, place = _in_torch(dtype, device.ordinal)
    return sys.modules["torch"].empty(shape, dtype=kind, device=place)


def torch_first(tensor: Any, shape: tuple[int, ...]) -> Any:
    """As many of the elements of a contiguous tensor, from the first one on, as a shape has."""
    return tensor.view(-1)[: math.prod(shape)].view(shape)


@cache
def _in_torch(dtype: np.dtype, ordinal: int) -> tuple[Any, Any]:
    torch = sys.modules["torch"]
    return getattr(torch, dtype.name), torch.device("cuda", ordinal)


def torch_stream(device: Device) -> int:
    """The stream that torch uses in this thread."""
    return sys.modules["torch"].cuda.current_stream(device.ordinal).cuda_stream
