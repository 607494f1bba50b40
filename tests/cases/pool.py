"""Cases of the pools."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlc.ir.ops.pool import ArgMaxPoolOp, AvgPoolOp, MaxPoolOp

from .case import BF16, F32, I8, I32, Case, Shape


def _case(op: type, x: Shape, kernel: Shape, dtype: np.dtype = F32, **params: Any) -> Case:
    rank = len(kernel)
    plain = {"strides": (1,) * rank, "pads": (0,) * 2 * rank, "dilations": (1,) * rank}
    return Case(op, ((x, dtype),), {"kernel": kernel, **plain, **params})


POOL = [
    case
    for op in (MaxPoolOp, AvgPoolOp, ArgMaxPoolOp)
    for case in (
        _case(op, (1, 1, 1), (1,)),
        _case(op, (0, 5, 2), (3,)),
        _case(op, (2, 7, 5, 3), (3, 2), strides=(2, 1), pads=(1, 0, 1, 1)),
        _case(op, (2, 7, 5, 3), (2, 2), BF16, dilations=(2, 3), pads=(1, 1, 1, 2)),
        _case(op, (1, 3, 4, 5, 2), (2, 2, 2), strides=(1, 2, 2)),
        _case(op, ("N", "S", 2), (3,), strides=(2,), pads=(1, 1)),
    )
]
POOL += [
    _case(op, (2, 7, 5), (3,), dtype, pads=(1, 1))
    for op in (MaxPoolOp, ArgMaxPoolOp)
    for dtype in (I32, I8)
]
POOL += [
    _case(AvgPoolOp, (1, 5, 2), (3,), pads=(1, 1), count_include_pad=True),
    _case(
        AvgPoolOp,
        (1, 5, 6, 2),
        (3, 3),
        strides=(2, 2),
        pads=(1, 1, 1, 2),
        overhang=(0, 1),
        count_include_pad=True,
    ),
]
