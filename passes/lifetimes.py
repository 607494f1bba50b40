"""Which values share memory, and from when to when each needs it.

A view is its operand, and so is what a region captures. The results of a branch, and what a loop
carries, are *held*: they have no memory, but a pointer to that of the value which they are at the
time. What a loop carries to its next iteration has memory for two, which take turns, so that the
one may be read while the other is written. A row that a loop stacks is written where it belongs,
also where it is carried: it stays there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from ..ir.op import GraphOp
from ..ir.ops.constant import ConstantOp
from ..ir.ops.control import IfOp, LoopOp, RegionOp
from ..ir.structure import View


def base_of(value: SSAValue) -> SSAValue:
    """The value whose memory ``value`` is, seen through views and into regions."""
    while (source := _source(value)) is not None:
        value = source
    return value


def _source(value: SSAValue) -> SSAValue | None:
    owner = value.owner
    if isinstance(owner, Operation):
        return owner.operands[0] if is_view(owner) else None
    around = owner.parent_op()
    inside = isinstance(around, RegionOp) and isinstance(value, BlockArgument)
    return around.given(value) if inside else None


def is_view(op: Operation) -> bool:
    """Whether an op only renames memory."""
    return isinstance(op, GraphOp) and isinstance(op.structure(), View)


def is_held(value: SSAValue) -> bool:
    """Whether a value is a pointer to the memory of others."""
    owner = value.owner
    if isinstance(owner, IfOp):
        return True
    if isinstance(owner, LoopOp):
        return owner.results.index(value) < owner.carried
    around = owner.parent_op() if isinstance(owner, Block) else None
    return isinstance(around, LoopOp) and owner.args.index(value) < around.carried


def returned(block: Block) -> Sequence[SSAValue]:
    """What a graph gives."""
    assert block.last_op is not None
    return block.last_op.operands


@dataclass(eq=False)
class Copy:
    """Memory for a copy of a value; a row is one in the stack ``row_of``."""

    value: SSAValue
    row_of: SSAValue | None = None


Memory = SSAValue | Copy


@dataclass(eq=False)
class Ending:
    """What is done at the end of a block that is run as the data decide.

    Attributes:
        held: The values that become what the pointers point to.
        copies: Values that lie elsewhere than where they are wanted: whose copy each is to become.
    """

    held: list[Memory] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)


@dataclass
class Regions:
    """How the values of regions come to lie where they are read afterwards.

    Attributes:
        ops: Those that have regions, each before those inside it.
        endings: Of every block of a region.
        turns: Values that two iterations of a loop have in turn.
        rows: Values that are written as rows of a stack.
    """

    ops: list[RegionOp] = field(default_factory=list)
    endings: dict[Block, Ending] = field(default_factory=dict)
    turns: dict[Memory, LoopOp] = field(default_factory=dict)
    rows: dict[SSAValue, SSAValue] = field(default_factory=dict)

    @staticmethod
    def of(block: Block, grows: Callable[[SSAValue], bool]) -> Regions:
        """The regions in a block; ``grows`` tells stacks whose memory is moved as it grows."""
        found = Regions([op for op in block.walk() if isinstance(op, RegionOp)])
        for op in found.ops:
            if isinstance(op, LoopOp):
                found._add_loop(op, grows)
                continue
            for side in op.blocks:
                found.endings[side] = Ending([base_of(v) for v in returned(side)])
        return found

    def has_memory(self, value: Memory) -> bool:
        """Whether a value has memory of its own."""
        return isinstance(value, Copy) or not (is_held(value) or value in self.rows)

    def targets(self, op: RegionOp) -> Iterator[tuple[SSAValue, Memory]]:
        """The held results of an op, each with the values that it may be."""
        for block in op.blocks:
            memory = (self.rows.get(v, v) for v in self.endings[block].held)
            yield from zip(op.results, memory, strict=False)
        if isinstance(op, LoopOp):
            yield from zip(op.results, map(base_of, op.values[: op.carried]), strict=False)

    def _add_loop(self, op: LoopOp, grows: Callable[[SSAValue], bool]) -> None:
        ending = self.endings[op.block] = Ending()
        _, *values = returned(op.block)
        state = {base_of(v) for v in values[: op.carried]}
        for value, stack in zip(values[op.carried :], op.results[op.carried :], strict=True):
            base = base_of(value)
            stays = base not in self.rows and not (base in state and grows(stack))
            if _is_made_in(base, op.block) and stays:
                self.rows[base] = stack
            else:
                ending.copies.append(Copy(value, stack))
        for n, value in enumerate(values[: op.carried]):
            ending.held.append(self._carried(op, base_of(value), op.block.args[n], ending))

    def _carried(self, op: LoopOp, base: SSAValue, own: SSAValue, ending: Ending) -> Memory:
        """What stays, or lies around the loop, needs no memory; what was made before, a copy."""
        if base in self.rows:
            return base
        if _is_made_in(base, op.block):
            self.turns[base] = op
            return base
        if base is own or not _is_inside(base, op.block) or isinstance(base.owner, ConstantOp):
            return base
        copy = Copy(base)
        ending.copies.append(copy)
        self.turns[copy] = op
        return copy


def _is_made_in(value: SSAValue, block: Block) -> bool:
    """Whether an op of the block writes the value to memory of its own."""
    owner = value.owner
    plain = isinstance(owner, Operation) and not isinstance(owner, ConstantOp)
    return plain and owner.parent is block and not is_held(value)


def _is_inside(value: SSAValue, block: Block) -> bool:
    owner = value.owner
    return owner is block or (isinstance(owner, Operation) and owner.parent is block)


@dataclass(frozen=True)
class Span:
    """When an op is at work: positions of itself and of all ops inside it, or one."""

    first: int
    last: int


def spans_of(block: Block) -> dict[Operation, Span]:
    """The span of every op in a block, inside regions too."""
    spans: dict[Operation, Span] = {}
    for position, (op, starts) in enumerate(_events(block)):
        spans[op] = Span(position if starts else spans[op].first, position)
    return spans


def _events(block: Block) -> Iterator[tuple[Operation, bool]]:
    for op in block.ops:
        yield op, True
        if isinstance(op, RegionOp):
            for inner in op.blocks:
                yield from _events(inner)
            yield op, False


def life_spans(block: Block, regions: Regions) -> dict[Memory, Span]:
    """From when to when each value that has memory of its own needs it."""
    spans = spans_of(block)
    first: dict[Memory, int] = {}
    last: dict[Memory, int] = defaultdict(int)
    for op, span in spans.items():
        for operand in op.operands:
            base = base_of(operand)
            last[base] = max(last[base], span.last)
        for value in () if is_view(op) else op.results:
            first[value], last[value] = span.first, span.last
    for value, loop in regions.turns.items():
        first[value], last[value] = spans[loop].first, spans[loop].last
    for op in sorted(regions.ops, key=lambda op: -spans[op].last):
        for pointer, value in regions.targets(op):
            last[value] = max(last[value], last[pointer])
    return {v: Span(at, last[v]) for v, at in first.items() if regions.has_memory(v)}
