"""Where every value of a bufferized model lies: in an input, an output, the weights or the arena.

Values that are never alive together share arena space. Values of static size are placed largest
first at the lowest free offset (greedy by size; Pisarchyk and Lee, "Efficient Memory Management
for Deep Neural Net Inference", 2020); those of symbolic size share slots of equal size behind them.
A value whose size the run finds out has room for the largest that it can have.
Ops that are run sample by sample have a small arena for their inner values inside the large one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from xdsl.ir import Block, Operation, SSAValue

from ..ir.dims import Dim, ceildiv, product, symbols_of
from ..ir.late import late_bounds, upper_bound
from ..ir.op import GraphOp
from ..ir.ops.constant import ConstantOp
from ..ir.ops.control import ReturnOp
from ..ir.structure import View
from ..ir.types import type_of

ALIGNMENT = 64


@dataclass(frozen=True)
class Place:
    """Where a value begins.

    Attributes:
        kind: ``input``, ``output``, ``weight`` or ``arena``.
        number: Of the input or output; of the weight in ``MemoryPlan.weights``.
        offset: In bytes, of an ``arena`` place.
        sample: Bytes of a sample, where every sample in its turn lies in the same place; else 0.
        slot: Bytes from there to where another sample may lie at the same time.
    """

    kind: str
    number: int = 0
    offset: Dim = 0
    sample: int = 0
    slot: int = 0


@dataclass(frozen=True)
class SampleLoop:
    """Neighbouring ops that are run for one sample after the other.

    Attributes:
        ops: In order.
        samples: How many there are: the first dim of all results.
        inner: The results that nothing else uses; the other dims are known.
        slots: How many samples may be at work at the same time.
    """

    ops: tuple[Operation, ...]
    samples: Dim
    inner: tuple[SSAValue, ...]
    slots: int = 1


@dataclass(frozen=True)
class MemoryPlan:
    """Where everything is.

    Attributes:
        places: Of every value.
        weights: The constants, in the order of their numbers.
        copies: Results that lie elsewhere than in their output, with its number.
        arena: Bytes of scratch memory.
        late: Outputs whose size the run finds out, with the most bytes they can have.
    """

    places: dict[SSAValue, Place]
    weights: list[ConstantOp]
    copies: list[tuple[SSAValue, int]]
    arena: Dim
    late: dict[int, Dim]


@dataclass(frozen=True)
class _Inside:
    """The inner values of a loop, with their offsets in its own arena, and the size of that."""

    offsets: tuple[tuple[SSAValue, int], ...]
    size: int


_Key = SSAValue | _Inside


@dataclass(frozen=True)
class _Life:
    value: _Key
    size: Dim
    first: int
    last: int


def plan_memory(block: Block, loops: Sequence[SampleLoop] = ()) -> MemoryPlan:
    """A place for every value of ``block``, whose ops run in order but for those of ``loops``."""
    places: dict[SSAValue, Place] = {a: Place("input", n) for n, a in enumerate(block.args)}
    weights = [op for op in block.ops if isinstance(op, ConstantOp)]
    places.update({w.results[0]: Place("weight", n) for n, w in enumerate(weights)})
    copies = _place_outputs(block, places)
    bounds = late_bounds(block.walk())
    lives = [life for life in _lives(block, bounds) if life.value not in places]
    order = {op: n for n, op in enumerate(block.ops)}
    for loop in loops:
        lives = _with_loop(lives, loop, (order[loop.ops[0]], order[loop.ops[-1]]))
    arena = _place_arena(lives, places)
    for op in block.ops:
        if _is_view(op):
            places[op.results[0]] = places[base_of(op.results[0])]
    return MemoryPlan(places, weights, copies, arena, _late_outputs(block, bounds))


def base_of(value: SSAValue) -> SSAValue:
    """The value whose memory ``value`` is, seen through views."""
    while isinstance(value.owner, Operation) and _is_view(value.owner):
        value = value.owner.operands[0]
    return value


def size_in_bytes(value: SSAValue, bounds: Mapping[str, Dim]) -> Dim:
    """The memory that a value takes at most, rounded up to the alignment."""
    type = type_of(value)
    size = upper_bound(type.size, bounds)
    return ceildiv(size * type.dtype.itemsize, ALIGNMENT) * ALIGNMENT


def _is_view(op: Operation) -> bool:
    return isinstance(op, GraphOp) and isinstance(op.structure(), View)


def _place_outputs(block: Block, places: dict[SSAValue, Place]) -> list[tuple[SSAValue, int]]:
    """Lets results be computed where they are wanted; gives those that must be copied."""
    copies: list[tuple[SSAValue, int]] = []
    returned = block.last_op
    assert isinstance(returned, ReturnOp)
    for number, value in enumerate(returned.values):
        base = base_of(value)
        if base in places:
            copies.append((value, number))
        else:
            places[base] = Place("output", number)
    return copies


def _late_outputs(block: Block, bounds: Mapping[str, Dim]) -> dict[int, Dim]:
    returned = block.last_op
    assert isinstance(returned, ReturnOp)
    return {
        number: size_in_bytes(value, bounds)
        for number, value in enumerate(returned.values)
        if set(bounds) & {name for dim in type_of(value).shape for name in symbols_of(dim)}
    }


def _lives(block: Block, bounds: Mapping[str, Dim]) -> list[_Life]:
    """From the op that makes a value to the last that reads it."""
    made: dict[SSAValue, int] = {}
    last: dict[SSAValue, int] = {}
    for position, op in enumerate(block.ops):
        for operand in op.operands:
            last[base_of(operand)] = position
        if not _is_view(op):
            made.update(dict.fromkeys(op.results, position))
    return [_Life(v, size_in_bytes(v, bounds), at, last.get(v, at)) for v, at in made.items()]


def _with_loop(lives: Sequence[_Life], loop: SampleLoop, span: tuple[int, int]) -> list[_Life]:
    """Lives around a loop that is one value: whatever it touches, it touches all the time."""
    first, last = span
    values = set(loop.inner)
    own: dict[_Key, int] = {}
    size = _place_static([_one_sample(life) for life in lives if life.value in values], own)
    outside = [
        _Life(
            life.value,
            life.size,
            first if first <= life.first <= last else life.first,
            last if first <= life.last <= last else life.last,
        )
        for life in lives
        if life.value not in values
    ]
    inside = _Inside(tuple((v, at) for v, at in own.items() if isinstance(v, SSAValue)), size)
    return [*outside, _Life(inside, size * loop.slots, first, last)]


def _one_sample(life: _Life) -> _Life:
    assert isinstance(life.value, SSAValue)
    return replace(life, size=-(-_sample_bytes(life.value) // ALIGNMENT) * ALIGNMENT)


def _sample_bytes(value: SSAValue) -> int:
    type = type_of(value)
    return _int(product(type.shape[1:])) * type.dtype.itemsize


def _place_arena(lives: Sequence[_Life], places: dict[SSAValue, Place]) -> Dim:
    known: dict[_Key, int] = {}
    others: dict[_Key, Dim] = {}
    end = _place_static([life for life in lives if isinstance(life.size, int)], known)
    symbolic = [life for life in lives if not isinstance(life.size, int)]
    end = _place_symbolic(symbolic, others, end)
    for value, offset in (*known.items(), *others.items()):
        if isinstance(value, _Inside):
            for inner, place in value.offsets:
                places[inner] = Place("arena", 0, offset + place, _sample_bytes(inner), value.size)
        else:
            places[value] = Place("arena", 0, offset)
    return end


def _place_static(lives: Iterable[_Life], offsets: dict[_Key, int]) -> int:
    placed: list[tuple[int, int, _Life]] = []
    for life in sorted(lives, key=lambda life: -_int(life.size)):
        size, start = _int(life.size), 0
        for low, high, other in sorted(placed, key=lambda p: p[:2]):
            if other.last < life.first or life.last < other.first:
                continue
            if start + size <= low:
                break
            start = max(start, high)
        placed.append((start, start + size, life))
        offsets[life.value] = start
    return max((high for _, high, _ in placed), default=0)


def _place_symbolic(lives: Iterable[_Life], offsets: dict[_Key, Dim], start: Dim) -> Dim:
    free: dict[Dim, list[tuple[int, Dim]]] = {}
    for life in sorted(lives, key=lambda life: life.first):
        slots = free.setdefault(life.size, [])
        slot = next((s for s in slots if s[0] < life.first), None)
        if slot is None:
            offset, start = start, start + life.size
        else:
            slots.remove(slot)
            offset = slot[1]
        slots.append((life.last, offset))
        offsets[life.value] = offset
    return start


def _int(size: Dim) -> int:
    assert isinstance(size, int)
    return size
