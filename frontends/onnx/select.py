"""Importers of operators whose results have a size that only the data tells."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ...ir.ops import select
from ...ir.ops.shape import dims_param
from ...ir.types import type_of
from .node import Node
from .registry import importer


@importer("NonZero")
def non_zero(node: Node) -> SSAValue:
    """Where elements are not 0."""
    x = node.input()
    x = node.reshape(x, (1,)) if type_of(x).rank == 0 else x
    return node.add(select.NonZeroOp(x, count=node.late_symbol()))


@importer("Compress")
def compress(node: Node) -> SSAValue:
    """The slices whose condition holds; of the flattened tensor where no axis is given."""
    x, axis = _along(node)
    return node.add(select.CompressOp(x, node.input(1), axis=axis, count=node.late_symbol()))


@importer("Unique")
def unique(node: Node) -> list[SSAValue]:
    """The different slices, and where they are."""
    x, axis = _along(node)
    ordered = bool(node.attribute("sorted", 1))
    op = select.UniqueOp(x, axis=axis, ordered=ordered, count=node.late_symbol())
    return list(node.add_all(op))


@importer("NonMaxSuppression")
def non_max_suppression(node: Node) -> SSAValue:
    """The best of overlapping boxes."""
    limit, least = node.dim(2, 0), node.known(4)
    overlap = node.known(3)
    return node.add(
        select.NonMaxSuppressionOp(
            node.input(0),
            node.input(1),
            limit=dims_param((limit,))[0],
            overlap=0.0 if overlap is None else float(overlap.reshape(())),
            least_score=None if least is None else float(least.reshape(())),
            centered=bool(node.attribute("center_point_box", 0)),
            count=node.late_symbol(),
        )
    )


def _along(node: Node) -> tuple[SSAValue, int]:
    """The operand and the axis; flat where none is given."""
    if node.attribute("axis") is None:
        return node.reshape(node.input(), (node.type().size,)), 0
    return node.input(), node.axis()
