"""Importers of reductions, and of what goes along an axis in order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from xdsl.ir import SSAValue

from ...ir.op import GraphOp
from ...ir.ops import elementwise as e
from ...ir.ops import reduce as r
from ...ir.ops import sort
from ...ir.ops.shape import dims_param
from ...ir.types import BOOL, DTYPES, F32, is_float, type_of
from .node import Node
from .registry import importer

_REDUCE: dict[str, type[r.ReduceOp]] = {
    "ReduceSum": r.ReduceSumOp,
    "ReduceProd": r.ReduceProdOp,
    "ReduceMax": r.ReduceMaxOp,
    "ReduceMin": r.ReduceMinOp,
    "ReduceMean": r.ReduceMeanOp,
    "ReduceL1": r.ReduceSumOp,
    "ReduceL2": r.ReduceSumOp,
    "ReduceLogSum": r.ReduceSumOp,
    "ReduceSumSquare": r.ReduceSumOp,
}
_ARGS: dict[str, type[GraphOp]] = {"ArgMax": sort.ArgMaxOp, "ArgMin": sort.ArgMinOp}
_CUMULATIVE: dict[str, type[GraphOp]] = {"CumSum": sort.CumSumOp, "CumProd": sort.CumProdOp}


@importer(*_REDUCE)
def reduce(node: Node) -> SSAValue:
    """Over ``axes``, with what the operator's name says before and after."""
    name, dtype = node.proto.op_type, node.type().dtype
    x = _before(node, name)
    axes = _axes(node)
    if name == "ReduceMean" and not is_float(dtype):
        x = node.cast(x, DTYPES["f64"])
    x = node.cast(x, DTYPES["ui8"]) if dtype == BOOL else x
    result = node.reduce(_REDUCE[name], x, axes, keep=_keeps(node))
    return node.cast(_after(node, name, result), dtype)


@importer("ReduceLogSumExp")
def reduce_log_sum_exp(node: Node) -> SSAValue:
    """The largest element is taken off before and added after, unless it is infinite."""
    x, axes, dtype = node.input(), _axes(node), node.type().dtype
    x = x if is_float(dtype) else node.cast(x, DTYPES["f64"])
    top = node.reduce(r.ReduceMaxOp, x, axes)
    zero = node.constant(0, type_of(x).dtype)
    top = node.add(e.SelectOp(node.add(e.IsinfOp(top)), zero, top))
    total = node.reduce(r.ReduceSumOp, node.add(e.ExpOp(node.add(e.SubOp(x, top)))), axes)
    result = node.add(e.AddOp(node.add(e.LogOp(total)), top))
    kept = [d for k, d in enumerate(type_of(result).shape) if _keeps(node) or k not in axes]
    return node.cast(node.reshape(result, tuple(kept)), dtype)


@importer(*_ARGS)
def argument(node: Node) -> SSAValue:
    """Where the extreme element is."""
    kind, last = _ARGS[node.proto.op_type], bool(node.attribute("select_last_index", 0))
    x = node.input()
    x = node.cast(x, DTYPES["ui8"]) if type_of(x).dtype == BOOL else x
    return node.add(kind(x, axis=node.axis(0), keepdims=_keeps(node), select_last=last))


@importer(*_CUMULATIVE)
def cumulative(node: Node) -> SSAValue:
    """Along an axis that is an operand."""
    return node.add(
        _CUMULATIVE[node.proto.op_type](
            node.input(),
            axis=node.counted(node.integer(1), node.type().rank),
            exclusive=bool(node.attribute("exclusive", 0)),
            reverse=bool(node.attribute("reverse", 0)),
        )
    )


@importer("TopK")
def top_k(node: Node) -> list[SSAValue]:
    """``k`` is an attribute before opset 10."""
    k = node.attribute("k") if node.opset < 10 else node.dim(1)
    largest = bool(node.attribute("largest", 1))
    op = sort.TopKOp(node.input(), k=dims_param((k,))[0], axis=node.axis(-1), largest=largest)
    return list(node.add_all(op))


@importer("Hardmax", since=13)
def hardmax(node: Node) -> SSAValue:
    """1 where the first largest element along ``axis`` is, else 0."""
    return _one_hot_of_largest(node, node.input(), node.axis(-1))


@importer("Hardmax")
def flat_hardmax(node: Node) -> SSAValue:
    """Before opset 13, of a matrix: the dims before ``axis`` and the rest."""
    return flattened(node, node.axis(1), lambda x: _one_hot_of_largest(node, x, 1))


def flattened(node: Node, axis: int, function: Callable[[SSAValue], SSAValue]) -> SSAValue:
    """A function of the first operand as a matrix of the dims before ``axis`` and the rest."""
    x = node.type()
    rows, columns = x.with_shape(x.shape[:axis]).size, x.with_shape(x.shape[axis:]).size
    return node.reshape(function(node.reshape(node.input(), (rows, columns))), x.shape)


def _one_hot_of_largest(node: Node, x: SSAValue, axis: int) -> SSAValue:
    type = type_of(x)
    largest = node.add(sort.ArgMaxOp(x, axis=axis, keepdims=True))
    size = type.shape[axis]
    positions = node.reshape(node.iota(size), (size, *(1,) * (type.rank - axis - 1)))
    return node.cast(node.add(e.EqOp(largest, positions)), type.dtype)


def _before(node: Node, name: str) -> SSAValue:
    x, dtype = node.input(), node.type().dtype
    if name == "ReduceL1":
        return node.add(e.AbsOp(x))
    if name not in ("ReduceL2", "ReduceSumSquare"):
        return x
    integer_root = name == "ReduceL2" and not is_float(dtype)
    x = node.cast(x, DTYPES["f64"] if integer_root else r.accumulator(dtype))
    return node.add(e.MulOp(x, x))


def _after(node: Node, name: str, total: SSAValue) -> SSAValue:
    if name == "ReduceL2":
        return node.add(e.SqrtOp(total))
    if name != "ReduceLogSum":
        return total
    wide = total if is_float(type_of(total).dtype) else node.cast(total, F32)
    return node.add(e.LogOp(wide))


def _keeps(node: Node) -> bool:
    return bool(node.attribute("keepdims", 1))


def _axes(node: Node) -> list[int]:
    """From the attribute, or from the operand that replaced it; none mean all or nothing."""
    rank = node.type().rank
    given = node.attribute("axes")
    axes = node.dims(1) if given is None else given
    if not axes:
        return [] if node.attribute("noop_with_empty_axes", 0) else list(range(rank))
    return sorted({node.counted(int(a), rank) for a in np.asarray(axes)})
