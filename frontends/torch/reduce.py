"""Importers of reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from xdsl.ir import SSAValue

from ...ir.dims import product
from ...ir.op import GraphOp
from ...ir.ops import elementwise as e
from ...ir.ops import reduce as r
from ...ir.ops.sort import ArgMaxOp, ArgMinOp
from ...ir.types import BOOL, DTYPES, F32, I64, TensorType, is_float, type_of
from .registry import Node, importer

aten = torch.ops.aten

_REDUCE: dict[Any, type[r.ReduceOp]] = {
    aten.sum: r.ReduceSumOp,
    aten.prod: r.ReduceProdOp,
    aten.mean: r.ReduceMeanOp,
    aten.amax: r.ReduceMaxOp,
    aten.amin: r.ReduceMinOp,
}
_EXTREMA: dict[Any, tuple[type[r.ReduceOp], type[GraphOp], type[GraphOp]]] = {
    aten.max: (r.ReduceMaxOp, ArgMaxOp, e.MaxOp),
    aten.min: (r.ReduceMinOp, ArgMinOp, e.MinOp),
}
_ARGS: dict[Any, type[GraphOp]] = {aten.argmax: ArgMaxOp, aten.argmin: ArgMinOp}


@importer(*_REDUCE)
def reduce(node: Node) -> SSAValue:
    """In the dtype of the result, over ``dim`` or over everything."""
    return _reduced(node, _REDUCE[node.packet], node.cast(node.input(), node.result.dtype))


@importer(aten.any, aten.all)
def truth(node: Node) -> SSAValue:
    """The largest, or the smallest, of whether elements are not zero."""
    x, byte = node.input(), DTYPES["ui8"]
    if type_of(x).dtype != BOOL:
        x = node.add(e.NeOp(x, node.constant(0, type_of(x).dtype)))
    kind = r.ReduceMaxOp if node.packet is aten.any else r.ReduceMinOp
    return node.cast(_reduced(node, kind, node.cast(x, byte)), node.result.dtype)


@importer(aten.max, aten.min)
def extremum(node: Node) -> SSAValue | list[SSAValue]:
    """Of two tensors, of all elements, or along a dim with where it is."""
    kind, where, binary = _EXTREMA[node.packet]
    x = node.input()
    if "other" in node.arguments:
        dtype = node.result.dtype
        return node.add(binary(node.cast(x, dtype), node.operand(node.arg("other"), dtype)))
    values = _reduced(node, kind, x)
    if "dim" not in node.arguments:
        return values
    keep = node.arg("keepdim")
    return [values, _indexed(node, where, x, node.axis(), keep)]


@importer(*_ARGS)
def argument(node: Node) -> SSAValue:
    """Where the first extremum is: along a dim, or in the flattened tensor."""
    x, keep = node.input(), node.arg("keepdim", False)
    if node.arg("dim") is not None:
        return _indexed(node, _ARGS[node.packet], x, node.axis(), keep)
    flat = node.reshape(x, (type_of(x).size,))
    return node.reshape(node.add(_ARGS[node.packet](flat, axis=0)), node.result.shape)


@importer(aten.var, aten.std)
def variance(node: Node) -> SSAValue:
    """The mean of the squared distances to the mean, with ``correction`` off the count."""
    return _variance(node)[0]


@importer(aten.var_mean, aten.std_mean)
def variance_and_mean(node: Node) -> list[SSAValue]:
    """Both."""
    return list(_variance(node))


@importer(aten.linalg_vector_norm)
def vector_norm(node: Node) -> SSAValue:
    """Euclidean, of absolute values, the largest, how many are not 0; else through powers."""
    dtype = node.result.dtype
    x, order = node.cast(node.input(), dtype), float(node.arg("ord", 2))
    if order == 2:
        return node.add(e.SqrtOp(_reduced(node, r.ReduceSumOp, node.add(e.MulOp(x, x)))))
    if order == 0:
        different = node.add(e.NeOp(x, node.constant(0, dtype)))
        return _reduced(node, r.ReduceSumOp, node.cast(different, dtype))
    x = node.add(e.AbsOp(x))
    if np.isinf(order):
        return _reduced(node, r.ReduceMaxOp if order > 0 else r.ReduceMinOp, x)
    if order == 1:
        return _reduced(node, r.ReduceSumOp, x)
    total = _reduced(node, r.ReduceSumOp, node.add(e.PowOp(x, node.constant(order, dtype))))
    return node.add(e.PowOp(total, node.constant(1 / order, dtype)))


@importer(aten.logsumexp)
def log_sum_exp(node: Node) -> SSAValue:
    """With the largest element taken off before and added after."""
    dtype = node.result.dtype
    x = node.cast(node.input(), dtype)
    axes = _axes(node)
    top = node.add(r.ReduceMaxOp(x, axes=axes, keepdims=True))
    top = node.add(e.SelectOp(node.add(e.IsinfOp(top)), node.constant(0, dtype), top))
    powers = node.add(e.ExpOp(node.add(e.SubOp(x, top))))
    total = node.add(e.LogOp(node.add(r.ReduceSumOp(powers, axes=axes, keepdims=True))))
    return node.reshape(node.add(e.AddOp(total, top)), node.result.shape)


def _reduced(node: Node, kind: type[r.ReduceOp], x: SSAValue) -> SSAValue:
    axes = _axes(node)
    if not axes:
        return x
    return node.add(kind(x, axes=axes, keepdims=bool(node.arg("keepdim", False))))


def _axes(node: Node) -> tuple[int, ...]:
    """The argument ``dim``: all axes where it is None or empty."""
    given, rank = node.arguments.get("dim"), node.type().rank
    if given is None or given == []:
        return tuple(range(rank))
    if rank == 0:
        return ()
    return tuple(sorted(node.axes([given] if isinstance(given, int) else given)))


def _indexed(node: Node, kind: type[GraphOp], x: SSAValue, axis: int, keep: bool) -> SSAValue:
    if type_of(x).rank == 0:
        return node.constant(0, I64)
    return node.add(kind(x, axis=axis, keepdims=bool(keep)))


def _variance(node: Node) -> tuple[SSAValue, SSAValue]:
    """In f32 at least: squares of halves overflow."""
    x, axes = node.input(), _axes(node)
    narrow = type_of(x).dtype
    wide = F32 if is_float(narrow) and narrow.itemsize < 4 else narrow
    x = node.cast(x, wide)
    mean = node.add(r.ReduceMeanOp(x, axes=axes, keepdims=True))
    distance = node.add(e.SubOp(x, mean))
    squares = node.add(e.MulOp(distance, distance))
    total = node.add(r.ReduceSumOp(squares, axes=axes, keepdims=True))
    result = node.add(e.DivOp(total, _degrees(node, type_of(x), axes, wide)))
    if node.packet in (aten.std, aten.std_mean):
        result = node.add(e.SqrtOp(result))
    shape = node.result.shape
    return node.reshape(node.cast(result, narrow), shape), node.reshape(
        node.cast(mean, narrow), shape
    )


def _degrees(node: Node, x: TensorType, axes: tuple[int, ...], dtype: np.dtype) -> SSAValue:
    correction = node.arguments.get("correction")
    if correction is None:
        correction = 1 if node.arg("unbiased", True) else 0
    count = node.operand(product(x.shape[a] for a in axes), dtype)
    taken = node.add(e.SubOp(count, node.constant(correction, dtype)))
    return node.add(e.MaxOp(taken, node.constant(0, dtype)))
