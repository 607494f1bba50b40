"""Quantization, in floats: torch's eager mode has no integer products that are faster."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import torch

from ....ir.ops.quant import DequantizeOp, QuantizeOp
from ....ir.types import is_integer
from .registry import Call, constant_of, runs, torch_dtype


@runs(QuantizeOp)
def quantize(call: Call[QuantizeOp]) -> Any:
    """Rounds and limits; a graph to be trained keeps floats, and gradients pass the rounding."""
    op = call.op
    if not is_integer(op.to) or not _spreads(call):
        return None
    x, scale, *zero = call.operands
    wide = torch_dtype(op.wide())
    steps = x.to(wide) / scale.to(wide)
    value = torch.round(steps)
    if call.recorder.trains:
        value = steps + (value - steps).detach()
    for point in zero:
        value = value + point.to(wide)
    limits = ml_dtypes.iinfo(op.to)
    codes = torch.clamp(value, limits.min, limits.max)
    return codes if call.recorder.trains else codes.to(torch_dtype(op.to))


@runs(DequantizeOp)
def dequantize(call: Call[DequantizeOp]) -> Any:
    """One product; None for a weight, which is decoded beforehand."""
    if constant_of(call.op.x) is not None or not _spreads(call):
        return None
    x, scale, *zero = call.operands
    wide = torch_dtype(call.op.wide())
    value = x.to(wide)
    for point in zero:
        value = value - point.to(wide)
    return (value * scale.to(wide)).to(torch_dtype(call.result.dtype))


def _spreads(call: Call[Any]) -> bool:
    """Whether one scale is for all along a dim, or each element there has its own."""
    sizes = zip(call.type(0).shape[-call.type(1).rank :], call.type(1).shape, strict=False)
    return all(count in (1, size) for size, count in sizes)
