"""Cumulative sums and products: neighbours side by side, elements of a line one by one."""

from __future__ import annotations

from .....ir import scalar as s
from .....ir.kernel import KernelOp
from .....ir.ops.reduce import accumulator
from .....ir.ops.sort import CumulativeOp
from .....ir.scalar import Scalar
from .....ir.structure import neutral
from ...target import CpuTarget
from ..frame import Code, grain_of, static
from .lines import Chunks, Lines, neighbours
from .workbench import Workbench


def scan_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a cumulative op."""
    w = Workbench(kernel, name, target)
    type = w.type_of(0)
    lines = Lines.of(type.shape, _op(w).axis)
    chunks = Chunks(lines.outer, lines.inner)
    with chunks.tasks_of(w) as (row, first, stop):
        neighbours(
            w, first, stop, 8 * type.dtype.itemsize, lambda at, n: _scan(w, lines, row, at, n)
        )
    cost = static((lines.size,)) * chunks.width // 4
    return w.frame.finish(chunks.tasks, grain_of(cost))


def _scan(w: Workbench, lines: Lines, row: Scalar, inner: Scalar, lanes: int) -> None:
    """One line, or as many side by side as there are lanes."""
    op, x, result = _op(w), w.operand(0), w.result()
    assert result is not None
    wide = accumulator(x.dtype)
    start = w.tile(s.const(neutral(op.COMBINE, wide), wide), lanes)

    def step(index: Scalar, total: Scalar) -> list[Scalar]:
        position = s.size(lines.size) - 1 - index if op.reverse else index
        place = w.now(lines.place(row, position, inner))
        value = s.cast(x.read(place, lanes), wide)
        following = w.tile(s.binary(op.COMBINE, total, value), lanes)
        result.write(place, s.cast(total if op.exclusive else following, x.dtype), lanes)
        return [following]

    w.fold(s.size(lines.size), [start], step, lanes=lanes)


def _op(w: Workbench) -> CumulativeOp:
    assert isinstance(w.op, CumulativeOp)
    return w.op
