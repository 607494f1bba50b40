"""A stand-in for NVIDIA's driver, for machines without a GPU.

It has the C interface of the real one: arguments cross as they would into ``libcuda.so.1``, and a
kernel's arguments are read from memory where the binary says that its parameters are. Device memory
is memory of the host; work waits on its stream until something waits for it. What a kernel computes
is told by a Python function, its body.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import pytest
from cubins import Entry, elf_size, entries
from mlc.runtime.cuda import device as device_module
from mlc.runtime.cuda import driver as driver_module
from mlc.runtime.cuda.driver import PROTOTYPES, TYPES
from mlc.runtime.cuda.loaded import runs_on

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
T = TypeVar("T")
SHARED_BY_DEFAULT, SHARED_AT_MOST = 48 << 10, 227 << 10
LEGACY = 1


class Refusal(Exception):
    """The call fails with an error code."""

    def __init__(self, code: int, why: str = ""):
        super().__init__(why)
        self.code = code


@dataclass
class Function:
    entry: Entry
    module: int
    attributes: dict[int, int] = field(default_factory=dict)


@dataclass
class Call:
    """A launch as its kernel sees it.

    Attributes:
        name: The kernel's.
        grid: Blocks in three dims.
        arguments: The bytes of each parameter.
        memory: Where addresses lead.
    """

    name: str
    grid: tuple[int, ...]
    arguments: list[bytes]
    memory: Memory
    cluster: int = 1

    def integer(self, number: int) -> int:
        """A parameter as a signed integer."""
        return int.from_bytes(self.arguments[number], "little", signed=True)

    def real(self, number: int) -> float:
        """A parameter as a float of 32 bits."""
        return float(np.frombuffer(self.arguments[number], np.float32)[0])

    def array(self, number: int, dtype: np.typing.DTypeLike, *shape: int) -> np.ndarray:
        """The memory that a parameter points to; all of it must be allocated."""
        address = int.from_bytes(self.arguments[number], "little")
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        return self.memory.view(address, size).view(dtype).reshape(shape)


class Memory:
    """Allocated ranges of memory; new ones are full of 0xCD."""

    def __init__(self):
        self.blocks: dict[int, np.ndarray] = {}
        self.limit = 1 << 32

    def allocate(self, size: int) -> int:
        if size <= 0:
            raise Refusal(1, "no bytes")
        if sum(b.nbytes for b in self.blocks.values()) + size > self.limit:
            raise Refusal(2)
        raw = np.full(size + 256, 0xCD, np.uint8)
        start = -raw.ctypes.data % 256
        block = raw[start : start + size]
        self.blocks[block.ctypes.data] = block
        return block.ctypes.data

    def free(self, address: int) -> None:
        if self.blocks.pop(address, None) is None:
            raise Refusal(1, "not allocated")

    def room(self, address: int) -> int:
        """The bytes from there to the end of what was allocated; 0 outside."""
        for start, block in self.blocks.items():
            if start <= address < start + block.nbytes:
                return start + block.nbytes - address
        return 0

    def view(self, address: int, size: int) -> np.ndarray:
        if size == 0:
            return np.empty(0, np.uint8)
        for start, block in self.blocks.items():
            if start <= address and address + size <= start + block.nbytes:
                return block[address - start : address - start + size]
        raise Refusal(700, f"{size} bytes at {address:#x} are not allocated")


@dataclass
class Stream:
    """Jobs in order; a job that gives False waits for something. Other streams go on in turns."""

    others: list[Stream]
    work: list[Callable[[], object]] = field(default_factory=list)
    done: int = 0

    def drain(self, until: int | None = None) -> None:
        until = len(self.work) if until is None else until
        while self.done < until:
            moved = [stream.step() for stream in (*self.others, self)]
            assert any(moved), "streams wait for each other"

    def step(self) -> bool:
        if self.done == len(self.work):
            return False
        self.done += 1  # also when the job fails
        ready = self.work[self.done - 1]() is not False
        self.done -= not ready
        return ready


@dataclass
class Node:
    function: Function
    grid: tuple[int, ...]
    arguments: list[bytes]
    after: tuple[int, ...] = ()
    cluster: int = 1


def _last_first(nodes: dict[int, Node]) -> Iterator[Node]:
    """In an order that graphs allow: of those that may run, the one that was added last."""
    left = dict(nodes)
    while left:
        ready = [h for h, node in left.items() if not set(node.after) & set(left)]
        yield left.pop(ready[-1])


@dataclass
class GraphExec:
    nodes: dict[int, Node]
    last: tuple[Stream, int] | None = None


class StandIn:
    """The library; its functions are attributes, as those of a ``ctypes.CDLL``.

    Attributes:
        devices: Name, and compute capability, of each GPU.
        bodies: What kernels compute, by name; those without one compute nothing.
        body_of: Asked for the body of a kernel that is not in ``bodies``.
        calls: How often each function was called.
        ran: Names of the kernels that ran, in order.
        failures: What went wrong inside, as text.
    """

    def __init__(self, arch: tuple[int, int] = (9, 0), version: int = 13000, count: int = 1):
        self.devices = [(f"Stand-in {n}", arch) for n in range(count)]
        self.version = version
        self.memory, self.host = Memory(), Memory()
        self.bodies: dict[str, Callable[[Call], None]] = {}
        self.body_of: Callable[[str, bytes], Callable[[Call], None] | None] = lambda name, image: (
            None
        )
        self.calls: dict[str, int] = dict.fromkeys(PROTOTYPES, 0)
        self.ran: list[str] = []
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

    def DeviceGetCount(self, place: int) -> None:
        ctypes.c_int.from_address(place).value = len(self.devices)

    def DeviceGet(self, place: int, ordinal: int) -> None:
        if not 0 <= ordinal < len(self.devices):
            raise Refusal(100)
        ctypes.c_int.from_address(place).value = ordinal

    def DeviceGetName(self, place: int, size: int, ordinal: int) -> None:
        name = self.devices[ordinal][0].encode() + b"\0"
        ctypes.memmove(place, name, min(size, len(name)))

    def DeviceGetAttribute(self, place: int, attribute: int, ordinal: int) -> None:
        ctypes.c_int.from_address(place).value = self.devices[ordinal][1][attribute - 75]

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
        ctypes.c_float.from_address(place).value = 0.5

    def EventDestroy(self, event: int) -> None:
        self._get(event, list)
        del self._objects[event]

    def _later(self, stream: int, job: Callable[[], object]) -> None:
        self._get(stream or LEGACY, Stream).work.append(job)

    def _drain_all(self) -> None:
        for stream in list(self._streams):
            stream.drain()

    # Modules

    def ModuleLoadData(self, place: int, image: int) -> None:
        header = ctypes.string_at(image, 4)
        elf = header == b"\x7fELF"
        size = elf_size(ctypes.string_at(image, 64)) if elf else 0
        data = ctypes.string_at(image, size) if elf else ctypes.string_at(image)
        try:
            found = entries(data)
        except (ValueError, IndexError, KeyError):
            found = {}
        if not found:
            raise Refusal(200)
        here = "sm_{}{}".format(*self.devices[self._current() & 0xFF][1])
        for entry in found.values():
            if elf and not runs_on(f"sm_{entry.arch}", here):
                raise Refusal(209)
        self._made(place, (found, data))

    def ModuleGetFunction(self, place: int, module: int, name: int) -> None:
        found, data = self._get(module, tuple)
        title = ctypes.string_at(name).decode()
        if title not in found:
            raise Refusal(500)
        if title not in self.bodies and (body := self.body_of(title, data)):
            self.bodies[title] = body
        self._made(place, Function(found[title], module))

    def ModuleUnload(self, module: int) -> None:
        self._get(module, tuple)
        of_module = [h for h, f in self._objects.items() if getattr(f, "module", 0) == module]
        for handle in (module, *of_module):
            del self._objects[handle]

    def FuncSetAttribute(self, function: int, attribute: int, value: int) -> None:
        found = self._get(function, Function)
        if attribute == 8 and value > SHARED_AT_MOST:
            raise Refusal(1, f"{value} bytes of shared memory")
        found.attributes[attribute] = value

    # Graphs

    def GraphCreate(self, place: int, flags: int) -> None:
        self._made(place, {})

    def GraphAddKernelNode(self, place: int, graph: int, before: int, count: int, p: int) -> None:
        nodes = self._get(graph, dict)
        after = tuple((ctypes.c_uint64 * count).from_address(before)) if count else ()
        if not set(after) <= set(nodes):
            raise Refusal(1, "a node waits for one that is not in the graph")
        self._made(place, self._node(p, after))
        handle = ctypes.c_void_p.from_address(place).value or 0
        nodes[handle] = self._get(handle, Node)

    def GraphKernelNodeSetAttribute(self, node: int, attribute: int, value: int) -> None:
        x, y, z = (ctypes.c_uint * 3).from_address(value)
        if attribute == 4:
            if (y, z) != (1, 1) or self._get(node, Node).grid[0] % x:
                raise Refusal(1, "the clusters do not fill the grid")
            self._get(node, Node).cluster = x

    def GraphInstantiateWithFlags(self, place: int, graph: int, flags: int) -> None:
        nodes = self._get(graph, dict)
        self._made(place, GraphExec({handle: replace(n) for handle, n in nodes.items()}))

    def GraphExecKernelNodeSetParams(self, executable: int, node: int, params: int) -> None:
        nodes = self._get(executable, GraphExec).nodes
        if node not in nodes:
            raise Refusal(1, "no node of this graph")
        kept = nodes[node]
        nodes[node] = replace(self._node(params, kept.after), cluster=kept.cluster)

    def GraphLaunch(self, executable: int, stream: int) -> None:
        found = self._get(executable, GraphExec)
        if found.last:
            before, until = found.last
            self._later(stream, lambda: before.done >= until)
        for node in _last_first(found.nodes):
            self._later(stream, lambda node=node: self._run(node))
        target = self._get(stream or LEGACY, Stream)
        found.last = target, len(target.work)

    def GraphExecDestroy(self, executable: int) -> None:
        self._get(executable, GraphExec)
        del self._objects[executable]

    def GraphDestroy(self, graph: int) -> None:
        for handle in (graph, *self._get(graph, dict)):
            del self._objects[handle]

    def _node(self, params: int, after: tuple[int, ...]) -> Node:
        """Reads ``CUDA_KERNEL_NODE_PARAMS_v2`` and the arguments, as the binary has them."""
        handle = ctypes.c_uint64.from_address(params).value
        *dims, shared = (ctypes.c_uint * 7).from_address(params + 8)
        arguments, extra, kernel, _ = (ctypes.c_uint64 * 4).from_address(params + 40)
        grid, block = tuple(dims[:3]), tuple(dims[3:])
        function = self._get(handle, Function)
        self._check(function, grid, block, shared)
        if extra or kernel:
            raise Refusal(1, "arguments given twice")
        places = (ctypes.c_uint64 * len(function.entry.parameters)).from_address(arguments)
        values = [
            ctypes.string_at(place, size)
            for place, (_, size) in zip(places, function.entry.parameters, strict=True)
        ]
        return Node(function, grid, values, after)

    def _check(self, function: Function, grid, block, shared: int) -> None:
        entry = function.entry
        if not all(0 < n <= most for n, most in zip(grid, (2**31 - 1, 65535, 65535), strict=True)):
            raise Refusal(1, f"{entry.name}: a grid of {grid}")
        if block != (entry.block or block):
            raise Refusal(1, f"{entry.name}: blocks of {block}, compiled for {entry.block}")
        if shared > function.attributes.get(8, SHARED_BY_DEFAULT - entry.shared):
            raise Refusal(1, f"{entry.name}: {shared} bytes of shared memory")

    def _run(self, node: Node) -> None:
        name = node.function.entry.name
        self.ran.append(name)
        body = self.bodies.get(name)
        if body:
            body(Call(name, node.grid, node.arguments, self.memory, node.cluster))


@contextmanager
def standing_in(standin: StandIn) -> Iterator[StandIn]:
    """Uses the stand-in as this machine's driver; afterwards, nothing may have gone wrong in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver_module, "_library", lambda: standin)
        _forget()
        yield standin
    _forget()
    assert not standin.failures, "\n".join(standin.failures)


def _forget() -> None:
    driver_module.driver.cache_clear()
    device_module.device_of.cache_clear()
