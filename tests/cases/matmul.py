"""Cases of the matrix product."""

from __future__ import annotations

from mlc.ir.ops import matmul
from mlc.ir.types import DTYPES

from .case import BF16, F32, I32, Case

F8 = DTYPES["f8E4M3FN"]

MATMUL = [
    Case(matmul.MatmulOp, ((a, d), (b, d)))
    for d in (F32, I32, BF16)
    for a, b in (
        ((1, 1), (1, 1)),
        ((7, 13), (13, 5)),
        ((3, 0), (0, 2)),
        ((2, 3, 5, 7), (3, 7, 2)),
        ((2, 1, 4, 3), (5, 3, 1)),
        (("N", 4, "S"), ("S", 3)),
    )
]
MATMUL += [Case(matmul.MatmulOp, (((5, 37), F8), ((37, 9), F8)), {"to": F32})]
