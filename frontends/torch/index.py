"""Importers of what picks elements by index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from xdsl.ir import SSAValue

from ...ir.ops import elementwise as e
from ...ir.ops.index import GatherElementsOp, GatherNdOp, GatherOp, TriluOp
from ...ir.ops.reduce import ReduceSumOp
from ...ir.ops.shape import dims_param
from ...ir.types import I64, type_of
from .indices import Indexing
from .registry import Node, Refusal, importer, with_copies

aten = torch.ops.aten


@importer(aten.embedding)
def embedding(node: Node) -> SSAValue:
    """Rows of a table."""
    return node.add(GatherOp(node.input("weight"), node.input("indices"), axis=0))


@importer(aten.index_select)
def index_select(node: Node) -> SSAValue:
    """Slices along a dim."""
    x, index = node.input(), node.input("index")
    if node.type().rank == 0:
        return x
    index = node.reshape(index, (type_of(index).size,))
    return node.add(GatherOp(x, index, axis=node.axis()))


@importer(aten.gather)
def gather(node: Node) -> SSAValue:
    """One element for each index, along a dim."""
    x, index = node.input(), node.input("index")
    if node.type().rank == 0:
        return node.broadcast(x, node.result.shape)
    return node.add(GatherElementsOp(x, index, axis=node.axis()))


@importer(aten.take)
def take(node: Node) -> SSAValue:
    """Elements of the flattened tensor."""
    flat = node.reshape(node.input(), (node.type().size,))
    return node.add(GatherOp(flat, node.input("index"), axis=0))


@importer(aten.index, aten._unsafe_index)
def index(node: Node) -> SSAValue:
    """By tensors of indices for some of the dims, which broadcast against each other."""
    x, by = node.input(), Indexing.of(node, node.arg("indices"))
    if len(by.dims) == 1:
        return node.add(GatherOp(x, by.indices[0], axis=by.dims[0]))
    picked = node.add(GatherNdOp(node.transpose(x, by.order), by.vectors()))
    return node.transpose(picked, by.from_front())


@importer(aten.tril, aten.triu)
def triangle(node: Node) -> SSAValue:
    """The lower or upper triangle of the last two dims."""
    (k,) = dims_param((node.arg("diagonal", 0),))
    return node.add(TriluOp(node.input(), upper=node.packet is aten.triu, k=k))


@importer(aten.tril_indices, aten.triu_indices)
def triangle_indices(node: Node) -> SSAValue:
    """Rows and columns of a triangle."""
    make = np.tril_indices if node.packet is aten.tril_indices else np.triu_indices
    pairs = make(node.arg("row"), node.arg("offset", 0), node.arg("col"))
    return node.constant(np.stack(pairs), node.result.dtype)


@importer(*with_copies(aten.unfold))
def unfold(node: Node) -> SSAValue:
    """Windows along a dim, each at the end of the result: a gather with known indices."""
    axis, step, rank = node.axis("dimension"), node.arg("step"), node.type().rank
    starts = node.counted(node.result.shape[axis], 0, step)
    starts = node.reshape(starts, (node.result.shape[axis], 1))
    places = node.add(e.AddOp(starts, node.counted(node.arg("size"))))
    picked = node.add(GatherOp(node.input(), places, axis=axis))
    others = [k for k in range(rank + 1) if k != axis + 1]
    return node.transpose(picked, [*others, axis + 1])


@importer(aten.bucketize, aten.searchsorted)
def bucketize(node: Node) -> SSAValue:
    """How many of the sorted boundaries (of the same row) are below; with ``right`` or equal."""
    name = "boundaries" if node.packet is aten.bucketize else "sorted_sequence"
    bounds, values = node.input(name), node.arg("self")
    if node.optional("sorter") is not None:
        raise Refusal("the boundaries are not sorted", "sort them first")
    dtype = np.result_type(type_of(bounds).dtype, _dtype_of(values))
    values = node.operand(values, dtype)
    column = node.reshape(values, (*type_of(values).shape, 1))
    *rows, count = type_of(bounds).shape
    bounds = node.reshape(node.cast(bounds, dtype), (*rows, 1, count) if rows else (count,))
    right = node.arg("right", False) or node.arg("side") == "right"
    below = node.add((e.LeOp if right else e.LtOp)(bounds, column))
    total = node.add(ReduceSumOp(node.cast(below, I64), axes=(type_of(column).rank - 1,)))
    return node.cast(total, node.result.dtype)


@importer(*with_copies(aten.as_strided))
def as_strided(node: Node) -> SSAValue:
    """Any elements of the memory, which the graph knows only where it is in order."""
    if not node.fakes["self"].is_contiguous():
        raise Refusal("the memory of a tensor is read that is not in order", "use .contiguous()")
    sizes, strides = node.arg("size"), node.arg("stride")
    if not all(isinstance(n, int) for n in (*sizes, *strides)):
        raise Refusal("sizes and strides must be constants")
    steps = (np.arange(n) * step for n, step in zip(sizes, strides, strict=True))
    places = np.sum(np.meshgrid(*steps, indexing="ij"), 0) if sizes else np.zeros((), np.int64)
    flat = node.reshape(node.input(), (node.type().size,))
    places = node.constant(places + node.arg("storage_offset", 0), I64)
    return node.add(GatherOp(flat, places, axis=0))


def _dtype_of(value: SSAValue | Sequence[float] | float) -> np.dtype:
    return type_of(value).dtype if isinstance(value, SSAValue) else np.dtype(np.float32)
