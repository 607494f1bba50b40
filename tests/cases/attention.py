"""Cases of attention and rotary embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlc.ir.ops.attention import AttentionOp, RotaryOp

from .case import BF16, F32, Case, Shape


def _case(q: Shape, k: Shape, v: Shape, *mask: Shape, dtype: np.dtype = F32, **params: Any) -> Case:
    operands = tuple((shape, dtype) for shape in (q, k, v, *mask))
    return Case(AttentionOp, operands, {"scale": 0.5, **params})


ATTENTION = [
    _case((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)),
    _case((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 2)),
    _case((2, 6, 5, 4), (2, 2, 7, 4), (2, 2, 7, 3), causal=True),
    _case((2, 2, 3, 4), (2, 1, 3, 4), (2, 1, 3, 4), (3, 3), dtype=BF16, causal=True),
    _case((2, 2, 3, 4), (2, 1, 5, 4), (2, 1, 5, 4), (2, 1, 1, 5)),
    _case((0, 2, 3, 4), (0, 2, 5, 4), (0, 2, 5, 4)),
    _case(("N", 4, "S", 8), ("N", 2, "S", 8), ("N", 2, "S", 8), ("S", "S"), causal=True),
]
ATTENTION += [
    Case(RotaryOp, ((x, dtype), (c, dtype), (c, dtype)), {"interleaved": interleaved})
    for interleaved in (False, True)
    for x, c, dtype in (
        ((2,), (1,), F32),
        ((2, 3, 5, 8), (5, 4), F32),
        ((2, 5, 6), (2, 1, 3), BF16),
        (("N", 2, "S", 4), ("S", 2), F32),
    )
]
