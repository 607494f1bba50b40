"""Cases of the reductions."""

from __future__ import annotations

from mlc.ir.ops import reduce

from .case import BF16, F32, I32, Case, leaves

REDUCE = [
    Case(op, ((s, d),), {"axes": axes, "keepdims": keep})
    for op in leaves(reduce.ReduceOp)
    for s, axes in (((7, 5), (1,)), ((2, 3, 5), (0, 2)), ((4,), ()), ((3,), (0,)))
    for d in ([F32, BF16] if op is reduce.ReduceMeanOp else [F32, I32])
    for keep in (False, True)
]
REDUCE += [
    Case(reduce.ReduceSumOp, (((3, 0), F32),), {"axes": (1,)}),
    Case(reduce.ReduceMeanOp, ((("N", "S"), F32),), {"axes": (1,)}),
]
