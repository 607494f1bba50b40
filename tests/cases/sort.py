"""Cases of top-k, arg-max and cumulative ops."""

from __future__ import annotations

import numpy as np
from mlc.ir.ops.sort import ArgMaxOp, ArgMinOp, CumProdOp, CumSumOp, TopKOp

from .case import BF16, F16, F32, F64, I8, I32, I64, UI8, Case

UI64 = np.dtype(np.uint64)

SORT = [
    Case(TopKOp, ((shape, dtype),), {"k": k, "axis": axis, "largest": largest})
    for largest in (True, False)
    for shape, dtype, k, axis in (
        ((1,), F32, 1, 0),
        ((0,), F32, 0, 0),
        ((7,), I8, 0, 0),
        ((3, 13), I32, 5, 1),
        ((13, 2), BF16, 13, 0),
        ((0, 5), UI8, 2, 1),
        ((2, 301), F32, 7, 1),
        ((301,), I64, 200, 0),
        ((5, 131, 3), F64, 131, 1),
        ((257,), UI64, 3, 0),
        ((1, 1000), F16, 129, 1),
        (("N", "S"), F32, "S - N", 1),
    )
]
SORT += [
    Case(op, ((shape, dtype),), {"axis": axis, "keepdims": keep, "select_last": last})
    for op in (ArgMaxOp, ArgMinOp)
    for keep, last in ((False, False), (True, True))
    for shape, dtype, axis in (
        ((1,), F32, 0),
        ((3, 13), I32, 1),
        ((31, 2), I8, 0),
        ((0, 5), BF16, 1),
        ((2, 7, 3), F64, 1),
        ((67,), I64, 0),
        (("N", "S"), F32, 0),
        (("N", "S"), I64, 1),
    )
]
SORT += [
    Case(op, ((shape, dtype),), {"axis": axis, "exclusive": exclusive, "reverse": reverse})
    for op in (CumSumOp, CumProdOp)
    for exclusive, reverse in ((False, False), (True, False), (False, True), (True, True))
    for shape, dtype, axis in (
        ((7,), F32, 0),
        ((3, 5), I64, 1),
        ((3, 5), BF16, 0),
        ((0, 3), F32, 0),
        (("N", "S"), I32, 1),
    )
]
