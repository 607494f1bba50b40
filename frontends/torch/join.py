"""Importers of what puts tensors beside each other, or more elements around one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from xdsl.ir import SSAValue

from ...ir.dims import Dim, mod
from ...ir.ops.scatter import ScatterElementsOp
from ...ir.ops.shape import ConcatOp, PadOp, dims_param
from ...ir.types import type_of
from .registry import Node, importer
from .sizes import from_begin

aten = torch.ops.aten

_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_PADS = {
    **dict.fromkeys(
        (aten.reflection_pad1d, aten.reflection_pad2d, aten.reflection_pad3d), "reflect"
    ),
    **dict.fromkeys(
        (aten.replication_pad1d, aten.replication_pad2d, aten.replication_pad3d), "edge"
    ),
}


@importer(aten.cat, aten.concat, aten.concatenate)
def cat(node: Node) -> SSAValue:
    """One after another along a dim; empty vectors do not count, whatever the others' rank."""
    result, axis = node.result, node.arg("dim", 0)
    values = [v for v in node.arg("tensors") if type_of(v).shape != (0,) or result.rank == 1]
    return _joined(node, values, axis % result.rank)


@importer(aten.stack)
def stack(node: Node) -> SSAValue:
    """One after another along a new dim."""
    axis = node.arg("dim", 0) % node.result.rank
    shape = node.result.shape
    single = (*shape[:axis], 1, *shape[axis + 1 :])
    return _joined(node, [node.reshape(v, single) for v in node.arg("tensors")], axis)


@importer(aten.roll)
def roll(node: Node) -> SSAValue:
    """Elements moved along dims, or along the flattened tensor; what leaves the end comes first."""
    x, shifts, dims = node.input(), node.arg("shifts"), node.arg("dims", [])
    if not dims:
        flat = node.reshape(x, (type_of(x).size,))
        return node.reshape(_rolled(node, flat, 0, shifts[0]), node.result.shape)
    for axis, shift in zip(node.axes(dims), shifts, strict=True):
        x = _rolled(node, x, axis, shift)
    return x


@importer(aten.constant_pad_nd, aten.pad)
def pad(node: Node) -> SSAValue:
    """Elements before and after dims, the last dim first; negative pads cut off."""
    return _padded(node, _MODES[node.arg("mode", "constant")], node.arg("pad"))


@importer(*_PADS)
def repeating_pad(node: Node) -> SSAValue:
    """Elements of the tensor itself before and after the last dims."""
    return _padded(node, _PADS[node.packet], node.arg("padding"))


@importer(aten.slice_scatter)
def slice_scatter(node: Node) -> SSAValue:
    """The tensor with ``src`` in the place of a slice."""
    return _replaced(node, node.input("src"), node.arg("start", 0), node.arg("step", 1))


@importer(aten.select_scatter)
def select_scatter(node: Node) -> SSAValue:
    """The tensor with ``src`` in the place of one element along a dim."""
    shape, axis = node.type().shape, node.axis()
    source = node.reshape(node.input("src"), (*shape[:axis], 1, *shape[axis + 1 :]))
    return _replaced(node, source, node.arg("index", 0), 1)


def _replaced(node: Node, source: SSAValue, start: Dim, step: int) -> SSAValue:
    x, axis = node.input(), node.axis()
    source = node.cast(source, type_of(x).dtype)
    size, count = type_of(x).shape[axis], type_of(source).shape[axis]
    start = from_begin(start, size)
    if step == 1:
        before = [] if start == 0 else [node.slice(x, axis, 0, start)]
        after = [] if start + count == size else [node.slice(x, axis, start + count, size)]
        return _joined(node, [*before, source, *after], axis)
    places = node.counted(count, start, step)
    along = [count if k == axis else 1 for k in range(type_of(x).rank)]
    indices = node.broadcast(node.reshape(places, tuple(along)), type_of(source).shape)
    return node.add(ScatterElementsOp(x, indices, source, axis=axis))


def _joined(node: Node, values: Sequence[SSAValue], axis: int) -> SSAValue:
    values = [node.cast(v, node.result.dtype) for v in values]
    return values[0] if len(values) == 1 else node.add(ConcatOp(values, axis=axis))


def _rolled(node: Node, x: SSAValue, axis: int, shift: Dim) -> SSAValue:
    size = type_of(x).shape[axis]
    shift = 0 if size == 0 else mod(shift, size)
    if shift == 0:
        return x
    parts = (size - shift, size), (0, size - shift)
    return node.add(ConcatOp(*(node.slice(x, axis, *part) for part in parts), axis=axis))


def _padded(node: Node, mode: str, pads: Sequence[Dim]) -> SSAValue:
    x, rank = node.input(), node.type().rank
    begins, ends = list(pads[::2])[::-1], list(pads[1::2])[::-1]
    still = [0] * (rank - len(begins))
    begins, ends = [*still, *begins], [*still, *ends]
    for axis in range(rank):
        first, last = (_cut(p[axis]) for p in (begins, ends))
        x = node.slice(x, axis, first, type_of(x).shape[axis] - last)
        begins[axis], ends[axis] = begins[axis] + first, ends[axis] + last
    if not any(n != 0 for n in (*begins, *ends)):
        return x
    fill = node.arg("value") if mode == "constant" else None
    value = None if fill in (None, 0) else node.operand(fill, node.result.dtype)
    return node.add(PadOp(x, value, pads=dims_param((*begins, *ends)), mode=mode))


def _cut(pad: Dim) -> int:
    """How much a negative pad takes away; symbolic ones take nothing."""
    return max(-pad, 0) if isinstance(pad, int) else 0
