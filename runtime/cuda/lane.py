"""What one run at a time uses on a device: scratch memory, staging memory, a stream, graphs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ..errors import DeviceError
from ..memory import address_of
from .clock import REPEATS, Clock
from .device import Event, Memory, Pinned
from .graph import Graph
from .loaded import Loaded
from .plan import Plan
from .program import Program
from .steps import Launch
from .walk import Course, Question, Stretch

Parts = tuple[Loaded, Sequence[Launch]]
_GRAPHS = 8
# Of a model whose runs are cut where the data decide.
_MANY_GRAPHS = 64
_WORD = 8


@dataclass(frozen=True)
class Ran:
    """A run: its stretches, and the values of all symbols that it found."""

    stretches: Sequence[Stretch]
    symbols: Sequence[int]


class Lane:
    """Runs follow each other here; no two callers use a lane at once.

    Attributes:
        device: Where.
        parts: The code, and all launches.
        stream: For runs that no other library's stream is meant for.
    """

    def __init__(self, loaded: Loaded, program: Program):
        self._loaded = loaded
        self.parts = loaded, program.launches
        self.device = loaded.device
        self._cuda = loaded.device.cuda
        self.stream = self._cuda.handle(self._cuda.cuStreamCreate, 0)
        self._event = Event(self.device)
        self._arena, self._scratch, self._memory = (Memory(self.device) for _ in range(3))
        self._pinned, self._told = Pinned(self.device), Pinned(self.device)
        self._graphs: OrderedDict[Hashable, Graph] = OrderedDict()
        self._most = _MANY_GRAPHS if program.decides else _GRAPHS
        self._each = _scratch_of(program.launches)
        self._busy: int | None = None
        self._last: tuple[Stretch, tuple[int, ...], Graph] | None = None

    def __del__(self) -> None:
        with suppress(DeviceError, AttributeError), self.device.entered():
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

    def launch(self, plan: Plan, addresses: Sequence[int], stream: int) -> Ran:
        """Puts a run on a stream; where the data decide how it goes on, it is waited for.

        Args:
            plan: Of the inputs' shapes.
            addresses: Of all inputs, then of all outputs.
            stream: May be another library's.

        Returns:
            What was run and found.
        """
        if self._busy not in (None, stream):
            self._event.hold(stream)
        self._arena.reserve(plan.arena)
        run, ran = plan.begin(), []
        course = run.course()
        stretch = next(course, None)
        while stretch is not None:
            if len(stretch.numbers):
                self._ready(plan, stretch, tuple(addresses)).launch(stream)
                self._busy = stream
            ran.append(stretch)
            stretch = self._following(course, stretch.question, addresses, stream)
        return Ran(ran, run.symbols)

    def _following(
        self, course: Course, question: Question | None, addresses: Sequence[int], stream: int
    ) -> Stretch | None:
        """What is run next, when it is known."""
        if question is None:
            return next(course, None)
        place = int(self._bases(addresses)[question.base]) + question.offset
        self._told.reserve(_WORD)
        told = self._told.bytes[: question.size]
        self._cuda.cuMemcpyDtoHAsync(address_of(told), place, question.size, stream)
        self.wait(stream)
        return course.send(int.from_bytes(told.tobytes(), "little", signed=True))

    def wait(self, stream: int) -> None:
        """Until all runs of this lane are done."""
        self._cuda.cuStreamSynchronize(stream)
        self._busy = None

    def clock(self, ran: Sequence[Stretch], addresses: Sequence[int]) -> Clock:
        """A clock of each launch of a run, which is repeated in a graph of its own.

        One in a loop is timed as it was the first time, and counts as often as it ran.
        """
        found = counted(ran)
        chains = [one.repeated(0, REPEATS) for one, _ in found.values()]
        graphs = self.graphs(self.parts, chains, addresses)
        counts = (count for _, count in found.values())
        return Clock(self, dict(zip(found, zip(graphs, counts, strict=True), strict=True)))

    def graphs(
        self, parts: Parts, stretches: Sequence[Stretch], addresses: Sequence[int]
    ) -> list[Graph]:
        """Graphs of stretches of this program, or of one like it, on this lane's memory."""
        self._last = None
        self.make_room(parts, stretches)
        return [Graph(*parts, s, self.cells(s, addresses)) for s in stretches]

    def make_room(self, parts: Parts, stretches: Sequence[Stretch]) -> None:
        """Provides scratch memory, which must not move any more once graphs are made."""
        each = _scratch_of(parts[1])
        for stretch in stretches:
            self._make_room(stretch, each)

    def cells(self, stretch: Stretch, addresses: Sequence[int]) -> np.ndarray:
        """All arguments of all launches."""
        return self._bases(addresses)[stretch.base] + stretch.offset

    def leave(self) -> None:
        """Lets the next run of this lane find the end of this one, which goes on by itself."""
        if self._busy is not None:
            self._event.record(self._busy)

    def _ready(self, plan: Plan, stretch: Stretch, addresses: tuple[int, ...]) -> Graph:
        """The graph of a stretch, set to these addresses."""
        if self._last is None or self._last[:2] != (stretch, addresses):
            self._last = None
            self._last = stretch, addresses, self._set(plan.symbols, stretch, addresses)
        return self._last[2]

    def _set(self, symbols: tuple[int, ...], stretch: Stretch, addresses: Sequence[int]) -> Graph:
        self._make_room(stretch, self._each)
        cells = self.cells(stretch, addresses)
        graph = self._graph((symbols, stretch.form), stretch)
        if graph is None:
            graph = Graph(*self.parts, stretch, cells)
        else:
            graph.update(stretch, cells)
        self._graphs[symbols, stretch.form] = graph
        return graph

    def _make_room(self, stretch: Stretch, each: np.ndarray) -> None:
        """Provides scratch memory; a block of a launch takes as much as ``each`` says."""
        wanted = each[stretch.numbers] * stretch.grids.prod(axis=1)
        self._scratch.reserve(int(wanted.max(initial=0)))

    def _bases(self, addresses: Sequence[int]) -> np.ndarray:
        own = 0, self._arena.address, self._loaded.weights.address, self._scratch.address
        return np.array([*own, *addresses], np.uint64)

    def _graph(self, key: Hashable, stretch: Stretch) -> Graph | None:
        """The stretch's graph; the one not used for longest when there are many."""
        found = self._graphs.pop(key, None)
        if found is None and len(self._graphs) >= self._most:
            _, found = self._graphs.popitem(last=False)
        return found if found and found.fits(stretch) else None


def _scratch_of(launches: Sequence[Launch]) -> np.ndarray:
    """The bytes that a block of each launch takes."""
    return np.array([launch.kernel.scratch for launch in launches], np.int64)


def counted(ran: Sequence[Stretch]) -> dict[int, tuple[Stretch, int]]:
    """Each launch as it was the first time, and how often it ran."""
    found: dict[int, tuple[Stretch, int]] = {}
    for stretch in ran:
        for position, number in enumerate(stretch.numbers.tolist()):
            one, count = found.get(number) or (stretch.repeated(position, 1), 0)
            found[number] = one, count + 1
    return found
