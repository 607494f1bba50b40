"""A GPU: its name and architecture, and its memory."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import numpy as np

from ..errors import DeviceError
from ..memory import address_of
from .driver import Driver, driver

_MAJOR, _MINOR, _MULTIPROCESSORS = 75, 76, 16
_PORTABLE = 1
_WITHOUT_TIMING = 2


class Device:
    """The GPU that the driver counts as ``ordinal``, in the context that torch would use too.

    Attributes:
        ordinal: From 0, among the visible ones.
        name: Such as ``NVIDIA H200``.
        arch: Such as ``sm_90``.
        multiprocessors: How many it has.
    """

    def __init__(self, cuda: Driver, ordinal: int):
        self.cuda = cuda
        self.ordinal = ordinal
        handle = cuda.number(cuda.cuDeviceGet, ordinal)
        text = ctypes.create_string_buffer(256)
        cuda.cuDeviceGetName(text, len(text), handle)
        self.name = text.value.decode(errors="replace")
        major, minor = (cuda.number(cuda.cuDeviceGetAttribute, a, handle) for a in (_MAJOR, _MINOR))
        self.arch = f"sm_{major}{minor}"
        self.multiprocessors = cuda.number(cuda.cuDeviceGetAttribute, _MULTIPROCESSORS, handle)
        self.context = cuda.handle(cuda.cuDevicePrimaryCtxRetain, handle)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Makes this the current device of the calling thread for a while."""
        before = self.cuda.handle(self.cuda.cuCtxGetCurrent)
        if before == self.context:
            yield
            return
        self.cuda.cuCtxSetCurrent(self.context)
        try:
            yield
        finally:
            self.cuda.cuCtxSetCurrent(before)

    def __str__(self) -> str:
        return f"{self.name} ({self.arch})"


class Memory:
    """Bytes on a device, at a multiple of 256, freed with this object.

    Raises:
        DeviceError: The device has not that much left.
    """

    def __init__(self, device: Device, size: int = 0):
        self._device = device
        self.size = 0
        self.address = 0
        self.reserve(size)

    def reserve(self, size: int) -> None:
        """Makes it at least that large; what it held is lost when it moves.

        Raises:
            DeviceError: The device has not that much left.
        """
        if size <= self.size:
            return
        with self._device.entered():
            self._free()
            self.address = self._device.cuda.handle(self._device.cuda.cuMemAlloc, size)
            self.size = size

    def _free(self) -> None:
        address, self.address, self.size = self.address, 0, 0
        if address:
            self._device.cuda.cuMemFree(address)

    def __del__(self) -> None:
        # At the end of the process the driver may be gone already.
        with suppress(DeviceError, AttributeError), self._device.entered():
            self._free()


class Pinned:
    """Memory of the host that the device reads and writes by itself.

    Attributes:
        bytes: The memory; no view of it may be used once it moves or this object is gone.
    """

    def __init__(self, device: Device):
        self._device = device
        self._address = 0
        self.bytes = np.empty(0, np.uint8)

    def reserve(self, size: int) -> None:
        """Makes it at least that large; what it held is lost when it moves.

        Raises:
            DeviceError: The host has not that much left.
        """
        if size <= self.bytes.nbytes:
            return
        cuda = self._device.cuda
        with self._device.entered():
            self._free()
            self._address = cuda.handle(cuda.cuMemHostAlloc, size, _PORTABLE)
        self.bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self._address))

    def _free(self) -> None:
        address, self._address = self._address, 0
        self.bytes = np.empty(0, np.uint8)
        if address:
            self._device.cuda.cuMemFreeHost(address)

    def __del__(self) -> None:
        with suppress(DeviceError, AttributeError), self._device.entered():
            self._free()


class Event:
    """A moment in the work of a stream; one that is ``timed`` can be held against another."""

    def __init__(self, device: Device, timed: bool = False):
        self._device = device
        self._cuda = device.cuda
        flags = 0 if timed else _WITHOUT_TIMING
        self._handle = self._cuda.handle(self._cuda.cuEventCreate, flags)

    def record(self, stream: int) -> None:
        """Makes it the moment when everything is done that is on the stream now."""
        self._cuda.cuEventRecord(self._handle, stream)

    def hold(self, stream: int) -> None:
        """Lets a stream wait for the moment."""
        self._cuda.cuStreamWaitEvent(stream, self._handle, 0)

    def seconds_since(self, start: Event) -> float:
        """Waits for the moment, and tells how long it was after another one."""
        self._cuda.cuEventSynchronize(self._handle)
        milliseconds = ctypes.c_float()
        self._cuda.cuEventElapsedTime(ctypes.byref(milliseconds), start._handle, self._handle)
        return milliseconds.value / 1e3

    def __del__(self) -> None:
        with suppress(DeviceError, AttributeError), self._device.entered():
            self._cuda.cuEventDestroy(self._handle)


def upload(device: Device, array: np.ndarray) -> Memory:
    """A copy of the array's memory on the device."""
    memory = Memory(device, array.nbytes)
    if array.nbytes:
        with device.entered():
            device.cuda.cuMemcpyHtoD(memory.address, address_of(array), array.nbytes)
    return memory


@cache
def device_of(ordinal: int) -> Device:
    """The device of that number.

    Raises:
        DeviceError: There is no driver, or no such device.
    """
    return Device(driver(), ordinal)


def current_device() -> Device:
    """The device that the calling thread uses already, else the first.

    Raises:
        DeviceError: There is no driver, or no GPU.
    """
    cuda = driver()
    used = cuda.handle(cuda.cuCtxGetCurrent)
    return device_of(cuda.number(cuda.cuCtxGetDevice) if used else 0)


def describe() -> str:
    """The GPU that models run on here, or why there is none."""
    try:
        device = current_device()
    except DeviceError as problem:
        return f"none, since {problem}"
    return f"{device}, driver for CUDA {device.cuda.version()}"
