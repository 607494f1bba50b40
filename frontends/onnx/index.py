"""Importers of operators that read and write by index."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ...ir.errors import InvalidModelError
from ...ir.ops import elementwise as e
from ...ir.ops import index, scatter
from ...ir.ops.shape import dims_param
from ...ir.types import I64, type_of
from .node import Node
from .registry import importer


@importer("Gather")
def gather(node: Node) -> SSAValue:
    """Slices along ``axis``."""
    return node.add(index.GatherOp(node.input(0), node.input(1), axis=node.axis(0)))


@importer("GatherElements")
def gather_elements(node: Node) -> SSAValue:
    """One element for every index."""
    return node.add(index.GatherElementsOp(node.input(0), node.input(1), axis=node.axis(0)))


@importer("GatherND")
def gather_nd(node: Node) -> SSAValue:
    """Slices by vectors of indices."""
    batch = node.attribute("batch_dims", 0)
    return node.add(index.GatherNdOp(node.input(0), node.input(1), batch_dims=batch))


@importer("Scatter", "ScatterElements")
def scatter_elements(node: Node) -> SSAValue:
    """One element written for every index."""
    return node.add(
        scatter.ScatterElementsOp(
            *(node.input(k) for k in range(3)),
            axis=node.axis(0),
            reduction=node.attribute("reduction", "none"),
        )
    )


@importer("ScatterND")
def scatter_nd(node: Node) -> SSAValue:
    """Slices written by vectors of indices."""
    reduction = node.attribute("reduction", "none")
    return node.add(scatter.ScatterNdOp(*(node.input(k) for k in range(3)), reduction=reduction))


@importer("TensorScatter")
def tensor_scatter(node: Node) -> SSAValue:
    """Writes a piece of a sequence into a cache, at a position for each batch."""
    cache, update = node.type(0), node.type(1)
    axis = node.axis(-2)
    batch, length, size = update.shape[0], update.shape[axis], cache.shape[axis]
    positions = node.reshape(node.iota(length), (1, length))
    if node.optional(2) is not None:
        starts = node.reshape(node.cast(node.input(2), I64), (batch, 1))
        positions = node.add(e.AddOp(starts, positions))
    if node.attribute("mode", "linear") == "circular":
        positions = node.add(e.ModOp(positions, node.sizes(size)))
    inner = (*(1,) * (axis - 1), length, *(1,) * (update.rank - axis - 1))
    spread = node.reshape(positions, (type_of(positions).shape[0], *inner))
    indices = node.broadcast(spread, update.shape)
    return node.add(scatter.ScatterElementsOp(node.input(0), indices, node.input(1), axis=axis))


@importer("Trilu")
def trilu(node: Node) -> SSAValue:
    """The upper or the lower triangle."""
    upper, (k,) = bool(node.attribute("upper", 1)), dims_param((node.dim(1, 0),))
    return node.add(index.TriluOp(node.input(0), upper=upper, k=k))


@importer("ReverseSequence")
def reverse_sequence(node: Node) -> SSAValue:
    """The first ``sequence_lens[b]`` elements of each batch in reverse: a gather."""
    time, batch = node.attribute("time_axis", 0), node.attribute("batch_axis", 1)
    if {time, batch} != {0, 1}:
        raise InvalidModelError(f"node '{node.source}': time and batch axes are not 0 and 1")
    return reversed_sequences(node, node.input(0), node.input(1), time, batch)


def reversed_sequences(
    node: Node, value: SSAValue, lengths: SSAValue, time: int, batch: int
) -> SSAValue:
    """A batch of sequences, of each the first ``lengths[b]`` elements in reverse."""
    x = type_of(value)
    lengths = node.reshape(lengths, (x.shape[batch], 1) if batch == 0 else (1, x.shape[batch]))
    step = node.iota(x.shape[time], type_of(lengths).dtype)
    step = node.reshape(step, (1, x.shape[time]) if batch == 0 else (x.shape[time], 1))
    one = node.constant(1, type_of(lengths).dtype)
    back = node.add(e.SubOp(node.add(e.SubOp(lengths, step)), one))
    where = node.add(e.SelectOp(node.add(e.LtOp(step, lengths)), back, step))
    spread = node.reshape(where, (*type_of(where).shape, *(1,) * (x.rank - 2)))
    indices = node.broadcast(spread, x.shape)
    return node.add(index.GatherElementsOp(value, indices, axis=time))


@importer("ArrayFeatureExtractor", domain="ai.onnx.ml")
def array_feature_extractor(node: Node) -> SSAValue:
    """Columns by index."""
    x = node.input(0)
    if type_of(x).rank == 1:
        x = node.reshape(x, (1, *type_of(x).shape))
    indices = node.reshape(node.input(1), (type_of(node.input(1)).size,))
    return node.add(index.GatherOp(x, indices, axis=type_of(x).rank - 1))
