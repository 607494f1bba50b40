"""What one run at a time uses on a device: scratch memory, staging memory, a stream, graphs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from ..errors import DeviceError
from ..memory import address_of
from .device import Memory, Pinned
from .graph import Graph
from .loaded import Loaded
from .plan import Plan
from .program import Program

_GRAPHS = 8
_WITHOUT_TIMING = 2


class Lane:
    """Runs follow each other here; no two callers use a lane at once.

    Attributes:
        stream: For runs that no other library's stream is meant for.
    """

    def __init__(self, loaded: Loaded, program: Program):
        self._loaded = loaded
        self._program = program
        self._device = loaded.device
        self._cuda = loaded.device.cuda
        self.stream = self._cuda.handle(self._cuda.cuStreamCreate, 0)
        self._event = self._cuda.handle(self._cuda.cuEventCreate, _WITHOUT_TIMING)
        self._arena, self._scratch, self._memory = (Memory(self._device) for _ in range(3))
        self._pinned = Pinned(self._device)
        self._graphs: OrderedDict[tuple[int, ...], Graph] = OrderedDict()
        self._busy = 0
        self._last: tuple[Plan, tuple[int, ...]] | None = None

    def __del__(self) -> None:
        with suppress(DeviceError, AttributeError), self._device.entered():
            self._cuda.cuStreamDestroy(self.stream)
            self._cuda.cuEventDestroy(self._event)

    def stage(self, size: int) -> None:
        """Makes the staging memory, on both sides, at least that large."""
        self._memory.reserve(size)
        self._pinned.reserve(size)

    @property
    def staging(self) -> int:
        """The staging memory's address on the device."""
        return self._memory.address

    def send(self, array: np.ndarray, place: int, stream: int) -> int:
        """Copies an array to a place in the staging memory; its address there."""
        address, size = self._memory.address + place, array.nbytes
        if size:
            pinned = self._pinned.bytes[place : place + size]
            pinned[:] = array.reshape(-1).view(np.uint8)
            self._cuda.cuMemcpyHtoDAsync(address, address_of(pinned), size, stream)
        return address

    def fetch(self, place: int, size: int, stream: int) -> np.ndarray:
        """The bytes at a place in the staging memory; they are there after ``wait``."""
        pinned = self._pinned.bytes[place : place + size]
        if size:
            address = self._memory.address + place
            self._cuda.cuMemcpyDtoHAsync(address_of(pinned), address, size, stream)
        return pinned

    def launch(self, plan: Plan, addresses: Sequence[int], stream: int) -> None:
        """Puts a run on a stream.

        Args:
            plan: Of the inputs' shapes.
            addresses: Of all inputs, then of all outputs.
            stream: May be another library's.
        """
        if self._busy not in (0, stream):
            self._cuda.cuStreamWaitEvent(stream, self._event, 0)
        graph = self._ready(plan, tuple(addresses))
        graph.launch(stream)
        self._busy = stream

    def wait(self, stream: int) -> None:
        """Until all runs of this lane are done."""
        self._cuda.cuStreamSynchronize(stream)
        self._busy = 0

    def leave(self) -> None:
        """Lets the next run of this lane find the end of this one, which goes on by itself."""
        if self._busy:
            self._cuda.cuEventRecord(self._event, self._busy)

    def _ready(self, plan: Plan, addresses: tuple[int, ...]) -> Graph:
        """The plan's graph, set to these addresses."""
        if self._last != (plan, addresses):
            self._last = None
            self._set(plan, addresses)
            self._last = plan, addresses
        return self._graphs[plan.symbols]

    def _set(self, plan: Plan, addresses: tuple[int, ...]) -> None:
        self._arena.reserve(plan.arena)
        self._scratch.reserve(plan.scratch)
        own = 0, self._arena.address, self._loaded.weights.address, self._scratch.address
        bases = np.array([*own, *addresses], np.uint64)
        cells = bases[self._program.cell_base] + plan.offsets
        graph = self._graph(plan)
        if graph is None:
            graph = Graph(self._loaded, self._program.launches, plan, cells)
        else:
            graph.update(plan, cells)
        self._graphs[plan.symbols] = graph

    def _graph(self, plan: Plan) -> Graph | None:
        """The plan's graph; the one not used for longest when there are many."""
        found = self._graphs.pop(plan.symbols, None)
        if found is None and len(self._graphs) >= _GRAPHS:
            _, found = self._graphs.popitem(last=False)
        return found if found and found.fits(plan) else None
