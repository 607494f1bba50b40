"""Reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ....ir.ops.reduce import (
    ReduceMaxOp,
    ReduceMeanOp,
    ReduceMinOp,
    ReduceOp,
    ReduceProdOp,
    ReduceSumOp,
)
from .registry import Call, runs, torch_dtype

_EXTREMA: dict[type[ReduceOp], Callable[..., Any]] = {
    ReduceMaxOp: torch.amax,
    ReduceMinOp: torch.amin,
}


@runs(ReduceSumOp)
def total(call: Call[ReduceSumOp]) -> Any:
    """The sum, in the dtype of x."""
    if not call.op.axes:
        return call.x
    dtype = torch_dtype(call.result.dtype)
    return torch.sum(call.x, call.op.axes, call.op.keepdims, dtype=dtype)


@runs(ReduceMeanOp)
def mean(call: Call[ReduceMeanOp]) -> Any:
    """The mean."""
    return torch.mean(call.x, call.op.axes, call.op.keepdims) if call.op.axes else call.x


@runs(ReduceProdOp)
def product(call: Call[ReduceProdOp]) -> Any:
    """Axis by axis: torch knows one at a time."""
    x, dtype = call.x, torch_dtype(call.result.dtype)
    for axis in reversed(call.op.axes):
        x = torch.prod(x, axis, call.op.keepdims, dtype=dtype)
    return x


@runs(*_EXTREMA)
def extremum(call: Call[ReduceOp]) -> Any:
    """Torch refuses to reduce what may be empty."""
    if not call.op.axes:
        return call.x
    if any(call.type().shape[axis] == 0 for axis in call.op.axes):
        return None
    return _EXTREMA[type(call.op)](call.x, call.op.axes, call.op.keepdims)
