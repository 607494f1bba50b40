"""Attention that reads each key head once, and knows a causal mask when it sees one."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import Shape
from ...ir.op import Add
from ...ir.ops.attention import AttentionOp
from ...ir.ops.elementwise import MulOp
from ...ir.ops.shape import BroadcastOp, ReshapeOp, TransposeOp
from ...ir.types import type_of
from ..contract import Promise
from ..rewrite import again
from ..values import constant, number, producer, used_once
from .registry import canonical

# A number not above this, added to a score, takes it out of the softmax.
_LOST = -1e30


@canonical(AttentionOp)
def heads_in_place(op: AttentionOp, add: Add) -> SSAValue | None:
    """Key heads that were repeated for the query heads are read in place."""
    k, v = _unrepeated(op.k), _unrepeated(op.v)
    if k is None or v is None or type_of(k).shape[1] != type_of(v).shape[1]:
        return None
    heads = [add(ReshapeOp.to(x, _without_unit(type_of(x).shape))) for x in (k, v)]
    rest = [op.mask] if op.mask is not None else []
    return add(again(op, op.q, *heads, *rest))


@canonical(AttentionOp)
def mask_of_nothing(op: AttentionOp, add: Add) -> SSAValue | None:
    """A mask of zeros is none."""
    mask = constant(op.mask) if op.mask is not None else None
    if mask is None or mask.any():
        return None
    return add(again(op, op.q, op.k, op.v))


@canonical(AttentionOp)
def mask_of_later_keys(op: AttentionOp, add: Add) -> SSAValue | None:
    """A mask that takes out just the keys after each query is ``causal``."""
    mask = constant(op.mask) if op.mask is not None else None
    if mask is None or mask.shape[-2:] != (type_of(op.q).shape[2], type_of(op.k).shape[2]):
        return None
    queries, keys = mask.shape[-2:]
    if queries > keys:
        return None
    later = np.triu(np.ones((queries, keys), bool), keys - queries + 1)
    if not ((mask == 0) == ~later).all() or not (mask[..., later] <= _LOST).all():
        return None
    return add(AttentionOp(op.q, op.k, op.v, scale=op.scale, causal=True))


@canonical(AttentionOp, promise=Promise.ROUNDING)
def number_as_scale(op: AttentionOp, add: Add) -> SSAValue | None:
    """A number that q or k was multiplied by is part of the scale."""
    q, k = (_without_number(x, add) for x in (op.q, op.k))
    if q is None and k is None:
        return None
    (q, a), (k, b) = q or (op.q, 1.0), k or (op.k, 1.0)
    return add(again(op, q, k, *op.operands[2:], scale=op.scale * a * b))


def _without_number(value: SSAValue, add: Add) -> tuple[SSAValue, float] | None:
    """``value`` before it was multiplied by a number, and the number; movement in between."""
    op = value.owner
    if not used_once(value):
        return None
    if isinstance(op, MulOp) and type_of(op.x) == type_of(value):
        factor = number(op.y)
        return None if factor is None else (op.x, factor)
    if not isinstance(op, ReshapeOp | TransposeOp):
        return None
    inner = _without_number(op.x, add)
    return (add(again(op, inner[0])), inner[1]) if inner else None


def _unrepeated(value: SSAValue) -> SSAValue | None:
    """``[B, G, 1, T, D]`` that was repeated along the third dim, which was then merged."""
    merged = producer(value, ReshapeOp)
    repeated = producer(merged.x, BroadcastOp) if merged else None
    if repeated is None:
        return None
    few, many, shape = (type_of(v).shape for v in (repeated.x, repeated.results[0], value))
    if len(few) != 5 or few[2] != 1 or _without_unit(few) != _without_unit(many):
        return None
    return repeated.x if shape == (many[0], many[1] * many[2], *many[3:]) else None


def _without_unit(shape: Shape) -> Shape:
    return (*shape[:2], *shape[3:])
