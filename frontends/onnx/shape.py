"""Importers of operators that move or rename elements, and of constants."""

from __future__ import annotations

import numpy as np
import onnx
from xdsl.ir import SSAValue

from ...ir.dims import Dim, Shape, floordiv, product
from ...ir.op import GraphOp
from ...ir.ops import reduce as r
from ...ir.ops.constant import ConstantOp
from ...ir.ops.shape import ConcatOp, ReshapeOp, TransposeOp
from .registry import Node, Refusal, importer

_REDUCE: dict[str, type[GraphOp]] = {
    "ReduceSum": r.ReduceSumOp,
    "ReduceProd": r.ReduceProdOp,
    "ReduceMax": r.ReduceMaxOp,
    "ReduceMin": r.ReduceMinOp,
    "ReduceMean": r.ReduceMeanOp,
}


@importer("Identity", "Dropout")
def identity(node: Node) -> SSAValue:
    """Nothing happens at inference."""
    if len([o for o in node.proto.output if o]) > 1:
        raise Refusal("the mask output is not supported; remove it")
    return node.input(0)


@importer("Constant")
def constant(node: Node) -> SSAValue:
    """A tensor attribute."""
    value = node.attribute("value")
    if value is None:
        raise Refusal("only constants given as a tensor ('value') are supported")
    return node.add(ConstantOp.of(onnx.numpy_helper.to_array(value)))


@importer("Transpose")
def transpose(node: Node) -> SSAValue:
    """The dims in the order of ``perm``; reversed when it is left out."""
    perm = node.attribute("perm", list(reversed(range(node.type().rank))))
    return node.add(TransposeOp(node.input(0), perm=tuple(perm)))


@importer("Concat", since=4)
def concat(node: Node) -> SSAValue:
    """One after another."""
    axis = _axis(node.attribute("axis"), node.type().rank)
    return node.add(ConcatOp([node.input(k) for k in range(len(node.inputs))], axis=axis))


@importer("Reshape", since=5)
def reshape(node: Node) -> SSAValue:
    """-1 is what is left, 0 the dim of the input (unless ``allowzero``)."""
    wanted, x = node.known(1), node.type()
    if wanted is None:
        raise Refusal("the shape is missing")
    copies = not node.attribute("allowzero", 0)
    shape: list[Dim] = [
        x.shape[k] if d == 0 and copies else int(d) for k, d in enumerate(wanted.tolist())
    ]
    if -1 in shape:
        known = product(d for d in shape if d != -1)
        shape[shape.index(-1)] = floordiv(x.size, known)
    return _reshaped(node, tuple(shape))


@importer("Flatten")
def flatten(node: Node) -> SSAValue:
    """A matrix: the dims before ``axis``, and the rest."""
    x = node.type()
    axis = _axis(node.attribute("axis", 1), x.rank, extra=1)
    return _reshaped(node, (product(x.shape[:axis]), product(x.shape[axis:])))


@importer("Squeeze")
def squeeze(node: Node) -> SSAValue:
    """Drops dims of size 1: all of them, or the given ones."""
    x, axes = node.type(), _axes(node, node.type().rank)
    dropped = [k for k, d in enumerate(x.shape) if d == 1] if axes is None else axes
    if any(x.shape[k] != 1 for k in dropped):
        raise Refusal(f"axes {dropped} of {x} are not of size 1")
    return _reshaped(node, tuple(d for k, d in enumerate(x.shape) if k not in dropped))


@importer("Unsqueeze")
def unsqueeze(node: Node) -> SSAValue:
    """Adds dims of size 1."""
    x = node.type()
    given = node.known(1) if node.opset >= 13 else node.attribute("axes")
    count = x.rank + len(np.asarray(given))
    axes = {_axis(int(a), count) for a in np.asarray(given)}
    rest = iter(x.shape)
    return _reshaped(node, tuple(1 if k in axes else next(rest) for k in range(count)))


@importer(*_REDUCE)
def reduce(node: Node) -> SSAValue:
    """Over ``axes``, or over all of them unless ``noop_with_empty_axes``."""
    x, axes = node.type(), _axes(node, node.type().rank)
    if not axes:
        if node.attribute("noop_with_empty_axes", 0):
            return node.input(0)
        axes = list(range(x.rank))
    kind, keep = _REDUCE[node.proto.op_type], bool(node.attribute("keepdims", 1))
    return node.add(kind(node.input(0), axes=tuple(sorted(axes)), keepdims=keep))


def _reshaped(node: Node, shape: Shape) -> SSAValue:
    return node.add(ReshapeOp.to(node.input(0), shape))


def _axes(node: Node, rank: int) -> list[int] | None:
    """Axes from the attribute, or from the input that replaced it."""
    axes = node.attribute("axes")
    if axes is None:
        axes = node.known(1)
    return None if axes is None else [_axis(int(a), rank) for a in axes]


def _axis(axis: int, rank: int, extra: int = 0) -> int:
    if not -rank <= axis < rank + extra:
        raise Refusal(f"axis {axis} does not exist in rank {rank}")
    return axis + rank if axis < 0 else axis
