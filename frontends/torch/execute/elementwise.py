"""Elementwise ops: one function of torch each, and those that are one function together."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from xdsl.ir import SSAValue

from ....ir.op import GraphOp
from ....ir.ops import elementwise as e
from .bias import with_bias
from .fused import hard_swish, leaky_relu, limited
from .registry import Call, constant_of, number_of, runs, torch_dtype

_UNARY: dict[type[GraphOp], Callable[..., Any]] = {
    e.NegOp: torch.neg,
    e.AbsOp: torch.abs,
    e.SignOp: torch.sign,
    e.ReluOp: torch.relu,
    e.NotOp: torch.bitwise_not,
    e.IsnanOp: torch.isnan,
    e.IsinfOp: torch.isinf,
}
_OF_FLOATS: dict[type[GraphOp], Callable[..., Any]] = {
    e.ExpOp: torch.exp,
    e.LogOp: torch.log,
    e.SqrtOp: torch.sqrt,
    e.RsqrtOp: torch.rsqrt,
    e.SinOp: torch.sin,
    e.CosOp: torch.cos,
    e.TanOp: torch.tan,
    e.AsinOp: torch.asin,
    e.AcosOp: torch.acos,
    e.AtanOp: torch.atan,
    e.SinhOp: torch.sinh,
    e.CoshOp: torch.cosh,
    e.TanhOp: torch.tanh,
    e.AsinhOp: torch.asinh,
    e.AcoshOp: torch.acosh,
    e.AtanhOp: torch.atanh,
    e.ErfOp: torch.erf,
    e.FloorOp: torch.floor,
    e.CeilOp: torch.ceil,
    e.RoundOp: torch.round,
    e.SigmoidOp: torch.sigmoid,
    e.SiluOp: F.silu,
}
# Those that take a number in the place of a tensor.
_WITH_NUMBERS: dict[type[GraphOp], Callable[..., Any]] = {
    e.SubOp: operator.sub,
    e.PowOp: operator.pow,
    e.EqOp: operator.eq,
    e.NeOp: operator.ne,
    e.LtOp: operator.lt,
    e.LeOp: operator.le,
    e.GtOp: operator.gt,
    e.GeOp: operator.ge,
}
_BINARY: dict[type[GraphOp], Callable[..., Any]] = {
    e.AndOp: torch.bitwise_and,
    e.OrOp: torch.bitwise_or,
    e.XorOp: torch.bitwise_xor,
    e.ShlOp: torch.bitwise_left_shift,
    e.ShrOp: torch.bitwise_right_shift,
}
_DIVISION: dict[type[GraphOp], Callable[..., Any]] = {
    e.DivOp: lambda x, y: torch.div(x, y, rounding_mode="trunc"),
    e.RemOp: torch.fmod,
    e.ModOp: torch.remainder,
}
_DIVISION_OF_FLOATS = {**_DIVISION, e.DivOp: operator.truediv}


@runs(*_UNARY)
def unary(call: Call[e.UnaryOp]) -> Any:
    """Of any dtype."""
    return _UNARY[type(call.op)](call.x)


@runs(*_OF_FLOATS)
def unary_of_floats(call: Call[e.UnaryOp]) -> Any:
    """Torch would turn integers into floats."""
    return _OF_FLOATS[type(call.op)](call.x) if call.is_float else None


@runs(*_BINARY)
def binary(call: Call[e.BinaryOp]) -> Any:
    """Of two tensors."""
    return _BINARY[type(call.op)](*call.operands)


@runs(*_WITH_NUMBERS)
def binary_with_numbers(call: Call[e.BinaryOp]) -> Any:
    """Of tensors and numbers."""
    return _WITH_NUMBERS[type(call.op)](*_terms(call))


@runs(e.AddOp)
def add(call: Call[e.BinaryOp]) -> Any:
    """A bias goes to the layer before it."""
    fused = with_bias(call)
    return operator.add(*_terms(call)) if fused is None else fused


@runs(e.MulOp)
def multiply(call: Call[e.BinaryOp]) -> Any:
    """The product, or the activation that it ends."""
    fused = hard_swish(call)
    return operator.mul(*_terms(call)) if fused is None else fused


@runs(e.MaxOp, e.MinOp)
def extremum(call: Call[e.BinaryOp]) -> Any:
    """The larger or smaller; within limits where these are numbers."""
    fused = limited(call)
    function = torch.maximum if isinstance(call.op, e.MaxOp) else torch.minimum
    return function(*call.operands) if fused is None else fused


@runs(*_DIVISION)
def divide(call: Call[e.BinaryOp]) -> Any:
    """Torch refuses to divide integers by 0: they are divided by 1."""
    x, y = call.operands
    if call.is_float:
        return _DIVISION_OF_FLOATS[type(call.op)](x, y)
    function, divisor = _DIVISION[type(call.op)], constant_of(call.op.y)
    if divisor is not None and np.all(divisor):
        return function(x, y)
    is_zero = torch.eq(y, 0)
    result = function(x, torch.where(is_zero, 1, y))
    return torch.where(is_zero, 0, result) if isinstance(call.op, e.DivOp) else result


@runs(e.GeluOp)
def gelu(call: Call[e.GeluOp]) -> Any:
    """Exact, or by tanh."""
    return F.gelu(call.x, approximate="tanh" if call.op.approximate else "none")


@runs(e.CastOp)
def cast(call: Call[e.CastOp]) -> Any:
    """The conversion."""
    return call.x.to(torch_dtype(call.op.to))


@runs(e.BitcastOp)
def bitcast(call: Call[e.BitcastOp]) -> Any:
    """The bits."""
    return call.x.view(torch_dtype(call.op.to))


@runs(e.SelectOp)
def select(call: Call[e.SelectOp]) -> Any:
    """The choice, or the activation that it ends."""
    fused = leaky_relu(call)
    return torch.where(*call.operands) if fused is None else fused


def _terms(call: Call[e.BinaryOp]) -> list[Any]:
    """The operands, constants without dims as numbers; never two numbers."""
    terms = [_term(call, call.op.x), _term(call, call.op.y)]
    return terms if any(not isinstance(t, (bool, int, float)) for t in terms) else call.operands


def _term(call: Call[e.BinaryOp], value: SSAValue) -> Any:
    number = number_of(value)
    return call.recorder.value(value) if number is None or isinstance(number, bool) else number
