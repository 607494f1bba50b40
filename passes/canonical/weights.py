"""Weights are moved as they are stored: codes, and the scales with them.

%w = "mlc.dequantize"(%codes, %s)         %d = "mlc.reshape"(%codes)
%v = "mlc.reshape"(%w)               ->   %v = "mlc.dequantize"(%d, %t)     t: s, spread

A scale is for one index of some dims, and for all of the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import is_static
from ...ir.op import Add
from ...ir.ops.constant import ConstantOp
from ...ir.ops.quant import DequantizeOp
from ...ir.ops.shape import PadOp, ReshapeOp, ReverseOp, TransposeOp
from ...ir.types import type_of
from ..dim_groups import dim_groups
from ..fold_constants import placed
from ..rewrite import again
from ..values import constant, is_constant, number, producer
from .registry import canonical


@canonical(TransposeOp)
def transpose_before_decoding(op: TransposeOp, add: Add) -> SSAValue | None:
    """Scales are transposed likewise."""
    inner = producer(op.x, DequantizeOp)
    if inner is None or not is_constant(inner.x):
        return None
    scales = (v if type_of(v).rank == 0 else _turned(v, op, add) for v in inner.operands[1:])
    blocks = {"blocks": tuple(inner.blocks[p] for p in op.perm)} if inner.blocks else {}
    return add(again(inner, _turned(inner.x, op, add), *scales, **blocks))


@canonical(ReverseOp)
def reverse_before_decoding(op: ReverseOp, add: Add) -> SSAValue | None:
    """Scales are reversed likewise."""
    inner = _scaled_by_index(op.x)
    if inner is None:
        return None
    return add(again(inner, *(placed(again(op, v), add) for v in inner.operands)))


@canonical(ReshapeOp)
def reshape_before_decoding(op: ReshapeOp, add: Add) -> SSAValue | None:
    """A scale is spread over the dims that become one with its own."""
    inner, shape = _scaled_by_index(op.x), type_of(op.results[0]).shape
    groups = dim_groups(type_of(op.x).shape, shape) if inner and is_static(shape) else None
    if inner is None or groups is None:
        return None
    scales = (_regrouped(v, groups, type_of(op.x).shape, shape, add) for v in inner.operands[1:])
    return add(again(inner, placed(again(op, inner.x), add), *scales))


@canonical(PadOp)
def pad_before_decoding(op: PadOp, add: Add) -> SSAValue | None:
    """Zeros are added along dims that share their scales."""
    inner = _scaled_by_index(op.x)
    if inner is None or op.mode != "constant" or any(number(v) != 0 for v in op.operands[1:]):
        return None
    shared = [count == 1 for count in type_of(inner.scale).shape] * 2
    apart = any(n != 0 and not one for n, one in zip(op.pads, shared, strict=True))
    if apart or len(inner.operands) > 2:
        return None
    codes = placed(PadOp(inner.x, pads=op.pads), add)
    return add(again(inner, codes, *inner.operands[1:]))


def _scaled_by_index(value: SSAValue) -> DequantizeOp | None:
    """What decodes a weight that has a scale for each index of some dims, not for blocks."""
    inner = producer(value, DequantizeOp)
    if inner is None or not all(is_constant(v) for v in inner.operands):
        return None
    shape, counts = type_of(inner.x).shape, type_of(inner.scale).shape
    plain = all(n in (1, d) for d, n in zip(shape, counts, strict=False))
    return inner if counts and plain else None


def _regrouped(
    value: SSAValue,
    groups: Sequence[tuple[list[int], list[int]]],
    old: Sequence[object],
    new: Sequence[object],
    add: Add,
) -> SSAValue:
    """The scales of regrouped dims: one for each index of a group where some of its dims had."""
    scales = constant(value)
    assert scales is not None
    wide, shape = list(scales.shape), [1] * len(new)
    for ins, outs in groups:
        if any(scales.shape[k] != 1 for k in ins):
            wide[ins[0] : ins[-1] + 1] = [int(str(old[k])) for k in ins]
            shape[outs[0] : outs[-1] + 1] = [int(str(new[k])) for k in outs]
    return add(ConstantOp.of(np.broadcast_to(scales, wide).reshape(shape)))


def _turned(value: SSAValue, like: TransposeOp, add: Add) -> SSAValue:
    return placed(TransposeOp(value, perm=like.perm), add)
