"""Copies a matrix with rows and columns exchanged: square register tiles, single elements at edges.

target[column, row] = source[row, column]
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType, MemRefType, f32
from xdsl.ir import Attribute, SSAValue

from ....ir import loop
from ..builder import LoopBuilder, like


@dataclass(frozen=True)
class Matrix:
    """A matrix in memory: where it begins, and how far its rows are apart.

    Elements of a row, f32 or bf16, lie side by side.
    """

    memory: SSAValue
    start: SSAValue
    pitch: SSAValue


def turn(
    b: LoopBuilder, source: Matrix, target: Matrix, rows: SSAValue, columns: SSAValue, side: int
) -> None:
    """Copies ``rows`` x ``columns`` elements by tiles of ``side`` x ``side``."""
    whole_rows, whole_columns = _whole(b, rows, side), _whole(b, columns, side)
    with b.loop(b.index(0), whole_rows, side) as row, b.loop(b.index(0), whole_columns, side) as c:
        _turn_tile(b, source, target, row, c, side)
    with b.loop(b.index(0), whole_rows) as row, b.loop(whole_columns, columns) as column:
        _turn_one(b, source, target, row, column)
    with b.loop(whole_rows, rows) as row, b.loop(b.index(0), columns) as column:
        _turn_one(b, source, target, row, column)


def _whole(b: LoopBuilder, count: SSAValue, side: int) -> SSAValue:
    rest = b.op(arith.RemUIOp, [count, b.index(side)], IndexType())
    return b.op(arith.SubiOp, [count, rest], IndexType())


def _place(b: LoopBuilder, matrix: Matrix, row: SSAValue, column: SSAValue) -> SSAValue:
    return b.add_index(b.add_index(matrix.start, b.mul_index(row, matrix.pitch)), column)


def _turn_tile(
    b: LoopBuilder, source: Matrix, target: Matrix, row: SSAValue, column: SSAValue, side: int
) -> None:
    one, type = b.index(1), loop.tile((side, side), element_type(source))
    tile = b.load(source.memory, _place(b, source, row, column), type, [source.pitch, one])
    turned = b.add(loop.TransposeOp(widened(b, tile))).results[0]
    turned = _stored(b, turned, target)
    b.store(turned, target.memory, _place(b, target, column, row), [target.pitch, one])


def _turn_one(
    b: LoopBuilder, source: Matrix, target: Matrix, row: SSAValue, column: SSAValue
) -> None:
    element = b.load(source.memory, _place(b, source, row, column), element_type(source))
    element = _stored(b, widened(b, element), target)
    b.store(element, target.memory, _place(b, target, column, row))


def element_type(matrix: Matrix) -> Attribute:
    """What its elements are in memory."""
    assert isinstance(matrix.memory.type, MemRefType)
    return matrix.memory.type.element_type


def widened(b: LoopBuilder, value: SSAValue) -> SSAValue:
    """A value of f32 or bf16 in f32."""
    wide = like(value.type, f32)
    return value if value.type == wide else b.op(arith.ExtFOp, [value], wide)


def _stored(b: LoopBuilder, value: SSAValue, target: Matrix) -> SSAValue:
    """A value of f32 as it is in a matrix."""
    narrow = like(value.type, element_type(target))
    return value if value.type == narrow else b.op(arith.TruncFOp, [value], narrow)
