"""Importers of what writes elements by index."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from xdsl.ir import SSAValue

from ...ir.ops.elementwise import DivOp, MaxOp, MinOp, SelectOp, SubOp
from ...ir.ops.index import GatherOp
from ...ir.ops.scatter import ScatterElementsOp, ScatterNdOp
from ...ir.ops.sort import CumSumOp
from ...ir.structure import neutral
from ...ir.types import BOOL, I64, type_of
from .indices import Indexing
from .registry import Node, Refusal, importer

aten = torch.ops.aten

_REDUCTIONS = {
    **dict.fromkeys(("add", "sum"), "add"),
    **dict.fromkeys(("multiply", "prod"), "mul"),
    **{"amax": "max", "amin": "min", "mean": "mean", "none": "none"},
}
_COMBINE = {"add": "add", "mean": "add", "mul": "mul", "max": "max", "min": "min"}


@importer(aten.scatter, aten.scatter_add, aten.scatter_reduce)
def scatter(node: Node) -> SSAValue:
    """One element of ``src`` for each index along a dim, written or combined."""
    x, index = _vector(node, node.input()), _vector(node, node.input("index"))
    source, axis, name = _source(node, index), node.axis(), _reduction(node)
    if not node.arg("include_self", True):
        start = node.constant(neutral(_COMBINE[name], type_of(x).dtype), type_of(x).dtype)
        start = node.broadcast(start, type_of(index).shape)
        x = node.add(ScatterElementsOp(x, index, start, axis=axis))
    reduction = "add" if name == "mean" else name
    result = node.add(ScatterElementsOp(x, index, source, axis=axis, reduction=reduction))
    if name == "mean":
        result = _divided(node, result, index)
    return node.reshape(result, node.result.shape)


@importer(aten.index_put, aten._unsafe_index_put)
def index_put(node: Node) -> SSAValue:
    """Values written where tensors of indices say, or where a mask holds."""
    given = node.arg("indices")
    masks = [i for i in given if i is not None and type_of(i).dtype == BOOL]
    if masks:
        return _masked(node, given)
    x, by = node.input(), Indexing.of(node, given)
    front = node.transpose(x, by.order)
    rest = type_of(front).shape[len(by.dims) :]
    placed = by.to_front()
    shape = (*by.common, *rest)
    torchs = tuple(shape[k] for k in by.from_front())
    values = node.broadcast(node.cast(node.input("values"), node.type().dtype), torchs)
    values = node.transpose(values, placed)
    reduction = "add" if node.arg("accumulate", False) else "none"
    result = node.add(ScatterNdOp(front, by.vectors(), values, reduction=reduction))
    return node.transpose(result, [by.order.index(k) for k in range(by.rank)])


def _masked(node: Node, given: Sequence[SSAValue | None]) -> SSAValue:
    """One mask over the first dims; one value for all that it selects, or one for each."""
    x, values, mask = node.input(), node.input("values"), given[0]
    if len(given) > 1 or mask is None:
        raise Refusal("a mask is mixed with other indices", "use torch.where")
    if node.arg("accumulate", False):
        raise Refusal("values are added where a mask holds", "use torch.where")
    values = node.cast(values, type_of(x).dtype)
    inner = type_of(x).shape[type_of(mask).rank :]
    if type_of(values).size == 1:
        values = node.reshape(values, ())
    elif type_of(values).shape[1:] == inner:
        values = _one_after_another(node, mask, values)
    else:
        raise Refusal("the values do not have the shape of what the mask selects")
    mask = node.reshape(mask, (*type_of(mask).shape, *(1,) * len(inner)))
    return node.add(SelectOp(mask, values, x))


def _one_after_another(node: Node, mask: SSAValue, values: SSAValue) -> SSAValue:
    """Where the mask holds, the next of ``values``."""
    (count, *inner), shape = type_of(values).shape, type_of(mask).shape
    flat = node.reshape(node.cast(mask, I64), (type_of(mask).size,))
    places = node.add(SubOp(node.add(CumSumOp(flat, axis=0)), node.constant(1, I64)))
    places = node.add(MaxOp(places, node.constant(0, I64)))
    places = node.add(MinOp(places, node.size(count - 1)))
    return node.reshape(node.add(GatherOp(values, places, axis=0)), (*shape, *inner))


def _vector(node: Node, x: SSAValue) -> SSAValue:
    """``x``; a scalar as a vector."""
    return x if type_of(x).rank else node.reshape(x, (1,))


def _source(node: Node, index: SSAValue) -> SSAValue:
    """As many updates as there are indices."""
    shape, dtype = type_of(index).shape, node.type().dtype
    if "src" not in node.arguments:
        return node.broadcast(node.operand(node.arg("value", 0), dtype), shape)
    source = _vector(node, node.cast(node.input("src"), dtype))
    for axis, size in enumerate(shape):
        source = node.slice(source, axis, 0, size)
    return source


def _divided(node: Node, total: SSAValue, index: SSAValue) -> SSAValue:
    """Sums over how many elements each is made of."""
    type = type_of(total)
    ones = node.broadcast(node.constant(1, type.dtype), type_of(index).shape)
    start = node.constant(int(node.arg("include_self", True)), type.dtype)
    counts = node.broadcast(start, type.shape)
    counts = node.add(ScatterElementsOp(counts, index, ones, axis=node.axis(), reduction="add"))
    counts = node.add(MaxOp(counts, node.constant(1, type.dtype)))
    return node.add(DivOp(total, counts))


def _reduction(node: Node) -> str:
    if node.packet is aten.scatter_add:
        return "add"
    return _REDUCTIONS[node.arg("reduce", "none")]
