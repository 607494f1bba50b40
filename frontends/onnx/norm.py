"""Importers of normalisations."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ...ir.dims import floordiv
from ...ir.op import GraphOp
from ...ir.ops import elementwise as e
from ...ir.ops import norm
from ...ir.ops import reduce as r
from ...ir.types import type_of
from .conv import of_channels
from .node import Node
from .reduce import flattened
from .refusal import Refusal
from .registry import importer

_SOFTMAX: dict[str, type[GraphOp]] = {
    "Softmax": norm.SoftmaxOp,
    "LogSoftmax": norm.LogSoftmaxOp,
}


@importer(*_SOFTMAX, since=13)
def softmax(node: Node) -> SSAValue:
    """Along ``axis``."""
    return node.add(_SOFTMAX[node.proto.op_type](node.input(), axis=node.axis(-1)))


@importer(*_SOFTMAX)
def flat_softmax(node: Node) -> SSAValue:
    """Before opset 13, of a matrix: the dims before ``axis`` and the rest."""
    kind, axis = _SOFTMAX[node.proto.op_type], node.axis(1)
    if axis == node.type().rank - 1:
        return node.add(kind(node.input(), axis=axis))
    return flattened(node, axis, lambda x: node.add(kind(x, axis=1)))


@importer("BatchNormalization")
def batch_normalization(node: Node) -> list[SSAValue]:
    """A product and a sum a channel; with batch statistics where a model asks for them."""
    if node.attribute("spatial", 1) == 0:
        raise Refusal("statistics for every pixel (spatial=0) are not supported")
    wide, rank = r.accumulator(node.type().dtype), node.type().rank
    x, *weights = (node.cast(node.input(k), wide) for k in range(5))
    scale, bias, mean, variance = weights
    running: list[SSAValue] = []
    if node.attribute("training_mode", 0):
        momentum = node.attribute("momentum", 0.9)
        old, (mean, variance) = (mean, variance), _statistics(node, x)
        pairs = zip(old, (mean, variance), strict=True)
        running = [_blended(node, a, b, momentum) for a, b in pairs]
    factor = node.add(e.MulOp(scale, _inverse_root(node, variance)))
    offset = node.add(e.SubOp(bias, node.add(e.MulOp(mean, factor))))
    result = node.add(e.MulOp(x, of_channels(node, factor, rank)))
    result = node.add(e.AddOp(result, of_channels(node, offset, rank)))
    extra = [node.cast(v, node.type(3).dtype) for v in running]
    return [node.cast(result, node.type().dtype), *extra]


@importer("InstanceNormalization")
def instance_normalization(node: Node) -> SSAValue:
    """Over the pixels of each channel, then scale and bias a channel."""
    plain = node.add(norm.LayerNormOp(node.input(), axis=2, epsilon=_epsilon(node)))
    return _affine_channels(node, plain, node.input(1), node.input(2))


@importer("GroupNormalization", since=21)
def group_normalization(node: Node) -> SSAValue:
    """Over groups of channels, then scale and bias a channel."""
    return _affine_channels(node, _group_normalized(node), node.input(1), node.input(2))


@importer("GroupNormalization")
def group_normalization_by_group(node: Node) -> SSAValue:
    """Before opset 21, scale and bias are one a group."""
    groups = node.required("num_groups")
    each = floordiv(node.type().shape[1], groups)
    weights = [
        node.reshape(
            node.broadcast(node.reshape(node.input(k), (groups, 1)), (groups, each)),
            (groups * each,),
        )
        for k in (1, 2)
    ]
    return _affine_channels(node, _group_normalized(node), *weights)


@importer("LayerNormalization")
def layer_normalization(node: Node) -> list[SSAValue]:
    """Over the dims from ``axis`` on; mean and inverse deviation on request."""
    x, axis = node.input(), node.axis(-1)
    weights = [
        _like_rows(node, v, axis) for v in (node.input(1), node.optional(2)) if v is not None
    ]
    result = node.add(norm.LayerNormOp(x, *weights, axis=axis, epsilon=_epsilon(node)))
    return [result, *(_row_statistics(node, axis) if node.wants(1) or node.wants(2) else [])]


@importer("RMSNormalization")
def rms_normalization(node: Node) -> SSAValue:
    """Over the dims from ``axis`` on."""
    axis = node.axis(-1)
    scale = _like_rows(node, node.input(1), axis)
    result = node.add(norm.RmsNormOp(node.input(), scale, axis=axis, epsilon=_epsilon(node)))
    return node.cast(result, node.type(1).dtype)


@importer("LpNormalization")
def lp_normalization(node: Node) -> SSAValue:
    """``x / norm(x)`` along ``axis``; 0 where the norm is."""
    x, dtype = node.input(), node.type().dtype
    squares = node.attribute("p", 2) == 2
    sizes = node.add(e.MulOp(x, x) if squares else e.AbsOp(x))
    total = node.reduce(r.ReduceSumOp, sizes, [node.axis(-1)])
    total = node.add(e.SqrtOp(total)) if squares else total
    zero = node.constant(0, dtype)
    empty = node.add(e.EqOp(total, zero))
    return node.add(e.SelectOp(empty, zero, node.add(e.DivOp(x, total))))


def _epsilon(node: Node) -> float:
    return float(node.attribute("epsilon", 1e-5))


def _like_rows(node: Node, weight: SSAValue, axis: int) -> SSAValue:
    """A weight in the shape of the normalised dims, and in the dtype of x."""
    x, shape = node.type(), type_of(weight).shape
    rows = x.shape[axis:]
    if len(shape) > len(rows):
        weight = node.reshape(weight, shape[len(shape) - len(rows) :])
    return node.broadcast(node.cast(weight, x.dtype), rows)


def _row_statistics(node: Node, axis: int) -> list[SSAValue]:
    x, axes = (
        node.cast(node.input(), r.accumulator(node.type().dtype)),
        range(axis, node.type().rank),
    )
    mean = node.reduce(r.ReduceMeanOp, x, axes)
    centred = node.add(e.SubOp(x, mean))
    variance = node.reduce(r.ReduceMeanOp, node.add(e.MulOp(centred, centred)), axes)
    return [mean, _inverse_root(node, variance)]


def _statistics(node: Node, x: SSAValue) -> tuple[SSAValue, SSAValue]:
    """Mean and variance of every channel."""
    axes = [k for k in range(type_of(x).rank) if k != 1]
    mean = node.reduce(r.ReduceMeanOp, x, axes)
    centred = node.add(e.SubOp(x, mean))
    variance = node.reduce(r.ReduceMeanOp, node.add(e.MulOp(centred, centred)), axes)
    channels = (type_of(x).shape[1],)
    return node.reshape(mean, channels), node.reshape(variance, channels)


def _blended(node: Node, old: SSAValue, new: SSAValue, momentum: float) -> SSAValue:
    dtype = type_of(old).dtype
    kept = node.add(e.MulOp(old, node.constant(momentum, dtype)))
    return node.add(e.AddOp(kept, node.add(e.MulOp(new, node.constant(1 - momentum, dtype)))))


def _inverse_root(node: Node, variance: SSAValue) -> SSAValue:
    epsilon = node.constant(_epsilon(node), type_of(variance).dtype)
    return node.add(e.RsqrtOp(node.add(e.AddOp(variance, epsilon))))


def _group_normalized(node: Node) -> SSAValue:
    x, groups = node.type(), node.required("num_groups")
    apart = (x.shape[0], groups, floordiv(x.shape[1], groups), *x.shape[2:])
    rows = node.reshape(node.input(), apart)
    return node.reshape(node.add(norm.LayerNormOp(rows, axis=2, epsilon=_epsilon(node))), x.shape)


def _affine_channels(node: Node, x: SSAValue, scale: SSAValue, bias: SSAValue) -> SSAValue:
    rank = type_of(x).rank
    return node.add(
        e.AddOp(node.add(e.MulOp(x, of_channels(node, scale, rank))), of_channels(node, bias, rank))
    )
