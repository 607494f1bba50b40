"""Importers of operators that take a part of a tensor, or put one around it."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import SSAValue

from ...ir.dims import Dim, ceildiv, dim_max, dim_min
from ...ir.errors import InvalidModelError
from ...ir.ops.shape import PadOp, ReverseOp, SliceOp, dims_param
from ...ir.types import type_of
from .node import Node
from .refusal import Refusal
from .registry import importer

_FAR = 1 << 30
"""Bounds at least this far out mean the end of a dim, whatever its size."""


@dataclass
class Bounds:
    """What is taken of one dim: every ``step``-th element from ``start`` to before ``stop``.

    With ``reverse``, the elements are taken from the end.
    """

    start: Dim
    stop: Dim
    step: int = 1
    reverse: bool = False

    @property
    def count(self) -> Dim:
        """How many elements there are."""
        return ceildiv(self.stop - self.start, self.step)


@importer("Slice")
def slice_by_attributes(node: Node) -> SSAValue:
    """Before opset 10, bounds are attributes."""
    starts, ends = node.required("starts"), node.required("ends")
    axes = node.attribute("axes", list(range(len(starts))))
    return _sliced(node, starts, ends, axes, [1] * len(starts))


@importer("Slice", since=10)
def slice_(node: Node) -> SSAValue:
    """Bounds are operands."""
    starts, ends = list(node.dims(1) or ()), list(node.dims(2) or ())
    given = node.integers(3)
    axes = list(range(len(starts))) if given is None else given
    return _sliced(node, starts, ends, axes, list(node.dims(4) or [1] * len(starts)))


@importer("Pad")
def pad_by_attributes(node: Node) -> SSAValue:
    """Before opset 11, pads and value are attributes."""
    pads = node.attribute("pads") or node.attribute("paddings")
    fill = node.constant(node.attribute("value", 0.0), node.type().dtype)
    return padded(node, node.input(), list(pads), fill)


@importer("Pad", since=11)
def pad(node: Node) -> SSAValue:
    """Pads, value and (since opset 18) axes are operands."""
    rank = node.type().rank
    given, axes = node.dims(1) or (), node.integers(3)
    axes = range(rank) if axes is None else [node.counted(a, rank) for a in axes]
    pads: list[Dim] = [0] * (2 * rank)
    for k, axis in enumerate(axes):
        pads[axis], pads[axis + rank] = given[k], given[k + len(axes)]
    return padded(node, node.input(), pads, node.optional(2))


@importer("CenterCropPad")
def center_crop_pad(node: Node) -> SSAValue:
    """The middle of each dim, or zeros around it; one more at the end where it is uneven."""
    value, wanted = node.input(), node.dims(1) or ()
    axes = [node.counted(a, node.type().rank) for a in node.attribute("axes", range(len(wanted)))]
    pads: list[Dim] = [0] * (2 * node.type().rank)
    for axis, size in zip(axes, wanted, strict=True):
        missing = size - node.type().shape[axis]
        if not isinstance(missing, int):
            raise Refusal(f"whether {size} is more than {node.type().shape[axis]} is not known")
        # Floored halves: what is cropped at the front is the smaller part, too.
        front = missing // 2 if missing >= 0 else -(-missing // 2)
        pads[axis], pads[axis + node.type().rank] = front, missing - front
    return padded(node, value, pads, None)


def padded(node: Node, value: SSAValue, pads: list[Dim], fill: SSAValue | None) -> SSAValue:
    """A value with pads (begins…, ends…) by the attribute ``mode``; negative ones crop."""
    type, mode = type_of(value), node.attribute("mode", "constant")
    if len(pads) != 2 * type.rank:
        raise InvalidModelError(f"node '{node.source}' has {len(pads)} pads for {type}")
    value = _cropped(node, value, pads)
    grown = tuple(_not_negative(p) for p in pads)
    if all(p == 0 for p in grown):
        return value
    if mode != "constant":
        return node.add(PadOp(value, pads=dims_param(grown), mode=mode))
    scalar = [] if fill is None else [node.reshape(fill, ())]
    return node.add(PadOp(value, *scalar, pads=dims_param(grown)))


def taken(node: Node, value: SSAValue, bounds: list[Bounds]) -> SSAValue:
    """The part of a value that ``bounds`` of all its dims say."""
    shape = type_of(value).shape
    whole = [(b.start, b.stop, b.step) == (0, d, 1) for b, d in zip(bounds, shape, strict=True)]
    reverse = tuple(k for k, b in enumerate(bounds) if b.reverse)
    if reverse:
        value = node.add(ReverseOp(value, axes=reverse))
    if all(whole):
        return value
    return node.add(
        SliceOp(
            value,
            starts=dims_param(tuple(b.start for b in bounds)),
            stops=dims_param(tuple(b.stop for b in bounds)),
            steps=tuple(b.step for b in bounds),
        )
    )


def _sliced(
    node: Node, starts: list[Dim], ends: list[Dim], axes: list[int], steps: list[Dim]
) -> SSAValue:
    shape = node.type().shape
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise InvalidModelError(f"node '{node.source}': starts, ends, axes and steps differ")
    bounds = [Bounds(0, d) for d in shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not isinstance(step, int) or step == 0:
            raise Refusal(f"a slice with step {step} is not supported")
        axis = node.counted(axis, len(shape))
        bounds[axis] = _bounds(start, end, step, shape[axis])
        _note(node, bounds[axis].count, _unclipped(start, end, step, shape[axis]), shape[axis])
    return taken(node, node.input(), bounds)


def _bounds(start: Dim, end: Dim, step: int, size: Dim) -> Bounds:
    """Numpy's bounds, clipped; those of a negative step become bounds of the reversed dim."""
    if step > 0:
        first, last = (_place(bound, size, 0, size) for bound in (start, end))
    else:
        first, last = (size - 1 - _place(bound, size, -1, size - 1) for bound in (start, end))
    stop = last if last == size or first == 0 else dim_max(first, last)
    return Bounds(first, stop, abs(step), reverse=step < 0)


