"""Importers of functions of numbers that the IR composes: powers, logarithms, inverse tangents."""

from __future__ import annotations

import math

import torch
from xdsl.ir import SSAValue

from ...ir.ops import elementwise as e
from ...ir.types import is_float, type_of
from .registry import Node, importer

aten = torch.ops.aten


@importer(aten.pow)
def power(node: Node) -> SSAValue:
    """Small whole exponents are products, and a half is a root: both are exact and fast."""
    base, exponent, dtype = node.arg("self"), node.arg("exponent"), node.result.dtype
    x = node.operand(base, dtype)
    if isinstance(exponent, (int, float)) and 1 <= exponent <= 4 and exponent == int(exponent):
        return _repeated(node, x, int(exponent))
    roots = {0.5: e.SqrtOp, -0.5: e.RsqrtOp}
    if isinstance(exponent, (int, float)) and exponent in roots and is_float(dtype):
        return node.add(roots[exponent](x))
    return node.add(e.PowOp(x, node.operand(exponent, dtype)))


@importer(aten.reciprocal)
def reciprocal(node: Node) -> SSAValue:
    """``1 / x``."""
    dtype = node.result.dtype
    return node.add(e.DivOp(node.constant(1, dtype), node.cast(node.input(), dtype)))


@importer(aten.log2, aten.log10)
def logarithm(node: Node) -> SSAValue:
    """The natural logarithm, scaled."""
    dtype, base = node.result.dtype, 2 if node.packet is aten.log2 else 10
    value = node.add(e.LogOp(node.cast(node.input(), dtype)))
    return node.add(e.MulOp(value, node.constant(1 / math.log(base), dtype)))


@importer(aten.exp2)
def exp2(node: Node) -> SSAValue:
    """``2 ** x``."""
    dtype = node.result.dtype
    return node.add(e.PowOp(node.constant(2, dtype), node.cast(node.input(), dtype)))


@importer(aten.expm1)
def expm1(node: Node) -> SSAValue:
    """``tanh(x / 2) * (exp(x) + 1)``: keeps its digits near 0."""
    dtype = node.result.dtype
    x = node.cast(node.input(), dtype)
    half = node.add(e.TanhOp(node.add(e.MulOp(x, node.constant(0.5, dtype)))))
    return node.add(e.MulOp(half, node.add(e.AddOp(node.add(e.ExpOp(x)), node.constant(1, dtype)))))


@importer(aten.log1p)
def log1p(node: Node) -> SSAValue:
    """``2 * atanh(x / (x + 2))`` near 0, where the definition loses its digits."""
    dtype = node.result.dtype
    x = node.cast(node.input(), dtype)
    shifted = node.add(e.AddOp(x, node.constant(2, dtype)))
    near = node.add(e.AtanhOp(node.add(e.DivOp(x, shifted))))
    near = node.add(e.AddOp(near, near))
    far = node.add(e.LogOp(node.add(e.AddOp(x, node.constant(1, dtype)))))
    small = node.add(e.LtOp(node.add(e.AbsOp(x)), node.constant(0.5, dtype)))
    return node.add(e.SelectOp(small, near, far))


@importer(aten.erfc)
def erfc(node: Node) -> SSAValue:
    """``1 - erf(x)``."""
    dtype = node.result.dtype
    value = node.add(e.ErfOp(node.cast(node.input(), dtype)))
    return node.add(e.SubOp(node.constant(1, dtype), value))


@importer(aten.atan2)
def atan2(node: Node) -> SSAValue:
    """``atan(y / x)``, moved by a half turn to the left half plane; 0 at the origin."""
    y, x = node.promoted()
    dtype = type_of(y).dtype
    zero, pi = node.constant(0, dtype), node.constant(math.pi, dtype)
    angle = node.add(e.AtanOp(node.add(e.DivOp(y, x))))
    turn = node.add(e.SelectOp(node.add(e.LtOp(y, zero)), node.add(e.NegOp(pi)), pi))
    moved = node.add(e.SelectOp(node.add(e.LtOp(x, zero)), node.add(e.AddOp(angle, turn)), angle))
    both = node.add(e.AndOp(node.add(e.EqOp(y, zero)), node.add(e.EqOp(x, zero))))
    return node.add(e.SelectOp(both, zero, moved))


@importer(aten.hypot)
def hypot(node: Node) -> SSAValue:
    """``sqrt(x * x + y * y)``."""
    squares = [node.add(e.MulOp(v, v)) for v in node.promoted()]
    return node.add(e.SqrtOp(node.add(e.AddOp(*squares))))


def _repeated(node: Node, x: SSAValue, count: int) -> SSAValue:
    if count == 4:
        square = node.add(e.MulOp(x, x))
        return node.add(e.MulOp(square, square))
    result = x
    for _ in range(count - 1):
        result = node.add(e.MulOp(result, x))
    return result
