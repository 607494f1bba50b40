"""Softmax and normalisations."""

from __future__ import annotations

from typing import Any

from torch.nn import functional as F

from ....ir.ops.norm import LayerNormOp, LogSoftmaxOp, RmsNormOp, SoftmaxOp
from .registry import Call, runs


@runs(SoftmaxOp)
def softmax(call: Call[SoftmaxOp]) -> Any:
    """Along one axis."""
    return F.softmax(call.x, call.op.axis)


@runs(LogSoftmaxOp)
def log_softmax(call: Call[LogSoftmaxOp]) -> Any:
    """Along one axis."""
    return F.log_softmax(call.x, call.op.axis)


@runs(LayerNormOp)
def layer_norm(call: Call[LayerNormOp]) -> Any:
    """Over the last dims."""
    x, *weights = call.operands
    return F.layer_norm(x, _normalised(call), *weights, eps=call.op.epsilon)


@runs(RmsNormOp)
def rms_norm(call: Call[RmsNormOp]) -> Any:
    """Over the last dims."""
    x, *weights = call.operands
    return F.rms_norm(x, _normalised(call), *weights, eps=call.op.epsilon)


def _normalised(call: Call[Any]) -> list[Any]:
    return call.sizes(call.type().shape[call.op.axis :])
