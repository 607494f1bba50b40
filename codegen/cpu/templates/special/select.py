"""Selections: what is found is counted, then written; one task, since places follow the count."""

from __future__ import annotations

from collections.abc import Callable

from .....ir import scalar as s
from .....ir.dims import dim_min
from .....ir.kernel import KernelOp
from .....ir.ops.select import CompressOp
from .....ir.scalar import Scalar
from .....ir.types import BOOL, I64
from ...target import CpuTarget
from ..frame import Code
from .lines import Lines, copy_row, unravel
from .workbench import Index, Memory, Workbench


def non_zero_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code that writes the places of elements that are not 0."""
    w = Workbench(kernel, name, target)
    x, places, type = w.operand(0), w.result(), w.type_of(0)

    def record(place: Scalar, number: Scalar, count: Scalar) -> None:
        assert places is not None
        for row, index in enumerate(unravel(place, type.shape)):
            places.write(count * row + number, index)

    with w.b.loop(w.frame.begin, w.frame.end):
        count = _count(w, x, s.size(type.size))
        w.find_out(count)
        if places is not None:
            _each(w, x, s.size(type.size), lambda at, number: record(at, number, count))
    return w.frame.finish(1, 1)


def compress_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code that copies the slices whose condition holds."""
    w = Workbench(kernel, name, target)
    assert isinstance(w.op, CompressOp)
    x, condition, result = w.operand(0), w.operand(1), w.result()
    lines = Lines.of(w.type_of(0).shape, w.op.axis)
    entries = s.size(dim_min(lines.size, w.type_of(1).shape[0]))

    def copy(row: Scalar, position: Scalar, number: Scalar, count: Scalar) -> None:
        assert result is not None
        source = w.now(lines.place(row, position))
        target = w.now((row * count + number) * s.size(lines.inner))
        copy_row(w, result, target, x, source, lines.inner)

    with w.b.loop(w.frame.begin, w.frame.end):
        count = _count(w, condition, entries)
        w.find_out(count)
        if result is not None:
            with w.loop(s.size(lines.outer)) as row:
                here = row
                _each(w, condition, entries, lambda at, number: copy(here, at, number, count))
    return w.frame.finish(1, 1)


def _count(w: Workbench, x: Memory, size: Scalar) -> Scalar:
    """How many of the first elements are not 0."""
    lanes = w.frame.target.lanes(32)
    whole = w.now(size // lanes)

    def count(place: Index, total: Scalar, lanes: int) -> list[Scalar]:
        return [total + s.cast(_is_set(x.read(place, lanes)), I64)]

    zero = w.tile(s.const(0, I64), lanes)
    (tile,) = w.fold(whole, [zero], lambda n, t: count(n * lanes, t, lanes), lanes=lanes)
    total = w.hold(w.b.reduce("add", w.value(tile)))
    return w.fold(size, [total], lambda n, t: count(n, t, 1), start=whole * lanes)[0]


def _each(w: Workbench, x: Memory, size: Scalar, record: Callable[[Scalar, Scalar], None]) -> None:
    """Calls ``record(place, number)`` for the elements that are not 0."""

    def visit(place: Scalar, number: Scalar) -> list[Scalar]:
        found = w.now(_is_set(x.read(place)))
        w.when(found, lambda: record(place, number))
        return [number + s.cast(found, I64)]

    w.fold(size, [0], visit)


def _is_set(element: Scalar) -> Scalar:
    return element if element.dtype == BOOL else s.compare("ne", element, 0)
