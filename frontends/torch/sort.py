"""Importers of what goes along one dim in order."""

from __future__ import annotations

from typing import Any

import torch
from xdsl.ir import SSAValue

from ...ir.dims import Dim, floordiv
from ...ir.ops.shape import dims_param
from ...ir.ops.sort import CumProdOp, CumSumOp, TopKOp
from ...ir.types import I64, type_of
from .registry import Node, importer

aten = torch.ops.aten

_CUMULATIVE: dict[Any, type[CumSumOp | CumProdOp]] = {
    aten.cumsum: CumSumOp,
    aten.cumprod: CumProdOp,
}


@importer(aten.topk)
def top_k(node: Node) -> list[SSAValue]:
    """The largest or smallest, sorted, and where they are."""
    return _ordered(node, node.arg("k"), bool(node.arg("largest", True)))


@importer(aten.sort)
def sort(node: Node) -> list[SSAValue]:
    """All, and where they were; equal ones keep their order."""
    return _ordered(node, _size(node), bool(node.arg("descending", False)))


@importer(aten.argsort)
def argsort(node: Node) -> SSAValue:
    """Where the sorted ones were."""
    return _ordered(node, _size(node), bool(node.arg("descending", False)))[1]


@importer(aten.kthvalue, aten.median)
def kth(node: Node) -> list[SSAValue] | SSAValue:
    """The k-th smallest and where it is; the median is the lower one of the middle."""
    whole = "dim" not in node.arguments
    x = node.reshape(node.input(), (node.type().size,)) if whole else node.input()
    axis = 0 if whole else node.axes([node.arg("dim", -1)])[0]
    size = type_of(x).shape[axis] if type_of(x).rank else 1
    k = node.arg("k", floordiv(size + 1, 2))
    if type_of(x).rank == 0:
        return [x, node.constant(0, I64)]
    (count,) = dims_param((k,))
    op = TopKOp(x, k=count, axis=axis, largest=False)
    values = [node.slice(v, axis, k - 1, k) for v in (node.add(op), op.results[1])]
    shaped = [node.reshape(v, t.shape) for v, t in zip(values, node.results, strict=False)]
    return shaped[0] if whole else shaped


@importer(*_CUMULATIVE)
def cumulative(node: Node) -> SSAValue:
    """Each element combined with all before it."""
    x = node.cast(node.input(), node.result.dtype)
    return node.add(_CUMULATIVE[node.packet](x, axis=node.axis())) if node.result.rank else x


def _ordered(node: Node, k: Dim, largest: bool) -> list[SSAValue]:
    if node.type().rank == 0:
        return [node.input(), node.constant(0, I64)]
    (count,) = dims_param((k,))
    axis = node.axes([node.arg("dim", -1)])[0]
    op = TopKOp(node.input(), k=count, axis=axis, largest=largest)
    return [node.add(op), op.results[1]]


def _size(node: Node) -> Dim:
    return node.type().shape[node.axes([node.arg("dim", -1)])[0]] if node.type().rank else 1
