"""Cases of softmax and the normalisations."""

from __future__ import annotations

from mlc.ir.ops.norm import LayerNormOp, LogSoftmaxOp, RmsNormOp, SoftmaxOp

from .case import BF16, F16, F32, F64, Case

NORM = [
    Case(op, ((shape, dtype),), {"axis": axis})
    for op in (SoftmaxOp, LogSoftmaxOp)
    for shape, dtype, axis in (
        ((1,), F32, 0),
        ((2, 7, 5), F32, 1),
        ((3, 0), F32, 1),
        ((0, 3), F64, 1),
        ((7, 13), BF16, 1),
        (("N", "S"), F16, 1),
    )
]
NORM += [
    Case(op, ((shape, dtype), *[(shape[axis:], dtype)] * weights), {"axis": axis, "epsilon": 1e-3})
    for op, most in ((LayerNormOp, 2), (RmsNormOp, 1))
    for weights in range(most + 1)
    for shape, dtype, axis in (
        ((2, 3, 7), F32, 2),
        ((2, 3, 7), BF16, 1),
        ((1,), F32, 0),
        ((0, 5), F32, 1),
        (("N", "S"), F32, 1),
    )
]
