"""Makes the weights that kernels read from smaller ones, when a model is loaded."""

from __future__ import annotations

from xdsl.dialects import arith, func
from xdsl.dialects.builtin import FunctionType, IndexType, f32, f64
from xdsl.ir import Block, Region, SSAValue

from ....ir import loop
from ..builder import LoopBuilder
from ..expansion import Expansion
from ..target import CpuTarget
from .frame import Code, grain_of
from .linear_map import combination


def expansion_code(expansion: Expansion, name: str, target: CpuTarget) -> Code:
    """A function ``@name(stored, held, begin, end)``; a task is a row of a panel's matrices."""
    memory = loop.buffer(f32)
    block = Block(arg_types=[memory, memory, IndexType(), IndexType()])
    b, (*_, begin, end) = LoopBuilder(block), block.args
    with b.loop(begin, end) as task:
        _expand_row(b, expansion, block, task, target.lanes(64))
    b.add(func.ReturnOp())
    function = func.FuncOp(name, FunctionType.from_lists(block.arg_types, []), Region(block))
    points, parts = len(expansion.matrix), len(expansion.matrix[0])
    cost = points * parts * expansion.columns // target.lanes(64)
    return Code(function, expansion.panels * expansion.rows, grain_of(cost))


def _expand_row(
    b: LoopBuilder, expansion: Expansion, block: Block, task: SSAValue, lanes: int
) -> None:
    """Sums are made in doubles, and rounded once."""
    stored, held, *_ = block.args
    rows, columns = (b.index(n) for n in (expansion.rows, expansion.columns))
    panel, row = (b.op(op, [task, rows], IndexType()) for op in (arith.DivUIOp, arith.RemUIOp))
    size, unit = expansion.rows * expansion.columns, [b.index(1)] * 2
    line = b.mul_index(row, columns)

    def places(matrices: int, column: SSAValue) -> list[SSAValue]:
        """Where a column of the row stands in each matrix of the panel."""
        first = b.add_index(b.mul_index(panel, b.index(matrices * size)), line)
        return [b.add_index(b.add_index(first, column), b.index(n * size)) for n in range(matrices)]

    single, double = (loop.tile((1, lanes), element) for element in (f32, f64))
    with b.loop(b.index(0), columns, lanes) as column:
        loaded = [b.load(stored, p, single, unit) for p in places(len(expansion.matrix[0]), column)]
        parts = [b.op(arith.ExtFOp, [value], double) for value in loaded]
        targets = places(len(expansion.matrix), column)
        for target, factors in zip(targets, expansion.matrix, strict=True):
            total = combination(b, factors, parts)
            b.store(b.op(arith.TruncFOp, [total], single), held, target, unit)
