"""Activations that stand in the graph as several ops, and that torch has one function for."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F
from xdsl.ir import SSAValue

from ....ir.ops import elementwise as e
from ....ir.types import type_of
from .registry import Call, number_of, producer


def limited(call: Call[e.BinaryOp]) -> Any:
    """``min(max(x, low), high)`` in either order, with one limit or both; None for other things."""
    found = _limits(call.op)
    if found is None:
        return None
    x, low, high = found
    line = _sixth_and_half(x) if (low, high) == (0, 1) else None
    if line is not None:
        return F.hardsigmoid(call.recorder.value(line))
    return torch.clamp(call.recorder.value(x), min=low, max=high)


def hard_swish(call: Call[e.BinaryOp]) -> Any:
    """``x * hardsigmoid(x)``; None for other products."""
    for x, other in ((call.op.x, call.op.y), (call.op.y, call.op.x)):
        gate = producer(other, e.MinOp)
        found = _limits(gate) if gate is not None else None
        if found is not None and found[1:] == (0, 1) and _sixth_and_half(found[0]) is x:
            return F.hardswish(call.recorder.value(x))
    return None


def leaky_relu(call: Call[e.SelectOp]) -> Any:
    """``x * slope`` where x is negative, else x; None for other choices."""
    test, scaled = producer(call.op.condition, e.LtOp), producer(call.op.x, e.MulOp)
    x, slope = call.op.y, number_of(scaled.y) if scaled is not None else None
    if test is None or scaled is None or slope is None or not call.result.shape:
        return None
    if test.x is not x or number_of(test.y) != 0 or scaled.x is not x:
        return None
    return F.leaky_relu(call.recorder.value(x), slope)


def _limits(op: e.BinaryOp) -> tuple[SSAValue, Any, Any] | None:
    """What an extremum limits, and its lower and upper limit."""
    limit = _number(op)
    if limit is None:
        return None
    x, inner, is_max = op.x, _inner(op), isinstance(op, e.MaxOp)
    if inner is None:
        return (x, limit, None) if is_max else (x, None, limit)
    value, other = inner
    low, high = (limit, other) if is_max else (other, limit)
    return (value, low, high) if low <= high else None


def _inner(op: e.BinaryOp) -> tuple[SSAValue, Any] | None:
    """What the opposite extremum before this one limits, and the limit."""
    opposite = producer(op.x, e.MinOp if isinstance(op, e.MaxOp) else e.MaxOp)
    if opposite is not None:
        limit = _number(opposite)
        return None if limit is None else (opposite.x, limit)
    rectified = producer(op.x, e.ReluOp) if isinstance(op, e.MinOp) else None
    return None if rectified is None else (rectified.x, 0)


def _sixth_and_half(value: SSAValue) -> SSAValue | None:
    """The x of ``x / 6 + 1 / 2``."""
    line = producer(value, e.AddOp)
    slope = producer(line.x, e.MulOp) if line is not None else None
    if line is None or slope is None or number_of(line.y) != 0.5:
        return None
    factor = number_of(slope.y)
    is_sixth = factor is not None and math.isclose(factor, 1 / 6, rel_tol=1e-6)
    return slope.x if is_sixth else None


def _number(op: e.BinaryOp) -> Any:
    """The second operand, where it is a number and the first has its dims from nowhere else."""
    number = number_of(op.y)
    is_bool = isinstance(number, bool)
    return None if is_bool or type_of(op.x).rank == 0 else number
