"""Scatters: a copy of x, then the updates in their order; indices outside of x are left out.

Tasks own elements of the result that no other task writes, so that updates that meet in one
element are always combined in order.
"""

from __future__ import annotations

from functools import reduce
from operator import and_

from .....ir import scalar as s
from .....ir.dims import Dim, Shape, product
from .....ir.kernel import KernelOp
from .....ir.ops.scatter import ScatterElementsOp, ScatterOp
from .....ir.scalar import Scalar
from .....ir.types import I64
from ...target import CpuTarget
from ..frame import Code, grain_of, static
from .lines import Chunks, Lines, neighbours, ravel, unravel
from .workbench import Index, Memory, Workbench

Place = tuple[list[Scalar], Scalar]


def scatter_elements_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a scatter along an axis; a task is a chunk of neighbouring lines."""
    w = Workbench(kernel, name, target)
    x, given = (w.type_of(k).shape for k in range(2))
    axis = w.op.axis if isinstance(w.op, ScatterElementsOp) else 0
    lines, updates = Lines.of(x, axis), Lines.of(given, axis)
    chunks = Chunks(lines.outer, lines.inner)
    with chunks.tasks_of(w) as (row, first, stop):
        with w.loop(s.size(lines.size)) as position:
            _copy(w, lines.place(row, position), first, stop)
        tests, outer = _same_place(row, x[:axis], given[:axis])

        def update_line(row: Scalar = row, first: Index = first, stop: Index = stop) -> None:
            with w.loop(s.size(updates.size)) as number, w.loop(stop, first) as column:
                tests, inner = _same_place(column, x[axis + 1 :], given[axis + 1 :])
                source = w.now(updates.place(outer, number, inner))
                index = w.operand(1).read(source)
                tests, position = [*tests], w.now(_counted(index, lines.size))
                tests.append(_inside(position, lines.size))
                place = lines.place(row, position, column)
                w.when(reduce(and_, tests), lambda: _update(w, place, source, 1))

        w.when(reduce(and_, tests), update_line) if tests else update_line()
    cost = static((lines.size, 2)) * chunks.width
    return w.frame.finish(chunks.tasks, grain_of(cost))


def scatter_nd_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a scatter of slices; a task is a part of every slice."""
    w = Workbench(kernel, name, target)
    x, given = (w.type_of(k).shape for k in range(2))
    depth = given[-1]
    assert isinstance(depth, int)
    rows, length, count = product(x[:depth]), product(x[depth:]), product(given[:-1])
    chunks = Chunks(1, length)
    with chunks.tasks_of(w) as (_, first, stop):
        with w.loop(s.size(rows)) as row:
            _copy(w, row * s.size(length), first, stop)
        with w.loop(s.size(count)) as number:
            indices = [w.operand(1).read(number * depth + k) for k in range(depth)]
            counted = [w.now(_counted(i, d)) for i, d in zip(indices, x, strict=False)]
            tests = [_inside(i, d) for i, d in zip(counted, x, strict=False)]
            row = ravel(counted, x[:depth])

            def update(row: Scalar = row, number: Scalar = number) -> None:
                place, source = w.now(row * s.size(length)), w.now(number * s.size(length))
                bits = 8 * w.type_of(0).dtype.itemsize
                neighbours(
                    w, first, stop, bits, lambda at, n: _update(w, place + at, source + at, n)
                )

            w.when(reduce(and_, tests), update) if tests else update()
    cost = static((rows,)) * chunks.width // 4
    return w.frame.finish(chunks.tasks, grain_of(cost))


def _copy(w: Workbench, start: Scalar, first: Index, stop: Index) -> None:
    """Copies a part of a row of x to the result."""
    x, result, begin = w.operand(0), _result(w), w.now(start)
    bits = 8 * x.dtype.itemsize
    neighbours(w, first, stop, bits, lambda at, n: result.copy(begin + at, x, begin + at, n))


def _update(w: Workbench, place: Scalar, source: Scalar, lanes: int) -> None:
    """Writes, or combines, the update at ``source``."""
    assert isinstance(w.op, ScatterOp)
    updates, result = w.operand(2), _result(w)
    if w.op.reduction == "none":
        result.copy(place, updates, source, lanes)
        return
    old, new = result.read(place, lanes), updates.read(source, lanes)
    result.write(place, s.binary(w.op.reduction, old, new), lanes)


def _result(w: Workbench) -> Memory:
    result = w.result()
    assert result is not None, "a kernel whose result nobody reads is not formed"
    return result


def _same_place(position: Scalar, shape: Shape, part: Shape) -> Place:
    """A position in ``shape`` as one in ``part``, the first of its elements; and what must hold."""
    if shape == part:
        return [], position
    indices = unravel(position, shape)
    tests = [i < s.size(n) for i, d, n in zip(indices, shape, part, strict=True) if d != n]
    return tests, ravel(indices, part)


def _counted(index: Scalar, size: Dim) -> Scalar:
    """An index; negative ones count from the end."""
    index = s.cast(index, I64)
    return s.select(index < 0, index + s.size(size), index)


def _inside(index: Scalar, size: Dim) -> Scalar:
    return (index >= 0) & (index < s.size(size))
