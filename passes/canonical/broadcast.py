"""Repetitions move towards the results, and vanish where the reader repeats by itself."""

from __future__ import annotations

from itertools import dropwhile

from xdsl.ir import SSAValue

from ...ir.op import Add
from ...ir.ops.attention import AttentionOp
from ...ir.ops.elementwise import ElementwiseOp
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.shape import BroadcastOp, ReshapeOp, TransposeOp, param_dims
from ...ir.types import type_of
from ..fold_constants import placed
from ..rewrite import again, if_alike
from ..values import is_constant, producer
from .registry import canonical


@canonical(BroadcastOp)
def broadcast_nothing(op: BroadcastOp, add: Add) -> SSAValue | None:
    """Every dim has its size already."""
    return op.x if op.x.type == op.results[0].type else None


@canonical(BroadcastOp)
def broadcast_twice(op: BroadcastOp, add: Add) -> SSAValue | None:
    """Once to the last shape."""
    inner = producer(op.x, BroadcastOp)
    return add(BroadcastOp(inner.x, shape=op.shape)) if inner else None


@canonical(BroadcastOp)
def broadcast_adds_leading_dims(op: BroadcastOp, add: Add) -> SSAValue | None:
    """A reshape before it that only adds leading dims is left out."""
    inner = producer(op.x, ReshapeOp)
    if inner is None:
        return None
    before, after = type_of(inner.x).shape, type_of(op.x).shape
    extra = len(after) - len(before)
    if extra < 0 or after != (1,) * extra + before:
        return None
    return add(BroadcastOp(inner.x, shape=op.shape))


@canonical(ElementwiseOp)
def operand_needs_no_broadcast(op: ElementwiseOp, add: Add) -> SSAValue | None:
    """``f(broadcast(x), y)`` is ``f(x, y)``, or ``broadcast(f(x, y))`` where y is small too."""
    sources = [_source(v) for v in op.operands]
    if all(a is b for a, b in zip(sources, op.operands, strict=True)):
        return None
    small = add(again(op, *sources))
    if small.type == op.results[0].type:
        return small
    return add(BroadcastOp.to(small, type_of(op.results[0]).shape))


@canonical(ElementwiseOp)
def constant_of_few_dims(op: ElementwiseOp, add: Add) -> SSAValue | None:
    """Leading dims of size 1 say nothing about a constant that is repeated anyway."""
    operands = [_without_leading_units(v, add) for v in op.operands]
    if all(a is b for a, b in zip(operands, op.operands, strict=True)):
        return None
    return if_alike(again(op, *operands), op, add)


@canonical(MatmulOp)
def factor_needs_no_broadcast(op: MatmulOp, add: Add) -> SSAValue | None:
    """A matrix product repeats leading dims by itself."""
    sources = [_same_matrix(v) for v in op.operands]
    if all(a is b for a, b in zip(sources, op.operands, strict=True)):
        return None
    return if_alike(MatmulOp(*sources), op, add)


@canonical(AttentionOp)
def mask_needs_no_broadcast(op: AttentionOp, add: Add) -> SSAValue | None:
    """So does attention with its mask."""
    if op.mask is None or _source(op.mask) is op.mask:
        return None
    return add(again(op, op.q, op.k, op.v, _source(op.mask)))


@canonical(TransposeOp)
def transpose_before_broadcast(op: TransposeOp, add: Add) -> SSAValue | None:
    """The smaller tensor is transposed."""
    inner = producer(op.x, BroadcastOp)
    if inner is None or type_of(inner.x).rank != len(op.perm):
        return None
    shape = tuple(param_dims(inner.shape)[p] for p in op.perm)
    return add(BroadcastOp.to(add(TransposeOp(inner.x, perm=op.perm)), shape))


def _source(value: SSAValue) -> SSAValue:
    inner = producer(value, BroadcastOp)
    return inner.x if inner else value


def _without_leading_units(value: SSAValue, add: Add) -> SSAValue:
    shape = type_of(value).shape
    if not is_constant(value) or shape[:1] != (1,):
        return value
    return placed(ReshapeOp.to(value, tuple(dropwhile(lambda d: d == 1, shape))), add)


def _same_matrix(value: SSAValue) -> SSAValue:
    """What ``value`` is a repetition of, if that has its last two dims."""
    source = _source(value)
    shape = type_of(source).shape
    return source if len(shape) > 1 and shape[-2:] == type_of(value).shape[-2:] else value
