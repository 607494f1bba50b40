"""Copies a matrix with rows and columns exchanged: square register tiles, single elements at edges.

target[column, row] = source[row, column]
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType, MemRefType
from xdsl.ir import SSAValue

from ....ir import loop
from ..builder import LoopBuilder


@dataclass(frozen=True)
class Matrix:
    """A matrix in memory: where it begins, and how far its rows are apart.

    Elements of a row lie side by side.
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
        _turn_element(b, source, target, row, column)
    with b.loop(whole_rows, rows) as row, b.loop(b.index(0), columns) as column:
        _turn_element(b, source, target, row, column)


def _whole(b: LoopBuilder, count: SSAValue, side: int) -> SSAValue:
    rest = b.op(arith.RemUIOp, [count, b.index(side)], IndexType())
    return b.op(arith.SubiOp, [count, rest], IndexType())


def _place(b: LoopBuilder, matrix: Matrix, row: SSAValue, column: SSAValue) -> SSAValue:
    return b.add_index(b.add_index(matrix.start, b.mul_index(row, matrix.pitch)), column)


def _turn_tile(
    b: LoopBuilder, source: Matrix, target: Matrix, row: SSAValue, column: SSAValue, side: int
) -> None:
    assert isinstance(source.memory.type, MemRefType)
    one, type = b.index(1), loop.tile((side, side), source.memory.type.element_type)
    tile = b.load(source.memory, _place(b, source, row, column), type, [source.pitch, one])
    turned = b.add(loop.TransposeOp(tile)).results[0]
    b.store(turned, target.memory, _place(b, target, column, row), [target.pitch, one])


def _turn_element(
    b: LoopBuilder, source: Matrix, target: Matrix, row: SSAValue, column: SSAValue
) -> None:
    assert isinstance(source.memory.type, MemRefType)
    type = source.memory.type.element_type
    element = b.load(source.memory, _place(b, source, row, column), type)
    b.store(element, target.memory, _place(b, target, column, row))
