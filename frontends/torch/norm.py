"""Importers of softmax and normalisations."""

from __future__ import annotations

import torch
from xdsl.ir import SSAValue

from ...ir.dims import product
from ...ir.ops import elementwise as e
from ...ir.ops.norm import LayerNormOp, LogSoftmaxOp, RmsNormOp, SoftmaxOp
from ...ir.ops.reduce import ReduceMaxOp, accumulator
from ...ir.types import type_of
from .layout import of_channels
from .registry import Node, Refusal, importer

aten = torch.ops.aten

_SOFTMAX = {
    **dict.fromkeys((aten.softmax, aten._softmax, aten._safe_softmax), SoftmaxOp),
    **dict.fromkeys((aten.log_softmax, aten._log_softmax), LogSoftmaxOp),
}


@importer(*_SOFTMAX)
def softmax(node: Node) -> SSAValue:
    """Along ``dim``; the safe one is 0 where everything is -inf."""
    x, shape = node.cast(node.input(), node.result.dtype), node.result.shape
    axis = node.axis()
    if not shape:
        x = node.reshape(x, (1,))
    result = node.reshape(node.add(_SOFTMAX[node.packet](x, axis=axis)), shape)
    if node.packet is not aten._safe_softmax:
        return result
    lost, zero = (node.constant(value, node.result.dtype) for value in (float("-inf"), 0))
    dead = node.add(e.EqOp(node.add(ReduceMaxOp(x, axes=(axis,), keepdims=True)), lost))
    return node.add(e.SelectOp(dead, zero, result))


@importer(aten.layer_norm, aten.native_layer_norm)
def layer_norm(node: Node) -> SSAValue | list[SSAValue | None]:
    """Over the last dims."""
    x, dtype = node.input(), node.type().dtype
    axis = node.type().rank - len(node.arg("normalized_shape"))
    weight, bias = node.cast_optional("weight", dtype), node.cast_optional("bias", dtype)
    inner = bias if weight is not None else None
    result = node.add(LayerNormOp(x, weight, inner, axis=axis, epsilon=node.arg("eps")))
    if weight is None and bias is not None:
        result = node.add(e.AddOp(result, bias))
    return [result, None, None] if node.packet is aten.native_layer_norm else result


@importer(aten.rms_norm, aten._fused_rms_norm)
def rms_norm(node: Node) -> SSAValue | list[SSAValue | None]:
    """Over the last dims; without an epsilon it is that of the dtype."""
    axis = node.type().rank - len(node.arg("normalized_shape"))
    epsilon = node.arg("eps", torch.finfo(node.fakes["input"].dtype).eps)
    weight = node.cast_optional("weight", node.type().dtype)
    result = node.add(RmsNormOp(node.input(), weight, axis=axis, epsilon=epsilon))
    return [result, None] if node.packet is aten._fused_rms_norm else result


@importer(aten.group_norm, aten.native_group_norm)
def group_norm(node: Node) -> SSAValue | list[SSAValue | None]:
    """Over the channels of a group and all spatial dims, then a scale and a bias a channel."""
    x, shape = node.input(), node.type().shape
    groups = node.arg("num_groups", node.arg("group"))
    inner = product((shape[1] // groups, *shape[2:]))
    rows = node.reshape(x, (shape[0], groups, inner))
    normal = node.add(LayerNormOp(rows, axis=2, epsilon=node.arg("eps")))
    result = _scaled(node, node.reshape(normal, shape))
    return [result, None, None] if node.packet is aten.native_group_norm else result


@importer(aten.instance_norm)
def instance_norm(node: Node) -> SSAValue:
    """Over the spatial dims of every channel, or with the statistics that were collected."""
    if not node.arg("use_input_stats", True):
        return _batch_normal(node)
    x, shape = node.input(), node.type().shape
    rows = node.reshape(x, (*shape[:2], product(shape[2:])))
    normal = node.add(LayerNormOp(rows, axis=2, epsilon=node.arg("eps")))
    return _scaled(node, node.reshape(normal, shape))


@importer(
    *(aten.batch_norm, aten.native_batch_norm, aten._native_batch_norm_legit_functional),
    *(aten._native_batch_norm_legit_no_training, aten._batch_norm_no_update),
)
def batch_norm(node: Node) -> SSAValue | list[SSAValue | None]:
    """With the statistics that were collected in training: a scale and a shift a channel."""
    if node.arg("training", False):
        raise Refusal("batch norm in training mode", "export the model in eval mode: model.eval()")
    result = _batch_normal(node)
    return result if node.packet is aten.batch_norm else [result, None, None, None]


def _batch_normal(node: Node) -> SSAValue:
    """``x * s + (bias - mean * s)`` with ``s = weight / sqrt(variance + eps)``."""
    x, narrow = node.input(), node.type().dtype
    wide, rank = accumulator(narrow), node.type().rank
    mean, variance, weight, bias = (
        node.cast_optional(n, wide) for n in ("running_mean", "running_var", "weight", "bias")
    )
    if mean is None or variance is None:
        raise Refusal("there are no running statistics", "use track_running_stats=True")
    shifted = node.add(e.AddOp(variance, node.constant(node.arg("eps"), wide)))
    scale = node.add(e.RsqrtOp(shifted))
    scale = scale if weight is None else node.add(e.MulOp(scale, weight))
    shift = node.add(e.NegOp(node.add(e.MulOp(mean, scale))))
    shift = shift if bias is None else node.add(e.AddOp(shift, bias))
    scaled = node.add(e.MulOp(node.cast(x, wide), of_channels(node, scale, rank)))
    return node.cast(node.add(e.AddOp(scaled, of_channels(node, shift, rank))), narrow)


def _scaled(node: Node, x: SSAValue) -> SSAValue:
    """A scale and a bias a channel, where they are given."""
    for combine, name in ((e.MulOp, "weight"), (e.AddOp, "bias")):
        vector = node.cast_optional(name, type_of(x).dtype)
        if vector is not None:
            x = node.add(combine(x, of_channels(node, vector, type_of(x).rank)))
    return x
