"""What a GPU consists of, as far as ``cuda_standin`` needs it: memory, streams, kernels, nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import numpy as np
from cubins import Entry
from mlc.runtime.memory import block as block_of

LARGE = 64 << 20


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
    """Allocated ranges of memory; new ones are full of 0xCD, but large ones, for speed, of 0."""

    def __init__(self):
        self.blocks: dict[int, np.ndarray] = {}
        self.limit = 1 << 32

    def allocate(self, size: int) -> int:
        if size <= 0:
            raise Refusal(1, "no bytes")
        if sum(b.nbytes for b in self.blocks.values()) + size > self.limit:
            raise Refusal(2)
        raw = block_of(size + 256) if size > LARGE else np.full(size + 256, 0xCD, np.uint8)
        start = -raw.ctypes.data % 256
        made = raw[start : start + size]
        self.blocks[made.ctypes.data] = made
        return made.ctypes.data

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


@dataclass(eq=False)
class Stream:
    """Jobs in order; a job that gives False waits for something. Other streams go on in turns."""

    others: list[Stream]
    work: list[Callable[[], object]] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    done: int = 0

    def add(self, job: Callable[[], object], milliseconds: float) -> None:
        self.work.append(job)
        self.costs.append(milliseconds)

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


@dataclass
class Work:
    """What a library put on a stream while that was captured."""

    name: str
    job: Callable[[], object]
    after: tuple[int, ...] = ()


@dataclass
class Child:
    """A graph that is a node of another one."""

    nodes: dict[int, Node | Work | Child]
    after: tuple[int, ...] = ()


Nodes = dict[int, Node | Work | Child]


def last_first(nodes: Nodes) -> Iterator[Node | Work]:
    """In an order that graphs allow: of those that may run, the one that was added last."""
    place = {handle: -n for n, handle in enumerate(nodes)}
    waits = {handle: len(set(node.after)) for handle, node in nodes.items()}
    behind: dict[int, list[int]] = {}
    for handle, node in nodes.items():
        for other in set(node.after):
            behind.setdefault(other, []).append(handle)
    ready = [(place[handle], handle) for handle in nodes if not waits[handle]]
    heapify(ready)
    while ready:
        _, handle = heappop(ready)
        node = nodes[handle]
        yield from last_first(node.nodes) if isinstance(node, Child) else (node,)
        for other in behind.get(handle, ()):
            waits[other] -= 1
            if not waits[other]:
                heappush(ready, (place[other], other))


@dataclass
class GraphExec:
    nodes: Nodes
    last: tuple[Stream, int] | None = None
