"""Cases of ops that find out the size of their results."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlc.ir.ops.select import CompressOp, NonMaxSuppressionOp, NonZeroOp, UniqueOp

from .case import BF16, BOOL, F32, F64, I8, I32, I64, UI8, Case

SELECT = [
    Case(NonZeroOp, ((shape, dtype),), {"count": "K"}, {0: (-1, 1)})
    for shape, dtype in (
        ((1,), BOOL),
        ((131,), I8),
        ((0, 3), F32),
        ((3, 13), I32),
        ((2, 3, 5), BF16),
        (("N", "S"), BOOL),
    )
]
SELECT += [
    Case(CompressOp, ((shape, dtype), ((entries,), BOOL)), {"axis": axis, "count": "K"})
    for shape, dtype, axis, entries in (
        ((1,), F32, 0, 1),
        ((131,), I8, 0, 127),
        ((0, 3), F32, 0, 0),
        ((3, 13), I64, 1, 13),
        ((13, 0), I64, 0, 13),
        ((2, 7, 5), BF16, 1, 5),
        ((7, 5), BOOL, 0, 7),
        (("N", "S"), F32, 1, "S"),
    )
]
SELECT += [
    Case(UniqueOp, ((shape, dtype),), {"axis": axis, "ordered": ordered, "count": "K"}, bounds)
    for ordered in (True, False)
    for shape, dtype, axis, bounds in (
        ((1,), F32, 0, {}),
        ((0,), F32, 0, {}),
        ((131,), I8, 0, {}),
        ((131,), F64, 0, {}),
        ((31,), BOOL, 0, {}),
        ((29, 2), UI8, 0, {0: (0, 3)}),
        ((2, 29, 1), I64, 1, {0: (0, 1)}),
        ((0, 5), I32, 0, {}),
        ((5, 0), I32, 0, {}),
        (("N", "S"), BF16, 1, {}),
    )
]


def _boxes(
    batch: int | str, classes: int, count: int | str, dtype: np.dtype, **params: Any
) -> Case:
    operands = (((batch, count, 4), dtype), ((batch, classes, count), dtype))
    return Case(NonMaxSuppressionOp, operands, {"count": "K", **params})


SELECT += [
    _boxes(1, 1, 1, F32, limit=1),
    _boxes(1, 1, 0, F32, limit=3),
    _boxes(2, 3, 13, F32, limit=0),
    _boxes(2, 3, 13, F32, limit=5, overlap=0.3),
    _boxes(2, 3, 67, F32, limit=100, overlap=0.1, least_score=0.4),
    _boxes(1, 2, 13, F64, limit=5, overlap=0.5, centered=True),
    _boxes("N", 2, "S", F32, limit="S", overlap=0.2),
]
