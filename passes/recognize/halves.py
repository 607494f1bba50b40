"""Whether both halves of a tensor's last dim hold the same values, as tables of angles do."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ...ir.op import Add, GraphOp
from ...ir.ops.elementwise import ElementwiseOp
from ...ir.ops.shape import BroadcastOp, ConcatOp, ReshapeOp, SliceOp, TransposeOp, dims_param
from ...ir.types import type_of
from ..values import constant

# Tables are made of their angles in a few steps.
_DEPTH = 12


def first_half(value: SSAValue, add: Add) -> SSAValue | None:
    """The first half of the last dim, if the second is the same."""
    shape = type_of(value).shape
    if not shape or not isinstance(shape[-1], int) or shape[-1] % 2 or not _repeats(value, _DEPTH):
        return None
    stops = dims_param((*shape[:-1], shape[-1] // 2))
    rank = len(shape)
    return add(SliceOp(value, starts=(0,) * rank, stops=stops, steps=(1,) * rank))


def _repeats(value: SSAValue, depth: int) -> bool:
    shape, known = type_of(value).shape, constant(value)
    if not shape or shape[-1] == 1:
        return True
    if known is not None:
        half = known.shape[-1] // 2
        return np.array_equal(known[..., :half], known[..., half:])
    op = value.owner
    if depth == 0 or not isinstance(op, GraphOp):
        return False
    if isinstance(op, ConcatOp) and op.axis == len(shape) - 1:
        return len(op.operands) == 2 and op.operands[0] is op.operands[1]
    return _keeps_last_dim(op) and all(_repeats(v, depth - 1) for v in op.operands)


def _keeps_last_dim(op: GraphOp) -> bool:
    """Whether equal halves of the operands make equal halves of the result."""
    if isinstance(op, TransposeOp):
        return op.perm[-1] == len(op.perm) - 1
    if isinstance(op, ReshapeOp | SliceOp | ConcatOp):
        last = type_of(op.results[0]).shape[-1]
        return all(type_of(v).shape[-1:] == (last,) for v in op.operands)
    return isinstance(op, ElementwiseOp | BroadcastOp)
