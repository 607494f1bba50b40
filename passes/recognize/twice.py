"""Tables of angles that say everything twice: by halves of their last dim, or by pairs."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ...ir.op import Add, GraphOp
from ...ir.ops.elementwise import ElementwiseOp
from ...ir.ops.shape import BroadcastOp, ConcatOp, ReshapeOp, SliceOp, TransposeOp, dims_param
from ...ir.types import type_of
from ..fold_constants import placed
from ..values import constant

# Tables are made of their angles in a few steps.
_DEPTH = 12


def said_once(value: SSAValue, add: Add, *, pairs: bool = False) -> SSAValue | None:
    """The first half of the last dim, if the second is the same; of each of its ``pairs``."""
    shape = type_of(value).shape
    if not shape or not isinstance(shape[-1], int) or shape[-1] % 2:
        return None
    if not _repeats(value, pairs, _DEPTH):
        return None
    rank, last = len(shape), shape[-1] if pairs else shape[-1] // 2
    steps = (*(1,) * (rank - 1), 2 if pairs else 1)
    stops = dims_param((*shape[:-1], last))
    return placed(SliceOp(value, starts=(0,) * rank, stops=stops, steps=steps), add)


def _repeats(value: SSAValue, pairs: bool, depth: int) -> bool:
    shape, known = type_of(value).shape, constant(value)
    if not shape or shape[-1] == 1:
        return True
    if known is not None:
        return _is_twice(known, pairs)
    op = value.owner
    if depth == 0 or not isinstance(op, GraphOp):
        return False
    if _says_twice(op, pairs):
        return True
    return _keeps_last_dim(op) and all(_repeats(v, pairs, depth - 1) for v in op.operands)


def _is_twice(table: np.ndarray, pairs: bool) -> bool:
    if table.shape[-1] % 2:
        return False
    half = table.shape[-1] // 2
    if pairs:
        return np.array_equal(table[..., ::2], table[..., 1::2])
    return np.array_equal(table[..., :half], table[..., half:])


def _says_twice(op: GraphOp, pairs: bool) -> bool:
    """Whether ``op`` puts a value beside itself."""
    if pairs:
        flat = isinstance(op, ReshapeOp) and type_of(op.x).shape[-1:] == (2,)
        inner = op.operands[0].owner if flat else None
        return isinstance(inner, ConcatOp | BroadcastOp) and _joins(inner)
    return isinstance(op, ConcatOp) and _joins(op)


def _joins(op: ConcatOp | BroadcastOp) -> bool:
    """Whether the last dim of a result is one value twice."""
    if isinstance(op, BroadcastOp):
        return type_of(op.x).shape[-1:] == (1,)
    twice = len(op.operands) == 2 and op.operands[0] is op.operands[1]
    return twice and op.axis == type_of(op.results[0]).rank - 1


def _keeps_last_dim(op: GraphOp) -> bool:
    """Whether operands that say everything twice make a result that does."""
    if isinstance(op, TransposeOp):
        return op.perm[-1] == len(op.perm) - 1
    if isinstance(op, ReshapeOp | SliceOp | ConcatOp):
        last = type_of(op.results[0]).shape[-1]
        return all(type_of(v).shape[-1:] == (last,) for v in op.operands)
    return isinstance(op, ElementwiseOp | BroadcastOp)
