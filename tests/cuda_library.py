"""The part of ``cuda_standin`` that is the same for all programs: devices, memory, streams."""

from __future__ import annotations

import ctypes
import itertools
import threading
import traceback
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from cuda_machine import Memory, Refusal, Stream
from mlc.runtime.cuda.driver import PROTOTYPES, TYPES

ERRORS = {
    1: "CUDA_ERROR_INVALID_VALUE",
    2: "CUDA_ERROR_OUT_OF_MEMORY",
    100: "CUDA_ERROR_NO_DEVICE",
    201: "CUDA_ERROR_INVALID_CONTEXT",
    200: "CUDA_ERROR_INVALID_IMAGE",
    209: "CUDA_ERROR_NO_BINARY_FOR_GPU",
    222: "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
    400: "CUDA_ERROR_INVALID_HANDLE",
    500: "CUDA_ERROR_NOT_FOUND",
    700: "CUDA_ERROR_ILLEGAL_ADDRESS",
    719: "CUDA_ERROR_LAUNCH_FAILED",
}
LEGACY = 1
MULTIPROCESSORS = 3
T = TypeVar("T")


class Library:
    """Its functions are attributes, as those of a ``ctypes.CDLL``; code is loaded in ``StandIn``.

    Attributes:
        devices: Name, and compute capability, of each GPU.
        calls: How often each function was called.
        failures: What went wrong inside, as text.
    """

    def __init__(self, arch: tuple[int, int] = (9, 0), version: int = 13000, count: int = 1):
        self.devices = [(f"Stand-in {n}", arch) for n in range(count)]
        self.version = version
        self.memory, self.host = Memory(), Memory()
        self.calls: dict[str, int] = dict.fromkeys(PROTOTYPES, 0)
        self.failures: list[str] = []
        self._streams: list[Stream] = []
        self._objects: dict[int, object] = {}
        self.add_stream(LEGACY)
        self._handles = itertools.count(0x1000, 16)
        self._lock = threading.RLock()
        self._local = threading.local()
        self._texts: dict[int, ctypes.Array] = {}
        for name, types in PROTOTYPES.items():
            prototype = ctypes.CFUNCTYPE(ctypes.c_int, *(TYPES[t] for t in types))
            setattr(self, name, prototype(self._guarded(name)))

    def _guarded(self, name: str) -> Callable[..., int]:
        body = getattr(self, name.partition("_v")[0].removeprefix("cu"))
        free = ("cuInit", "cuDriver", "cuGetError", "cuDevice", "cuCtx")

        def call(*arguments: int) -> int:
            with self._lock:
                self.calls[name] += 1
                try:
                    if not name.startswith(free) and not self._current():
                        raise Refusal(201)
                    body(*(a or 0 for a in arguments))
                except Refusal as refusal:
                    if str(refusal):
                        self.failures.append(f"{name}: {refusal}")
                    return refusal.code
                except BaseException:
                    self.failures.append(traceback.format_exc())
                    return 719
                return 0

        return call

    def _current(self) -> int:
        return getattr(self._local, "context", 0)

    def add_stream(self, handle: int) -> None:
        """A stream that somebody else made."""
        self._objects[handle] = stream = Stream(self._streams)
        self._streams.append(stream)

    def _made(self, place: int, thing: object) -> None:
        handle = next(self._handles)
        self._objects[handle] = thing
        ctypes.c_void_p.from_address(place).value = handle

    def _get(self, handle: int, kind: type[T]) -> T:
        thing = self._objects.get(handle)
        if not isinstance(thing, kind):
            raise Refusal(400, f"{handle:#x} is no {kind.__name__}")
        return thing

    # The device

    def Init(self, flags: int) -> None:
        if not self.devices:
            raise Refusal(100)

    def DriverGetVersion(self, place: int) -> None:
        ctypes.c_int.from_address(place).value = self.version

    def GetErrorName(self, code: int, place: int) -> None:
        self._text(place, ERRORS.get(code, "CUDA_ERROR_UNKNOWN"))

    def GetErrorString(self, code: int, place: int) -> None:
        self._text(place, f"error {code} of the stand-in")

    def _text(self, place: int, text: str) -> None:
        kept = self._texts.setdefault(hash(text), ctypes.create_string_buffer(text.encode()))
        ctypes.c_void_p.from_address(place).value = ctypes.addressof(kept)

    def DeviceGet(self, place: int, ordinal: int) -> None:
        if not 0 <= ordinal < len(self.devices):
            raise Refusal(100)
        ctypes.c_int.from_address(place).value = ordinal

    def DeviceGetName(self, place: int, size: int, ordinal: int) -> None:
        name = self.devices[ordinal][0].encode() + b"\0"
        ctypes.memmove(place, name, min(size, len(name)))

    def DeviceGetAttribute(self, place: int, attribute: int, ordinal: int) -> None:
        major, minor = self.devices[ordinal][1]
        told = {16: MULTIPROCESSORS, 75: major, 76: minor}
        ctypes.c_int.from_address(place).value = told[attribute]

    def DevicePrimaryCtxRetain(self, place: int, ordinal: int) -> None:
        ctypes.c_void_p.from_address(place).value = 0x100 + ordinal

    def CtxGetCurrent(self, place: int) -> None:
        ctypes.c_void_p.from_address(place).value = self._current() or None

    def CtxSetCurrent(self, context: int) -> None:
        self._local.context = context

    def CtxGetDevice(self, place: int) -> None:
        ctypes.c_int.from_address(place).value = self._current() & 0xFF

    def PointerGetAttribute(self, place: int, attribute: int, address: int) -> None:
        if attribute != 9 or not self.memory.room(address):
            raise Refusal(1, "no device's memory")
        ctypes.c_int.from_address(place).value = 0

    # Memory

    def MemAlloc(self, place: int, size: int) -> None:
        ctypes.c_uint64.from_address(place).value = self.memory.allocate(size)

    def MemFree(self, address: int) -> None:
        self._drain_all()
        self.memory.free(address)

    def MemHostAlloc(self, place: int, size: int, flags: int) -> None:
        ctypes.c_void_p.from_address(place).value = self.host.allocate(size)

    def MemFreeHost(self, address: int) -> None:
        self._drain_all()
        self.host.free(address)

    def MemcpyHtoD(self, to: int, source: int, size: int) -> None:
        self._drain_all()
        ctypes.memmove(self.memory.view(to, size).ctypes.data, source, size)

    def MemcpyDtoH(self, to: int, source: int, size: int) -> None:
        self._drain_all()
        ctypes.memmove(to, self.memory.view(source, size).ctypes.data, size)

    def MemcpyDtoD(self, to: int, source: int, size: int) -> None:
        self._drain_all()
        self.memory.view(to, size)[:] = self.memory.view(source, size)

    def MemcpyHtoDAsync(self, to: int, source: int, size: int, stream: int) -> None:
        copy = self.memory.view(to, size), self.host.view(source, size)
        self._later(stream, lambda: np.copyto(*copy))

    def MemcpyDtoHAsync(self, to: int, source: int, size: int, stream: int) -> None:
        copy = self.host.view(to, size), self.memory.view(source, size)
        self._later(stream, lambda: np.copyto(*copy))

    # Streams

    def StreamCreate(self, place: int, flags: int) -> None:
        self.add_stream(handle := next(self._handles))
        ctypes.c_void_p.from_address(place).value = handle

    def StreamDestroy(self, stream: int) -> None:
        self._get(stream, Stream).drain()
        self._streams.remove(self._get(stream, Stream))
        del self._objects[stream]

    def StreamSynchronize(self, stream: int) -> None:
        if stream in (0, LEGACY):
            self._drain_all()
        else:
            self._get(stream, Stream).drain()

    def StreamWaitEvent(self, stream: int, event: int, flags: int) -> None:
        recorded = self._get(event, list)[-1:]
        self._later(stream, lambda: all(s.done >= until for s, until in recorded))

    def EventCreate(self, place: int, flags: int) -> None:
        self._made(place, [])

    def EventRecord(self, event: int, stream: int) -> None:
        found = self._get(stream or LEGACY, Stream)
        self._get(event, list).append((found, len(found.work)))

    def EventSynchronize(self, event: int) -> None:
        for stream, until in self._get(event, list)[-1:]:
            stream.drain(until)

    def EventElapsedTime(self, place: int, start: int, end: int) -> None:
        if not self._get(start, list) or not self._get(end, list):
            raise Refusal(400, "an event that was not recorded")
        (stream, since), (_, until) = self._get(start, list)[-1], self._get(end, list)[-1]
        ctypes.c_float.from_address(place).value = sum(stream.costs[since:until])

    def EventDestroy(self, event: int) -> None:
        self._get(event, list)
        del self._objects[event]

    def _later(self, stream: int, job: Callable[[], object], milliseconds: float = 0.0) -> None:
        self._get(stream or LEGACY, Stream).add(job, milliseconds)

    def _drain_all(self) -> None:
        for stream in list(self._streams):
            stream.drain()
