"""Quantization that is undone, and movement around it: what is moved is encoded."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ...ir.op import Add
from ...ir.ops.quant import DequantizeOp, QuantizeOp, ScaledOp
from ...ir.ops.shape import ReshapeOp
from ...ir.types import type_of
from ..rewrite import again
from ..values import producer, same, splat
from .registry import canonical


@canonical(QuantizeOp)
def quantized_again(op: QuantizeOp, add: Add) -> SSAValue | None:
    """What was just decoded, by the same scale and zero point, is still there."""
    inner = producer(op.x, DequantizeOp)
    if inner is None or inner.blocks != op.blocks or inner.x.type != op.results[0].type:
        return None
    if len(inner.operands) != len(op.operands):
        return None
    pairs = zip(inner.operands[1:], op.operands[1:], strict=True)
    return inner.x if all(same(a, b) for a, b in pairs) else None


@canonical(ScaledOp)
def blocks_of_one_or_all(op: ScaledOp, add: Add) -> SSAValue | None:
    """Such blocks need no telling."""
    shapes = type_of(op.x).shape, type_of(op.scale).shape
    if op.blocks is None or any(n not in (1, d) for d, n in zip(*shapes, strict=False)):
        return None
    return add(again(op, *op.operands, blocks=None))


@canonical(ScaledOp)
def no_zero_points(op: ScaledOp, add: Add) -> SSAValue | None:
    """Those that are 0 change nothing."""
    x, scale, *zeros = op.operands
    return add(again(op, x, scale)) if zeros and splat(zeros[0]) == 0 else None


@canonical(ScaledOp)
def scale_before_reshape(op: ScaledOp, add: Add) -> SSAValue | None:
    """The same for reshapes, where one scale is for all."""
    reshape = producer(op.x, ReshapeOp)
    if reshape is None or type_of(op.scale).rank != 0 or op.blocks is not None:
        return None
    return add(ReshapeOp(add(again(op, reshape.x, *op.operands[1:])), shape=reshape.shape))
