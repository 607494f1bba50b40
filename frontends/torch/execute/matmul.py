"""Matrix products."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F
from xdsl.ir import SSAValue

from ....ir.ops.matmul import MatmulOp
from .registry import Call, constant_of, runs


@runs(MatmulOp)
def matmul(call: Call[MatmulOp]) -> Any:
    """A layer where the right side is a constant matrix."""
    product = linear(call, None)
    return torch.matmul(*call.operands) if product is None else product


def linear(call: Call[MatmulOp], bias: SSAValue | None) -> Any:
    """A product with a constant matrix, plus a bias; None for other products."""
    if constant_of(call.op.y) is None or call.type(1).rank != 2 or not call.is_plain:
        return None
    if not call.is_float:
        return None
    weight = call.recorder.weight(call.op.y, _transposed)
    return F.linear(call.x, weight, None if bias is None else call.recorder.value(bias))


def _transposed(matrix: Any) -> Any:
    """What a layer calls its weight: a view."""
    return matrix.t()
