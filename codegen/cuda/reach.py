"""Where values of regions may lie: what is held may be one of several, rows and turns move on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from xdsl.ir import Block, SSAValue

from ...ir.dims import Dim, mod, symbol
from ...ir.late import late_bounds, upper_bound
from ...ir.ops.control import LoopOp
from ...passes.lifetimes import base_of
from ...passes.memory_plan import MemoryPlan, Place, Stride
from .order import Buffer

_ALIGNMENT = 16


class Reach:
    """The memory that places stand for through all iterations.

    Attributes:
        iterations: The symbol that counts each loop of the memory plan.
    """

    def __init__(self, block: Block, memory: MemoryPlan):
        self._memory = memory
        self._bounds = late_bounds(block.walk())
        self.iterations = [op.index or f"_loop{n}" for n, op in enumerate(memory.loops)]
        self._targets: dict[int, set[Place]] = {}
        for pointer, target in chain(self._ending(block), self._beginning()):
            self._targets.setdefault(pointer.number, set()).add(target)

    def buffers(self, place: Place, size: Dim, written: bool) -> list[Buffer]:
        """All memory that ``size`` bytes at a place may be."""
        return [
            Buffer(replace(p, strides=()), self._extent(p, size), written)
            for p in self._resolved(place)
        ]

    def is_aligned(self, place: Place) -> bool:
        """Whether a place is surely at a multiple of 16 bytes."""
        strides = (s for p in self._resolved(place) for s in p.strides)
        return all(mod(s.bytes, _ALIGNMENT) == 0 for s in strides)

    def offset(self, place: Place) -> Dim:
        """Where a place is in the current iterations of the loops around it."""
        return place.offset + sum((self._moved(s) for s in place.strides), start=0)

    def _moved(self, stride: Stride) -> Dim:
        number = symbol(self.iterations[stride.loop])
        return (mod(number, 2) if stride.alternates else number) * stride.bytes

    def _extent(self, place: Place, size: Dim) -> Dim:
        total = upper_bound(size, self._bounds)
        for stride in place.strides:
            count = 2 if stride.alternates else self._memory.loops[stride.loop].size
            assert count is not None
            total = total + upper_bound((count - 1) * stride.bytes, self._bounds)
        return total

    def _resolved(self, place: Place) -> set[Place]:
        """The places that a held one may be; itself for another."""
        found, waiting = set(), [place]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self._targets.get(one.number, ()) if one.kind == "held" else ()
        return {p for p in found if p.kind != "held"}

    def _ending(self, block: Block) -> Iterator[tuple[Place, Place]]:
        """What is held, with what it becomes at the end of a region."""
        for inner, targets in self._memory.held.items():
            op = inner.parent_op()
            assert op is not None
            yield from zip(self._places(op.results[: len(targets)]), targets, strict=True)

    def _beginning(self) -> Iterator[tuple[Place, Place]]:
        for op in self._memory.loops:
            yield from zip(self._places(op.results[: op.carried]), self.carried(op), strict=True)

    def carried(self, op: LoopOp) -> list[Place]:
        """Where the values are that a loop begins with."""
        return self._places(op.values[: op.carried])

    def _places(self, values: Sequence[SSAValue]) -> list[Place]:
        return [self._memory.places[base_of(v)] for v in values]
