"""What one run at a time uses on a device: scratch memory, staging memory, a stream, graphs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from ..errors import DeviceError
from ..memory import address_of
from .device import Event, Memory, Pinned
from .graph import Graph
from .loaded import Loaded
from .plan import Plan
from .program import Program

_GRAPHS = 8
_REPEATS = 20


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
        self._event = Event(self._device)
        self._arena, self._scratch, self._memory = (Memory(self._device) for _ in range(3))
        self._pinned = Pinned(self._device)
        self._graphs: OrderedDict[tuple[int, ...], Graph] = OrderedDict()
        self._busy: int | None = None
        self._last: tuple[Plan, tuple[int, ...]] | None = None

    def __del__(self) -> None:
        with suppress(DeviceError, AttributeError), self._device.entered():
            self._cuda.cuStreamDestroy(self.stream)

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
        if self._busy not in (None, stream):
            self._event.hold(stream)
        graph = self._ready(plan, tuple(addresses))
        graph.launch(stream)
        self._busy = stream

    def wait(self, stream: int) -> None:
        """Until all runs of this lane are done."""
        self._cuda.cuStreamSynchronize(stream)
        self._busy = None

    def times(self, plan: Plan, addresses: Sequence[int]) -> list[int]:
        """Nanoseconds of each launch of a run, each repeated in a graph of its own."""
        self._last = None
        cells = self._cells(plan, addresses)
        start, end = (Event(self._device, timed=True) for _ in range(2))
        spent = [0] * len(self._program.launches)
        for number in np.flatnonzero(plan.active):
            chain = [int(number)] * _REPEATS
            graph = Graph(self._loaded, self._program.launches, plan, cells, chain)
            graph.launch(self.stream)
            start.record(self.stream)
            graph.launch(self.stream)
            end.record(self.stream)
            spent[number] = round(1e9 * end.seconds_since(start) / _REPEATS)
        return spent

    def leave(self) -> None:
        """Lets the next run of this lane find the end of this one, which goes on by itself."""
        if self._busy is not None:
            self._event.record(self._busy)

    def _ready(self, plan: Plan, addresses: tuple[int, ...]) -> Graph:
        """The plan's graph, set to these addresses."""
        if self._last != (plan, addresses):
            self._last = None
            self._set(plan, addresses)
            self._last = plan, addresses
        return self._graphs[plan.symbols]

    def _set(self, plan: Plan, addresses: tuple[int, ...]) -> None:
        cells = self._cells(plan, addresses)
        graph = self._graph(plan)
        if graph is None:
            graph = Graph(self._loaded, self._program.launches, plan, cells)
        else:
            graph.update(plan, cells)
        self._graphs[plan.symbols] = graph

    def _cells(self, plan: Plan, addresses: Sequence[int]) -> np.ndarray:
        """All arguments of all launches, with an arena of the right size."""
        self._arena.reserve(plan.arena)
        self._scratch.reserve(plan.scratch)
        own = 0, self._arena.address, self._loaded.weights.address, self._scratch.address
        bases = np.array([*own, *addresses], np.uint64)
        return bases[self._program.cell_base] + plan.offsets

    def _graph(self, plan: Plan) -> Graph | None:
        """The plan's graph; the one not used for longest when there are many."""
        found = self._graphs.pop(plan.symbols, None)
        if found is None and len(self._graphs) >= _GRAPHS:
            _, found = self._graphs.popitem(last=False)
        return found if found and found.fits(plan) else None
