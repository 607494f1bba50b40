"""Slices, concatenations, pads and reversals that do nothing or undo each other."""

from __future__ import annotations

from itertools import accumulate

from xdsl.ir import SSAValue

from ...ir.dims import Dim, Shape
from ...ir.op import Add
from ...ir.ops.shape import ConcatOp, PadOp, ReverseOp, SliceOp, dims_param, param_dims
from ...ir.types import type_of
from ..rewrite import again
from ..values import producer, used_once
from .registry import canonical


@canonical(SliceOp, PadOp)
def all_of_it(op: SliceOp | PadOp, add: Add) -> SSAValue | None:
    """A slice of everything, and a pad by nothing."""
    if op.x.type != op.results[0].type:
        return None
    nothing = isinstance(op, SliceOp) or all(n == 0 for n in param_dims(op.pads))
    return op.x if nothing else None


@canonical(SliceOp)
def slice_twice(op: SliceOp, add: Add) -> SSAValue | None:
    """One slice; the steps multiply."""
    inner, shape = producer(op.x, SliceOp), type_of(op.results[0]).shape
    if inner is None or 0 in shape:
        return None
    if any(n != 1 and not isinstance(d, int) for n, d in zip(inner.steps, shape, strict=True)):
        return None
    composed = [_composed(inner, op, k) for k in range(len(shape))]
    starts, stops, steps = zip(*composed, strict=True)
    return add(SliceOp(inner.x, starts=dims_param(starts), stops=dims_param(stops), steps=steps))


@canonical(SliceOp)
def slice_of_concat(op: SliceOp, add: Add) -> SSAValue | None:
    """A slice of the one operand that it lies in."""
    concat = producer(op.x, ConcatOp)
    if concat is None:
        return None
    axis, starts, stops = concat.axis, param_dims(op.starts), param_dims(op.stops)
    sizes = [type_of(v).shape[axis] for v in concat.operands]
    for value, size, end in zip(concat.operands, sizes, accumulate(sizes, _plus), strict=True):
        begin = end - size
        if _not_above(begin, starts[axis]) and _not_above(stops[axis], end):
            offsets = tuple(-begin if k == axis else 0 for k in range(len(starts)))
            starts, stops = _shifted(starts, offsets), _shifted(stops, offsets)
            return add(again(op, value, starts=starts, stops=stops))
    return None


@canonical(ConcatOp)
def concat_of_one(op: ConcatOp, add: Add) -> SSAValue | None:
    """What is not empty is all there is."""
    kept = [v for v in op.operands if type_of(v).shape[op.axis] != 0]
    if len(kept) == 1:
        return kept[0]
    return add(ConcatOp(kept, axis=op.axis)) if 0 < len(kept) < len(op.operands) else None


@canonical(ConcatOp)
def concat_twice(op: ConcatOp, add: Add) -> SSAValue | None:
    """One after another, all at once."""
    inner = [_concat_inside(v, op.axis) for v in op.operands]
    if not any(inner):
        return None
    flat = [w for v, c in zip(op.operands, inner, strict=True) for w in (c.operands if c else [v])]
    return add(ConcatOp(flat, axis=op.axis))


@canonical(ConcatOp)
def concat_of_neighbours(op: ConcatOp, add: Add) -> SSAValue | None:
    """Slices of one tensor that lie side by side are one slice."""
    operands = list(op.operands)
    for k in range(len(operands) - 1):
        first, second = (producer(v, SliceOp) for v in operands[k : k + 2])
        if first and second and _touch(first, second, op.axis):
            stops = list(first.stops)
            stops[op.axis] = second.stops[op.axis]
            operands[k : k + 2] = [add(again(first, first.x, stops=tuple(stops)))]
            return add(ConcatOp(operands, axis=op.axis))
    return None


@canonical(ReverseOp)
def reversed_twice(op: ReverseOp, add: Add) -> SSAValue | None:
    """Along the same axes, or along dims of size 1."""
    axes = {a for a in op.axes if type_of(op.x).shape[a] != 1}
    if not axes:
        return op.x
    inner = producer(op.x, ReverseOp)
    return inner.x if inner and set(inner.axes) == set(op.axes) else None


def _composed(first: SliceOp, second: SliceOp, k: int) -> tuple[Dim, Dim, int]:
    """Start, stop and step along dim k of a slice of a slice."""
    begin, step, by = param_dims(first.starts)[k], first.steps[k], second.steps[k]
    start, stop = param_dims(second.starts)[k], param_dims(second.stops)[k]
    if step != 1:  # stop right behind the last element: further on is outside
        stop = start + (type_of(second.results[0]).shape[k] - 1) * by + 1
    return begin + start * step, begin + (stop - 1) * step + 1, step * by


def _touch(first: SliceOp, second: SliceOp, axis: int) -> bool:
    """Whether two slices of one tensor, by single steps, differ along ``axis`` only, and meet."""
    if first.x is not second.x or {*first.steps, *second.steps} != {1}:
        return False
    others = (k for k in range(len(first.starts)) if k != axis)
    same = all(first.starts[k] == second.starts[k] for k in others)
    return same and first.stops[axis] == second.starts[axis]


def _concat_inside(value: SSAValue, axis: int) -> ConcatOp | None:
    inner = producer(value, ConcatOp)
    return inner if inner and inner.axis == axis and used_once(value) else None


def _shifted(bounds: Shape, offsets: Shape) -> tuple[int | str, ...]:
    return dims_param(tuple(b + o for b, o in zip(bounds, offsets, strict=True)))


def _not_above(a: Dim, b: Dim) -> bool:
    """Whether ``a <= b`` for sure."""
    difference = b - a
    return isinstance(difference, int) and difference >= 0


def _plus(a: Dim, b: Dim) -> Dim:
    return a + b