def _place(bound: Dim, size: Dim, low: Dim, high: Dim) -> Dim:
    """A bound counted from the front, and clipped."""
    if isinstance(bound, int) and abs(bound) >= _FAR:
        return high if bound > 0 else low
    if _is_negative(bound):
        return size - dim_min(-bound, size - low)
    return dim_max(dim_min(bound, high), low)


def _note(node: Node, count: Dim, unclipped: Dim | None, size: Dim) -> None:
    """Remembers what a count should be; not for what a limit of a symbol makes right."""
    limited = str(unclipped).isidentifier() and isinstance(size, int)
    if unclipped is not None and not (limited and count == dim_min(unclipped, size)):
        node.shared.note_clipped(count, unclipped)


def _unclipped(start: Dim, end: Dim, step: int, size: Dim) -> Dim | None:
    """How many elements there are if no bound has to be clipped."""
    if step < 0 or any(isinstance(b, int) and abs(b) >= _FAR for b in (start, end)):
        return None
    first, last = (b + size if _is_negative(b) else b for b in (start, end))
    return ceildiv(last - first, step)


def _is_negative(bound: Dim) -> bool:
    return bound < 0 if isinstance(bound, int) else dim_min(bound, -1) == bound


def _not_negative(pad: Dim) -> Dim:
    return max(pad, 0) if isinstance(pad, int) else pad


def _cropped(node: Node, value: SSAValue, pads: list[Dim]) -> SSAValue:
    shape, rank = type_of(value).shape, type_of(value).rank
    front = [max(-p, 0) if isinstance(p, int) else 0 for p in pads[:rank]]
    back = [max(-p, 0) if isinstance(p, int) else 0 for p in pads[rank:]]
    if not any((*front, *back)):
        return value
    cuts = zip(front, back, shape, strict=True)
    return taken(node, value, [Bounds(a, d - b) for a, b, d in cuts])
