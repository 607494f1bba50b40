"""Reductions of nothing, and reductions that keep their dims."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ...ir.op import Add
from ...ir.ops.reduce import ReduceOp
from ...ir.ops.shape import ReshapeOp
from ...ir.types import type_of
from ..rewrite import if_alike
from ..values import producer, used_once
from .registry import canonical


@canonical(ReduceOp)
def reduce_unit_dims(op: ReduceOp, add: Add) -> SSAValue | None:
    """A reduction of one element each is a reshape."""
    shape = type_of(op.x).shape
    if any(shape[a] != 1 for a in op.axes):
        return None
    return add(ReshapeOp.to(op.x, type_of(op.results[0]).shape))


@canonical(ReshapeOp)
def keep_reduced_dims(op: ReshapeOp, add: Add) -> SSAValue | None:
    """A reshape that brings the reduced dims back as 1 is the reduction's own business."""
    inner = producer(op.x, ReduceOp)
    if inner is None or inner.keepdims or not used_once(op.x):
        return None
    return if_alike(type(inner)(inner.x, axes=inner.axes, keepdims=True), op, add)
