"""Different slices: sorted, numbered where neighbours differ, and, where wanted, renumbered."""

from __future__ import annotations

from typing import Protocol

from xdsl.dialects.builtin import IndexType
from xdsl.ir import Attribute, SSAValue

from .....ir import loop
from .....ir import scalar as s
from .....ir.kernel import KernelOp
from .....ir.ops.select import UniqueOp
from .....ir.ops.words import key
from .....ir.scalar import Scalar
from .....ir.types import I64
from ...target import CpuTarget
from ..frame import Code
from .lines import Lines, copy_row
from .sort import merge_sort
from .words import Words
from .workbench import Index, Memory, Workbench


class Items(Protocol):
    """What is sorted: something that stands for a slice."""

    @property
    def type(self) -> Attribute:
        """How an item is stored."""
        ...

    def at(self, index: Scalar) -> SSAValue:
        """The item of a slice."""
        ...

    def index(self, item: SSAValue, /) -> Scalar:
        """The index of an item's slice."""
        ...

    def less(self, a: SSAValue, b: SSAValue) -> Scalar:
        """Whether a's slice comes before b's."""
        ...

    def differ(self, a: SSAValue, b: SSAValue) -> Scalar:
        """Whether two slices differ."""
        ...


def unique_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code that finds the different slices."""
    unique = _Unique(Workbench(kernel, name, target))
    frame = unique.w.frame
    with unique.b.loop(frame.begin, frame.end):
        unique.build()
    return frame.finish(1, 1)


class _Elements(Words):
    """Slices of one element are words."""

    def at(self, index: Scalar) -> SSAValue:
        return self.of(self.w.operand(0).read(index), index)


class _Rows:
    """Longer slices are their index, and compared element by element."""

    def __init__(self, w: Workbench, lines: Lines):
        self.w, self.lines = w, lines
        self.type: Attribute = IndexType()
        self.length = s.size(lines.outer * lines.inner)

    def at(self, index: Scalar) -> SSAValue:
        return self.w.value(index)

    def index(self, item: SSAValue) -> Scalar:
        return self.w.hold(item)

    def less(self, a: SSAValue, b: SSAValue) -> Scalar:
        place = self._first_difference(a, b)
        smaller = lambda: s.cast(self._key(a, place) < self._key(b, place), I64)  # noqa: E731
        return self.w.choose(place < self.length, smaller, lambda: 0) > 0

    def differ(self, a: SSAValue, b: SSAValue) -> Scalar:
        return self._first_difference(a, b) < self.length

    def _first_difference(self, a: SSAValue, b: SSAValue) -> Scalar:
        def same(place: Scalar) -> Scalar:
            equal = lambda: s.cast(  # noqa: E731
                s.compare("eq", self._key(a, place), self._key(b, place)), I64
            )
            return self.w.choose(place < self.length, equal, lambda: 0) > 0

        return self.w.repeat([0], same, lambda place: [place + 1])[0]

    def _key(self, item: SSAValue, place: Scalar) -> Scalar:
        inner = s.size(self.lines.inner)
        where = self.lines.place(place // inner, self.w.hold(item), place % inner)
        return key(self.w.operand(0).read(where))


class _Unique:
    def __init__(self, w: Workbench):
        assert isinstance(w.op, UniqueOp)
        self.w, self.b, self.op = w, w.b, w.op
        type = w.type_of(0)
        self.lines = Lines.of(type.shape, w.op.axis)
        self.size = s.size(self.lines.size)
        plain = type.rank == 1
        self.items: Items = _Elements(w, type.dtype, False) if plain else _Rows(w, self.lines)

    def build(self) -> None:
        """Sorts, numbers, writes."""
        w = self.w
        first, counts, inverse, names = memories = [w.scratch(self.size) for _ in range(4)]
        count = self._number(first, counts, inverse)
        w.find_out(count)
        if self.op.ordered:
            with w.loop(count) as number:
                names.write(number, number)
        else:
            self._rename(first, names, count)
        self._write(first, counts, names, count)
        self._write_inverse(inverse, names)
        w.give_back(*memories)

    def _number(self, first: Memory, counts: Memory, inverse: Memory) -> Scalar:
        """Numbers the slices in ascending order; gives how many different ones there are."""
        w, b, items = self.w, self.b, self.items
        allocate = lambda: b.add(loop.MallocOp(w.value(self.size), items.type)).results[0]  # noqa: E731
        memory, spare = allocate(), allocate()
        with w.loop(self.size) as index:
            b.store(items.at(index), memory, w.value(index))
        ordered = merge_sort(w, memory, spare, self.size, items.type, items.less)

        def visit(place: Scalar, count: Scalar) -> list[Index]:
            item = b.load(ordered, w.value(place), items.type)
            before = b.load(ordered, w.value(s.maximum(place - 1, 0)), items.type)
            fresh = w.now(s.compare("eq", place, 0) | items.differ(before, item))
            number, index = w.now(count - 1 + s.cast(fresh, I64)), items.index(item)

            def begin() -> None:
                first.write(number, index)
                counts.write(number, 0)

            w.when(fresh, begin)
            counts.write(number, counts.read(number) + 1)
            inverse.write(index, number)
            return [number + 1]

        (count,) = w.fold(self.size, [0], visit)
        for buffer in (memory, spare):
            b.add(loop.FreeOp(buffer))
        return count

    def _rename(self, first: Memory, names: Memory, count: Scalar) -> None:
        """Gives numbers in the order of first occurrences."""
        w = self.w
        owner = w.scratch(self.size)
        with w.loop(self.size) as index:
            owner.write(index, -1)
        with w.loop(count) as number:
            owner.write(first.read(number), number)

        def visit(index: Scalar, following: Scalar) -> list[Index]:
            number = owner.read(index)
            w.when(number >= 0, lambda: names.write(number, following))
            return [following + s.cast(number >= 0, I64)]

        w.fold(self.size, [0], visit)
        w.give_back(owner)

    def _write(self, first: Memory, counts: Memory, names: Memory, count: Scalar) -> None:
        w = self.w
        values, places, _, totals = (w.result(k) for k in range(4))
        with w.loop(count) as number:
            name, index = names.read(number), first.read(number)
            if places is not None:
                places.write(name, index)
            if totals is not None:
                totals.write(name, counts.read(number))
            if values is not None:
                self._copy(values, name, index, count)

    def _copy(self, values: Memory, name: Scalar, index: Scalar, count: Scalar) -> None:
        """Copies a slice."""
        w, x, inner = self.w, self.w.operand(0), s.size(self.lines.inner)
        with w.loop(s.size(self.lines.outer)) as row:
            target = w.now((row * count + name) * inner)
            source = w.now(self.lines.place(row, index))
            copy_row(w, values, target, x, source, self.lines.inner)

    def _write_inverse(self, inverse: Memory, names: Memory) -> None:
        result = self.w.result(2)
        if result is None:
            return
        with self.w.loop(self.size) as index:
            result.write(index, names.read(inverse.read(index)))
