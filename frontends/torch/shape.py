"""Importers of views: the same elements in another shape, order or number."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from xdsl.ir import SSAValue

from ...ir.dims import Dim
from ...ir.ops.index import GatherOp
from ...ir.ops.shape import ReverseOp
from ...ir.types import type_of
from .registry import Node, Refusal, importer, with_copies
from .sizes import from_begin

aten = torch.ops.aten


@importer(
    *(aten.reshape, aten._unsafe_view, aten.view_as, aten.reshape_as, aten.flatten),
    *with_copies(aten.view, aten.unflatten, aten.squeeze, aten.unsqueeze, aten._reshape_alias),
)
def reshape(node: Node) -> SSAValue:
    """The shape that torch gives the result."""
    if "dtype" in node.arguments:
        raise Refusal("bits are reinterpreted as another dtype", "convert with .to(dtype)")
    return node.reshape(node.input(), node.result.shape)


@importer(*with_copies(aten.permute))
def permute(node: Node) -> SSAValue:
    """Dims in a given order."""
    return node.transpose(node.input(), node.axes(node.arg("dims")))


@importer(*with_copies(aten.transpose, aten.t))
def transpose(node: Node) -> SSAValue:
    """Two dims swapped; ``t`` does nothing to vectors."""
    rank = node.type().rank
    if rank < 2:
        return node.input()
    perm = list(range(rank))
    a, b = node.axes([node.arg("dim0", 0), node.arg("dim1", 1)])
    perm[a], perm[b] = b, a
    return node.transpose(node.input(), perm)


@importer(*with_copies(aten.expand, aten.expand_as, aten.broadcast_to))
def expand(node: Node) -> SSAValue:
    """Dims of size 1 repeated, leading ones added."""
    return node.broadcast(node.input(), node.result.shape)


@importer(*with_copies(aten.slice))
def slice_(node: Node) -> SSAValue:
    """Elements from ``start`` in steps; torch knows how many."""
    axis, step = node.axis(), node.arg("step", 1)
    size, count = node.type().shape[axis], node.result.shape[axis]
    start = from_begin(node.arg("start", 0), size)
    stop = start if count == 0 else start + (count - 1) * step + 1
    return node.slice(node.input(), axis, start, stop, step)


@importer(*with_copies(aten.select))
def select(node: Node) -> SSAValue:
    """One element along a dim, which goes away."""
    axis = node.axis()
    start = from_begin(node.arg("index", 0), node.type().shape[axis])
    piece = node.slice(node.input(), axis, start, start + 1)
    return node.reshape(piece, node.result.shape)


@importer(*with_copies(aten.split, aten.split_with_sizes, aten.chunk, aten.tensor_split))
def split(node: Node) -> list[SSAValue]:
    """Pieces one after another along a dim."""
    axis = node.axis()
    return _pieces(node, axis, [t.shape[axis] for t in node.results])


@importer(*with_copies(aten.unbind))
def unbind(node: Node) -> list[SSAValue]:
    """All elements along a dim, which goes away."""
    pieces = _pieces(node, node.axis(), [1] * len(node.results))
    return [node.reshape(p, t.shape) for p, t in zip(pieces, node.results, strict=True)]


@importer(aten.repeat, aten.tile)
def repeat(node: Node) -> SSAValue:
    """Every dim is put a number of times after itself."""
    x, counts = node.input(), node.arg("repeats", node.arg("dims"))
    rank = max(len(counts), type_of(x).rank)
    shape = (1,) * (rank - type_of(x).rank) + type_of(x).shape
    counts = [1] * (rank - len(counts)) + list(counts)
    x = node.reshape(x, tuple(chain.from_iterable((1, d) for d in shape)))
    pairs = zip(counts, shape, strict=True)
    return node.reshape(node.broadcast(x, tuple(chain.from_iterable(pairs))), node.result.shape)


@importer(aten.flip)
def flip(node: Node) -> SSAValue:
    """The elements along some dims in reverse."""
    axes = tuple(sorted(node.axes(node.arg("dims")))) if node.type().rank else ()
    return node.add(ReverseOp(node.input(), axes=axes)) if axes else node.input()


@importer(*with_copies(aten.diagonal))
def diagonal(node: Node) -> SSAValue:
    """Row k of column k + offset, of two dims that become one at the end."""
    rank, offset = node.type().rank, node.arg("offset", 0)
    first, second = node.axes([node.arg("dim1", 0), node.arg("dim2", 1)])
    others = [k for k in range(rank) if k not in (first, second)]
    x = node.transpose(node.input(), [*others, first, second])
    *outer, rows, columns = type_of(x).shape
    start = offset if offset >= 0 else columns * -offset
    places = node.counted(node.result.shape[-1], start, columns + 1)
    flat = node.reshape(x, (*outer, rows * columns))
    return node.add(GatherOp(flat, places, axis=rank - 2))


def _pieces(node: Node, axis: int, sizes: Sequence[Dim]) -> list[SSAValue]:
    start: Dim = 0
    pieces = []
    for size in sizes:
        pieces.append(node.slice(node.input(), axis, start, start + size))
        start = start + size
    return pieces
