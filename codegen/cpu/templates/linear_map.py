"""A small constant matrix times register tiles, without its zeros and with what rows share.

Two rows that differ in signs alone, such as those of the points p and -p, are the sum and the
difference of one even and one odd part; two such columns meet in a sum and a difference first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from xdsl.dialects import arith
from xdsl.ir import SSAValue

from ..builder import LoopBuilder

Grid = list[list[SSAValue]]


def map_grid(
    b: LoopBuilder,
    matrix: np.ndarray,
    column: Callable[[int], Sequence[SSAValue]],
    columns: int,
    row: Callable[[int, Sequence[SSAValue]], None],
) -> None:
    """``matrix @ x @ matrix.T`` of a grid of tiles.

    ``column(k)`` gives a column of x when it is needed, ``row(k, …)`` takes a row of the result as
    soon as it is known: so few tiles are held at a time.
    """
    mapped = [linear_map(b, matrix, column(k)) for k in range(columns)]
    for number in range(len(matrix)):
        row(number, linear_map(b, matrix, [c[number] for c in mapped]))


def linear_map(b: LoopBuilder, matrix: np.ndarray, values: Sequence[SSAValue]) -> list[SSAValue]:
    """``matrix @ values``."""
    matrix, values = _with_column_pairs(b, matrix, values)
    results: dict[int, SSAValue] = {}
    for number, row in enumerate(matrix):
        if number in results:
            continue
        twin = _twin(matrix, number)
        if twin is None:
            results[number] = combination(b, row, values)
        else:
            results[number], results[twin] = _row_pair(b, row, matrix[twin], values)
    return [results[number] for number in range(len(matrix))]


def _with_column_pairs(
    b: LoopBuilder, matrix: np.ndarray, values: Sequence[SSAValue]
) -> tuple[np.ndarray, list[SSAValue]]:
    """The same product with sums and differences of values for columns that differ in signs."""
    matrix, values = matrix.copy(), list(values)
    for number in range(len(values)):
        twin = _twin(matrix.T, number)
        if twin is not None:
            x, y = values[number], values[twin]
            values[number] = b.op(arith.AddfOp, [x, y], x.type)
            values[twin] = b.op(arith.SubfOp, [x, y], x.type)
            left, right = matrix[:, number].copy(), matrix[:, twin].copy()
            matrix[:, number], matrix[:, twin] = (left + right) / 2, (left - right) / 2
    return matrix, values


def _twin(rows: np.ndarray, number: int) -> int | None:
    """A later row with the same elements but for signs."""
    for other in range(number + 1, len(rows)):
        same = np.array_equal(abs(rows[other]), abs(rows[number]))
        if same and abs(rows[other] - rows[number]).any() and abs(rows[other] + rows[number]).any():
            return other
    return None


def _row_pair(
    b: LoopBuilder, row: np.ndarray, twin: np.ndarray, values: Sequence[SSAValue]
) -> tuple[SSAValue, SSAValue]:
    even, odd = (row + twin) / 2, (row - twin) / 2
    factor = float(odd[np.flatnonzero(odd)[-1]])
    x, y = combination(b, even, values), combination(b, odd / factor, values)
    return _add(b, x, factor, y), _add(b, x, -factor, y)


def combination(b: LoopBuilder, row: Sequence[float], values: Sequence[SSAValue]) -> SSAValue:
    """``row @ values``, begun where the factor is 1."""
    terms = sorted(
        ((float(c), v) for c, v in zip(row, values, strict=True) if c), key=lambda t: t[0] != 1
    )
    (factor, total), *others = terms
    if factor != 1:
        total = b.op(arith.MulfOp, [total, b.constant(factor, total.type)], total.type)
    for factor, value in others:
        total = _add(b, total, factor, value)
    return total


def _add(b: LoopBuilder, total: SSAValue, factor: float, value: SSAValue) -> SSAValue:
    """``total + factor * value``."""
    if abs(factor) == 1:
        kind = arith.AddfOp if factor == 1 else arith.SubfOp
        return b.op(kind, [total, value], total.type)
    return b.fma(value, b.constant(factor, value.type), total)
