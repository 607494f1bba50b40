"""Launch sites: what a kernel is handed when it runs, as words of memory; and what is around them.

A run is a sequence of steps: a launch, or a branch or loop around further steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir.dims import Dim, Shape, floordiv
from ...passes.memory_plan import Place
from .text import Text

_TABLES = {"input": "%inputs", "output": "%outputs", "held": "%held"}
FIELDS = ("inputs", "outputs", "symbols", "arena", "weights", "expanded", "pool", "profile")


Room = Sequence[tuple[Place, Dim]]


@dataclass(frozen=True)
class Site:
    """One launch: the kernel's name, where its buffers are, its symbols, its tasks.

    ``found`` are the symbols that it finds out: the words of them come after its buffers. ``loop``
    is the number of the loop over samples that it stands in. ``room`` are the pointers to memory
    that has to be got before, with the bytes.
    """

    number: int
    kernel: str
    buffers: tuple[Place, ...]
    symbols: tuple[str, ...]
    tasks: Dim
    grain: int
    found: tuple[str, ...] = ()
    loop: int | None = None
    room: Room = ()

    @property
    def words(self) -> int:
        """How many words a launch takes: the last is the first task."""
        return len(self.buffers) + len(self.found) + len(self.symbols) + 1


@dataclass(frozen=True)
class Side:
    """One side of a branch: what it does, where it leaves the results, sizes that it tells."""

    steps: Sequence[Step]
    results: Sequence[Place]
    sizes: Mapping[str, Dim]


@dataclass(frozen=True)
class Branch:
    """One of two sides, by a condition; ``pointers`` are set to where the results are."""

    number: int
    condition: Place
    pointers: Sequence[int]
    sides: tuple[Side, Side]


@dataclass(frozen=True)
class Repeat:
    """Steps that are done again and again.

    Attributes:
        number: Of the loop, in the memory plan.
        trips: How often at most; the place of the number where it is not known.
        condition: Where it is said whether to begin; None where that is known.
        again: Where each iteration says whether to go on; None where that is known.
        index: The symbol that is the number of the iteration.
        pointers: To what is carried.
        first: Where that is in the beginning.
        following: Where that is after an iteration.
        steps: The body.
        found: The symbol that the number of iterations is.
        room: Pointers to memory that has to be got before, with the bytes.
        rows: Pointers to memory that grows, with the bytes of each iteration.
    """

    number: int
    trips: Place | int
    condition: Place | None
    again: Place | None
    index: str | None
    pointers: Sequence[int]
    first: Sequence[Place]
    following: Sequence[Place]
    steps: Sequence[Step]
    found: str | None = None
    room: Room = ()
    rows: Room = ()


Step = Site | Branch | Repeat


@dataclass(frozen=True)
class Loop:
    """A loop over samples: how many there are, and how many have memory at the same time."""

    samples: Dim
    slots: int


@dataclass(frozen=True)
class EntryPoints:
    """What the entry points tell and do.

    Attributes:
        symbols: In the order of the call frame.
        inputs: The shapes of the inputs.
        outputs: The shapes of the outputs.
        arena: Bytes of scratch memory.
        weights: For each weight, the field of the frame that points before it, and how far.
        expansions: What is launched when the model is loaded.
        sites: The launches, in order.
        late: The outputs that the run allocates, with the bytes of each.
        loops: The loops over samples; the sites of each are neighbours.
        steps: The launches with what is around them.
        found: The symbols that the run finds out, which are the last.
        pointers: How many pointers to values there are.
        heap: Those, and outputs, that point to memory which the run gets.
        repeats: How many loops that stand in the model.
    """

    symbols: Sequence[str]
    inputs: Sequence[Shape]
    outputs: Sequence[Shape]
    arena: Dim
    weights: Sequence[tuple[str, int]]
    expansions: Sequence[Site]
    sites: Sequence[Site]
    late: Mapping[int, Dim]
    loops: Sequence[Loop]
    steps: Sequence[Step]
    found: Sequence[str]
    pointers: int
    heap: Sequence[Place]
    repeats: int

    def words(self, text: Text) -> None:
        """Makes ``%words``, which serves one launch after the other."""
        launches = (*self.sites, *self.expansions)
        longest = max((site.words for site in launches), default=1)
        text.lines.append(f"  %words = alloca [{longest} x i64]")


@dataclass(frozen=True)
class Turn:
    """Whose turn it is in a loop over samples: the registers of the sample and of its memory."""

    sample: str
    slot: str = "0"


def load_fields(text: Text) -> None:
    """The fields of the frame ``%call``, as registers of their names."""
    for number, name in enumerate(FIELDS):
        text.lines.append(f"  %{name} = load ptr, ptr {text.word('%call', number)}")


def write_words(text: Text, plan: EntryPoints, site: Site, turn: Turn | None = None) -> str:
    """Fills ``%words`` for a launch; gives the number of its tasks."""
    values = [("ptr", address(text, plan, place, turn)) for place in site.buffers]
    values += [("ptr", text.word("%symbols", plan.symbols.index(name))) for name in site.found]
    values += [("i64", f"%sym.{name}") for name in site.symbols]
    tasks, first = text.dim(site.tasks), "0"
    if turn is not None and site.loop is not None:
        tasks = text.dim(floordiv(site.tasks, plan.loops[site.loop].samples))
        first = text.define(f"mul i64 {turn.sample}, {tasks}")
    values.append(("i64", first))
    for number, (kind, value) in enumerate(values):
        text.lines.append(f"  store {kind} {value}, ptr {text.word('%words', number)}")
    return tasks


def address(text: Text, plan: EntryPoints, place: Place, turn: Turn | None = None) -> str:
    """Where a buffer begins, as of this iteration of the loops around."""
    start = _start(text, plan, place, turn)
    for stride in place.strides:
        times = f"%iteration.{stride.loop}"
        if stride.alternates:
            times = text.define(f"and i64 {times}, 1")
        offset = text.define(f"mul i64 {times}, {text.dim(stride.bytes)}")
        start = text.define(f"getelementptr i8, ptr {start}, i64 {offset}")
    return start


def pointer_to(text: Text, place: Place) -> str:
    """Where the pointer to a buffer is."""
    return text.word(_TABLES[place.kind], place.number)


def _start(text: Text, plan: EntryPoints, place: Place, turn: Turn | None) -> str:
    """Where a buffer begins; one of a single sample, so far ahead that this one lies in it."""
    if place.kind in _TABLES:
        return text.define(f"load ptr, ptr {pointer_to(text, place)}")
    if place.kind == "weight":
        field, offset = plan.weights[place.number]
        return text.define(f"getelementptr i8, ptr %{field}, i64 {offset}")
    offset = text.dim(place.offset)
    if place.sample and turn is not None:
        ahead = text.define(f"mul i64 {turn.sample}, {place.sample}")
        mine = text.define(f"mul i64 {turn.slot}, {place.slot}")
        offset = text.define(f"add i64 {offset}, {text.define(f'sub i64 {mine}, {ahead}')}")
    return text.define(f"getelementptr i8, ptr %arena, i64 {offset}")
