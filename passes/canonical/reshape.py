"""Reshapes and transposes: as few as possible, and reshapes rather than transposes."""

from __future__ import annotations

from itertools import pairwise

from xdsl.ir import SSAValue

from ...ir.dims import Dim, Shape, product
from ...ir.op import Add
from ...ir.ops.shape import ReshapeOp, TransposeOp
from ...ir.types import type_of
from ..values import producer
from .registry import canonical


@canonical(ReshapeOp)
def reshape_to_itself(op: ReshapeOp, add: Add) -> SSAValue | None:
    """Nothing happens."""
    return op.x if op.x.type == op.results[0].type else None


@canonical(ReshapeOp)
def reshape_twice(op: ReshapeOp, add: Add) -> SSAValue | None:
    """Once to the last shape."""
    inner = producer(op.x, ReshapeOp)
    return add(ReshapeOp(inner.x, shape=op.shape)) if inner else None


@canonical(TransposeOp)
def transpose_twice(op: TransposeOp, add: Add) -> SSAValue | None:
    """Once by the composed permutation."""
    inner = producer(op.x, TransposeOp)
    if inner is None:
        return None
    return add(TransposeOp(inner.x, perm=tuple(inner.perm[p] for p in op.perm)))


@canonical(TransposeOp)
def transpose_of_unit_dims(op: TransposeOp, add: Add) -> SSAValue | None:
    """A transpose that moves only dims of size 1 is a reshape."""
    shape = type_of(op.x).shape
    moved = [p for p in op.perm if shape[p] != 1]
    if any(a > b for a, b in pairwise(moved)):
        return None
    return add(ReshapeOp.to(op.x, type_of(op.results[0]).shape))


@canonical(ReshapeOp)
def split_before_transpose(op: ReshapeOp, add: Add) -> SSAValue | None:
    """``reshape(transpose(x))`` that splits dims is ``transpose(reshape(x))``.

    Done where the reshape meets another one, or the transpose another one.
    """
    transpose = producer(op.x, TransposeOp)
    if transpose is None or not (producer(transpose.x, ReshapeOp) or _is_transposed(op)):
        return None
    shape = type_of(op.results[0]).shape
    parts = _parts(type_of(op.x).shape, shape)
    if parts is None:
        return None
    order = [k for _, part in sorted(zip(transpose.perm, parts, strict=True)) for k in part]
    split = add(ReshapeOp.to(transpose.x, tuple(shape[k] for k in order)))
    return add(TransposeOp(split, perm=tuple(order.index(k) for k in range(len(order)))))


@canonical(TransposeOp)
def unit_dims_in_place(op: TransposeOp, add: Add) -> SSAValue | None:
    """A reshape before it puts dims of size 1 where they end up, so that they do not move."""
    shape = type_of(op.results[0]).shape
    units = [k for k, d in enumerate(shape) if d == 1]
    if not isinstance(op.x.owner, ReshapeOp) or all(op.perm[k] == k for k in units):
        return None
    places = [k for k, d in enumerate(shape) if d != 1]
    sources = sorted(op.perm[k] for k in places)
    perm, before = list(range(len(shape))), list(shape)
    for place, source in zip(places, sources, strict=True):
        before[place] = type_of(op.x).shape[source]
        perm[place] = places[sources.index(op.perm[place])]
    return add(TransposeOp(add(ReshapeOp.to(op.x, tuple(before))), perm=tuple(perm)))


def _is_transposed(op: ReshapeOp) -> bool:
    return all(isinstance(use.operation, TransposeOp) for use in op.results[0].uses)


def _parts(whole: Shape, split: Shape) -> list[list[int]] | None:
    """For each dim of ``whole``, the dims of ``split`` it is split into; None if it is not."""
    parts, end = [], 0
    for dim in whole:
        start = end
        while end < len(split) and _missing(split[start:end], dim):
            end += 1
        if product(split[start:end]) != dim:
            return None
        parts.append(list(range(start, end)))
    if parts and product(split[end:]) == 1:
        parts[-1] += range(end, len(split))
        return parts
    return None


def _missing(taken: Shape, dim: Dim) -> bool:
    return product(taken) != dim
