"""Where every value of a bufferized model lies: in an input, an output, the weights or the arena.

How values share the arena is said in arena.py, and how those of regions lie in lifetimes.py. A
value whose size the run finds out has room for the largest that it can have; where nothing limits
that, the run gets memory for it when it knows the size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from xdsl.ir import Block, Operation, SSAValue

from ..ir.dims import Dim, ceildiv, symbols_of
from ..ir.late import late_bounds, upper_bound
from ..ir.ops.constant import ConstantOp
from ..ir.ops.control import LoopOp
from ..ir.types import type_of
from .arena import (
    ALIGNMENT,
    Inside,
    Life,
    SampleLoop,
    Workspace,
    offsets,
    sample_bytes,
    with_loop,
)
from .lifetimes import (
    Copy,
    Memory,
    Regions,
    Span,
    base_of,
    is_held,
    is_view,
    life_spans,
    returned,
    spans_of,
)


@dataclass(frozen=True)
class Stride:
    """How far a value moves with each iteration of a loop.

    Attributes:
        loop: The number of the loop in ``MemoryPlan.loops``.
        bytes: From one place to the next.
        alternates: Whether there are two places only.
    """

    loop: int
    bytes: Dim
    alternates: bool = False


@dataclass(frozen=True)
class Place:
    """Where a value begins.

    Attributes:
        kind: ``input``, ``output``, ``weight``, ``arena``, or ``held``: where a pointer says.
        number: Of the input, output or pointer; of the weight in ``MemoryPlan.weights``.
        offset: In bytes, of an ``arena`` place.
        sample: Bytes of a sample, where every sample in its turn lies in the same place; else 0.
        slot: Bytes from there to where another sample may lie at the same time.
        strides: Of the loops around it.
    """

    kind: str
    number: int = 0
    offset: Dim = 0
    sample: int = 0
    slot: int = 0
    strides: tuple[Stride, ...] = ()


@dataclass(frozen=True)
class MemoryPlan:
    """Where everything is.

    Attributes:
        places: Of every value but those that are others: see ``base_of``.
        weights: The constants, in the order of their numbers.
        loops: The loops, in the order of their numbers.
        copies: For each block, what is copied in the end, since it is wanted elsewhere.
        held: For each block of a region, what the pointers point to in the end.
        pointers: How many there are.
        arena: Bytes of scratch memory.
        late: Outputs whose size the run finds out, with the most bytes they can have.
        heap: Pointers and outputs to memory that the run gets, with the bytes; that of a stack
            grows row by row.
        workspaces: What was asked for.
    """

    places: dict[SSAValue, Place]
    weights: list[ConstantOp]
    loops: list[LoopOp]
    copies: dict[Block, list[tuple[SSAValue, Place]]]
    held: dict[Block, list[Place]]
    pointers: int
    arena: Dim
    late: dict[int, Dim]
    heap: dict[Place, Dim]
    workspaces: dict[Workspace, Place]


def plan_memory(
    block: Block,
    loops: Sequence[SampleLoop] = (),
    workspaces: Mapping[Workspace, Dim] | None = None,
) -> MemoryPlan:
    """A place for every value of ``block``, whose ops run in order but for those of ``loops``.

    ``workspaces`` are asked for with their bytes.
    """
    return _Planner(block, workspaces or {}).plan(loops)


def size_in_bytes(value: SSAValue, bounds: Mapping[str, Dim]) -> Dim:
    """The memory that a value takes at most, rounded up to the alignment."""
    type = type_of(value)
    size = upper_bound(type.size, bounds)
    return ceildiv(size * type.dtype.itemsize, ALIGNMENT) * ALIGNMENT


def _until_read(op: Operation, order: Mapping[Operation, Span]) -> Span:
    """From an op to the first that waits for it: those between may be at work at the same time."""
    span = order[op]
    readers = (order[reader].first for result in op.results for reader in _readers(result))
    return Span(span.first, max(span.last, min(readers, default=span.last) - 1))


def _readers(value: SSAValue) -> Iterator[Operation]:
    """The ops that read a value, or a view of it."""
    for use in value.uses:
        if is_view(use.operation):
            yield from _readers(use.operation.results[0])
        else:
            yield use.operation


class _Planner:
    def __init__(self, block: Block, asked: Mapping[Workspace, Dim]):
        self.block = block
        self.asked = asked
        self.workspaces: dict[Workspace, Place] = {}
        self.bounds = late_bounds(block.walk())
        self.regions = Regions.of(block, self._grows)
        self.loops = [op for op in self.regions.ops if isinstance(op, LoopOp)]
        self.places: dict[Memory, Place] = {}
        self.heap: dict[Place, Dim] = {}
        self.pointers = 0

    def plan(self, loops: Sequence[SampleLoop]) -> MemoryPlan:
        weights = [op for op in self.block.walk() if isinstance(op, ConstantOp)]
        self.places.update({a: Place("input", n) for n, a in enumerate(self.block.args)})
        self.places.update({w.results[0]: Place("weight", n) for n, w in enumerate(weights)})
        self._place_held()
        copies = {self.block: self._place_outputs()}
        arena = self._place_arena(loops)
        for row, stack in self.regions.rows.items():
            self.places[row] = self._row(stack)
        endings = self.regions.endings
        copies |= {b: [self._copy(c) for c in e.copies] for b, e in endings.items()}
        return MemoryPlan(
            {v: place for v, place in self.places.items() if isinstance(v, SSAValue)},
            weights,
            self.loops,
            copies,
            {b: [self.places[v] for v in e.held] for b, e in endings.items()},
            self.pointers,
            arena,
            self._late_outputs(),
            self.heap,
            self.workspaces,
        )

    def _pointer(self) -> Place:
        self.pointers += 1
        return Place("held", self.pointers - 1)

    def _place_held(self) -> None:
        """A pointer for each value that needs one; what a loop carries keeps its own."""
        for op in self.regions.ops:
            carried = op.block.args if isinstance(op, LoopOp) else ()
            for n, result in enumerate(op.results):
                if is_held(result):
                    self.places.update(
                        dict.fromkeys((result, *carried[n : n + 1]), self._pointer())
                    )

    def _place_outputs(self) -> list[tuple[SSAValue, Place]]:
        """Lets results be computed where they are wanted; gives those that must be copied."""
        copies: list[tuple[SSAValue, Place]] = []
        for number, value in enumerate(returned(self.block)):
            base, output = base_of(value), Place("output", number)
            self._note_endless(output, size_in_bytes(value, self.bounds))
            if base in self.places:
                copies.append((value, output))
            else:
                self.places[base] = output
        return copies

    def _place_arena(self, loops: Sequence[SampleLoop]) -> Dim:
        order = spans_of(self.block)
        lives = [
            Life(value, self._size(value), span)
            for value, span in life_spans(self.block, self.regions).items()
            if value not in self.places
        ]
        endless = [life for life in lives if self._is_endless(life.size)]
        for life in endless:
            self._place_endless(life)
        lives = [life for life in lives if life not in endless]
        lives += [
            Life(workspace, ceildiv(size, ALIGNMENT) * ALIGNMENT, _until_read(workspace.op, order))
            for workspace, size in self.asked.items()
        ]
        for loop in loops:
            span = Span(order[loop.ops[0]].first, order[loop.ops[-1]].last)
            lives = with_loop(lives, loop, span)
        found, end = offsets(lives)
        for value, offset in found.items():
            match value:
                case Workspace():
                    self.workspaces[value] = Place("arena", 0, offset)
                case Inside():
                    self._place_inside(value, offset)
                case _:
                    self.places[value] = Place("arena", 0, offset, strides=self._turns(value))
        return end

    def _place_inside(self, inside: Inside, offset: Dim) -> None:
        for inner, at in inside.offsets:
            size = sample_bytes(inner)
            self.places[inner] = Place("arena", 0, offset + at, size, inside.size)

    def _place_endless(self, life: Life) -> None:
        pointer = self._pointer()
        self._note_endless(pointer, life.size)
        assert not isinstance(life.value, Inside | Workspace)
        self.places[life.value] = replace(pointer, strides=self._turns(life.value))

    def _grows(self, stack: SSAValue) -> bool:
        return self._is_endless(size_in_bytes(stack, self.bounds))

    def _note_endless(self, place: Place, size: Dim) -> None:
        if self._is_endless(size):
            self.heap[place] = size

    def _is_endless(self, size: Dim) -> bool:
        """Whether a size has no limit before the run knows it."""
        return not set(symbols_of(size)).isdisjoint(self.bounds)

    def _size(self, value: Memory) -> Dim:
        """Twice as much where two iterations have a value in turn."""
        size = size_in_bytes(value.value if isinstance(value, Copy) else value, self.bounds)
        return size * 2 if value in self.regions.turns else size

    def _turns(self, value: Memory) -> tuple[Stride, ...]:
        loop = self.regions.turns.get(value)
        if loop is None:
            return ()
        size = size_in_bytes(value.value if isinstance(value, Copy) else value, self.bounds)
        return (Stride(self.loops.index(loop), size, True),)

    def _row(self, stack: SSAValue) -> Place:
        """Where the row of a stack lies in each iteration; stacks may be rows themselves."""
        loop = stack.owner
        assert isinstance(loop, LoopOp)
        outer = self.regions.rows.get(stack)
        place = self._row(outer) if outer is not None else self.places[stack]
        row = type_of(stack).with_shape(type_of(stack).shape[1:])
        stride = Stride(self.loops.index(loop), row.size * row.dtype.itemsize)
        return replace(place, strides=(*place.strides, stride))

    def _copy(self, copy: Copy) -> tuple[SSAValue, Place]:
        place = self.places[copy] if copy.row_of is None else self._row(copy.row_of)
        return copy.value, place

    def _late_outputs(self) -> dict[int, Dim]:
        return {
            number: size_in_bytes(value, self.bounds)
            for number, value in enumerate(returned(self.block))
            if set(self.bounds) & {name for dim in type_of(value).shape for name in symbols_of(dim)}
            and Place("output", number) not in self.heap
        }
