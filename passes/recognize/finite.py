"""Whether a value holds finite numbers only, as masks do that are made of large negative ones."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ...ir.op import GraphOp
from ...ir.ops.elementwise import CastOp, SelectOp
from ...ir.ops.index import GatherOp
from ...ir.ops.shape import BroadcastOp, ConcatOp, ReshapeOp, SliceOp, TransposeOp
from ...ir.types import is_float, type_of
from ..values import constant

_MOVES = (BroadcastOp, ConcatOp, ReshapeOp, SliceOp, TransposeOp)
# Masks are made in a few steps.
_DEPTH = 12


def is_finite(value: SSAValue, depth: int = _DEPTH) -> bool:
    """Whether ``value`` is finite for every input of the model; False where that is not known."""
    known, op = constant(value), value.owner
    if known is not None:
        return bool(np.isfinite(known).all())
    if not is_float(type_of(value).dtype):
        return True
    if depth == 0 or not isinstance(op, GraphOp):
        return False
    sources = _sources(op)
    return bool(sources) and all(is_finite(v, depth - 1) for v in sources)


def _sources(op: GraphOp) -> list[SSAValue]:
    """The operands whose elements become those of the result, unchanged."""
    if isinstance(op, _MOVES):
        return list(op.operands)
    if isinstance(op, SelectOp):
        return [op.x, op.y]
    if isinstance(op, GatherOp):
        return [op.x]
    return [op.x] if isinstance(op, CastOp) and not is_float(type_of(op.x).dtype) else []
