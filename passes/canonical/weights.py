"""Weights are moved as they are stored: codes, and the scales with them.

%w = "mlc.dequantize"(%codes, %s)         %d = "mlc.reshape"(%codes)
%v = "mlc.reshape"(%w)               ->   %v = "mlc.dequantize"(%d, %t)     t: s, spread

A scale is for one index of some dims, and for all of the others. Codes that are cast to floats are
decoded by 1; what shifts and scales them then are their zero points and scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import Shape, is_static
from ...ir.op import Add
from ...ir.ops.constant import ConstantOp
from ...ir.ops.elementwise import AddOp, CastOp, MulOp
from ...ir.ops.quant import DequantizeOp
from ...ir.ops.shape import PadOp, ReshapeOp, ReverseOp, TransposeOp
from ...ir.symbols import known_shape
from ...ir.types import F32, type_of
from ..dim_groups import dim_groups
from ..fold_constants import placed, widens_codes
from ..rewrite import again
from ..values import constant, is_constant, number, producer, splat
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
    inner, shapes = _scaled_by_index(op.x, ()), [type_of(v).shape for v in (op.x, op.results[0])]
    groups = dim_groups(*shapes) if inner and all(map(is_static, shapes)) else None
    if inner is None or groups is None:
        return None
    old, new = (known_shape(shape) for shape in shapes)
    scales = (a for v in inner.operands[1:] if (a := constant(v)) is not None)
    regrouped = (_regrouped(a, groups, old, new) if a.ndim else a for a in scales)
    constants = (add(ConstantOp.of(a)) for a in regrouped)
    return add(again(inner, placed(again(op, inner.x), add), *constants))


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


@canonical(CastOp)
def cast_of_codes(op: CastOp, add: Add) -> SSAValue | None:
    """To decode by 1."""
    if not widens_codes(op) or op.to.itemsize > F32.itemsize:
        return None
    return add(DequantizeOp(op.x, add(ConstantOp.of(np.ones((), F32))), to=op.to))


@canonical(AddOp)
def zero_points_of_codes(op: AddOp, add: Add) -> SSAValue | None:
    """What is subtracted from codes, where it is codes."""
    inner, shift = _plain_codes(op.x), _of_codes(op)
    if inner is None or shift is None or len(inner.operands) > 2:
        return None
    dtype, zeros = type_of(inner.x).dtype, -shift
    with np.errstate(invalid="ignore"):
        codes = zeros.astype(dtype)
    if not np.array_equal(codes.astype(zeros.dtype), zeros):
        return None
    ones = add(ConstantOp.of(np.ones(zeros.shape, F32)))
    return add(again(inner, inner.x, ones, add(ConstantOp.of(codes))))


@canonical(MulOp)
def scales_of_codes(op: MulOp, add: Add) -> SSAValue | None:
    """What multiplies them."""
    inner, scales = _plain_codes(op.x), _of_codes(op)
    if inner is None or scales is None:
        return None
    zeros = [constant(v) for v in inner.operands[2:]]
    shape = np.broadcast_shapes(scales.shape, *(z.shape for z in zeros if z is not None))
    spread = (np.broadcast_to(a, shape) for a in (scales.astype(np.float32), *zeros))
    return add(again(inner, inner.x, *(add(ConstantOp.of(a.copy())) for a in spread)))


def _plain_codes(value: SSAValue) -> DequantizeOp | None:
    """What decodes a weight by 1, up to zero points."""
    inner = producer(value, DequantizeOp)
    if inner is None or not is_constant(inner.x) or splat(inner.scale) != 1:
        return None
    if inner.blocks is not None or type_of(value).dtype != F32:
        return None
    return inner if all(is_constant(v) for v in inner.operands) else None


def _of_codes(op: AddOp | MulOp) -> np.ndarray | None:
    """The constant operand: a number, or in the rank of codes, one for all along each other dim."""
    x, y = type_of(op.x), type_of(op.y)
    if not is_constant(op.y) or type_of(op.result) != x or not x.is_static:
        return None
    if y.size == 1:
        values = constant(op.y)
        return None if values is None else values.reshape(())
    shape = (*(1,) * (x.rank - y.rank), *y.shape)
    if any(n not in (1, d) for d, n in zip(x.shape, shape, strict=True)) or y.size == x.size:
        return None
    values = constant(op.y)
    return None if values is None else values.reshape(known_shape(shape))


def _scaled_by_index(value: SSAValue, *others: Shape) -> DequantizeOp | None:
    """What decodes a weight that has a scale for each index of some dims, not for blocks.

    Scales may also be of a shape of ``others``: () is one for all.
    """
    inner = producer(value, DequantizeOp)
    if inner is None or not all(is_constant(v) for v in inner.operands):
        return None
    shape, counts = type_of(inner.x).shape, type_of(inner.scale).shape
    if not counts:
        return inner if counts in others else None
    return inner if all(n in (1, d) for d, n in zip(shape, counts, strict=True)) else None


def _regrouped(
    scales: np.ndarray,
    groups: Sequence[tuple[list[int], list[int]]],
    old: Sequence[int],
    new: Sequence[int],
) -> np.ndarray:
    """The scales of regrouped dims: one for each index of a group where some of its dims had.

    In a group that becomes one dim, what lies behind the last of those shares a scale as a block.
    """
    wide, shape = list(scales.shape), [1] * len(new)
    for ins, outs in groups:
        having = [k for k in ins if scales.shape[k] != 1]
        if having and len(outs) == 1:
            own = range(ins[0], having[-1] + 1)
            shape[outs[0]] = prod(old[k] for k in own)
        elif having:
            own = ins
            shape[outs[0] : outs[-1] + 1] = [new[k] for k in outs]
        else:
            continue
        wide[own[0] : own[-1] + 1] = [old[k] for k in own]
    return np.broadcast_to(scales, wide).reshape(shape)


def _turned(value: SSAValue, like: TransposeOp, add: Add) -> SSAValue:
    return placed(TransposeOp(value, perm=like.perm), add)
