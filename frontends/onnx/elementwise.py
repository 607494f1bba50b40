"""Importers of elementwise operators."""

from __future__ import annotations

from functools import reduce

import ml_dtypes
import numpy as np
from xdsl.ir import SSAValue

from ...ir.op import GraphOp
from ...ir.ops import elementwise as e
from ...ir.types import BOOL, DTYPE_NAMES, DTYPES, F32, is_float, type_of
from .dtypes import dtype_of
from .node import Node
from .refusal import Refusal
from .registry import importer

_UNARY: dict[str, type[GraphOp]] = {
    "Abs": e.AbsOp,
    "Acos": e.AcosOp,
    "Acosh": e.AcoshOp,
    "Asin": e.AsinOp,
    "Asinh": e.AsinhOp,
    "Atan": e.AtanOp,
    "Atanh": e.AtanhOp,
    "BitwiseNot": e.NotOp,
    "Ceil": e.CeilOp,
    "Cos": e.CosOp,
    "Cosh": e.CoshOp,
    "Erf": e.ErfOp,
    "Exp": e.ExpOp,
    "Floor": e.FloorOp,
    "IsNaN": e.IsnanOp,
    "Log": e.LogOp,
    "Neg": e.NegOp,
    "Not": e.NotOp,
    "Relu": e.ReluOp,
    "Round": e.RoundOp,
    "Sigmoid": e.SigmoidOp,
    "Sign": e.SignOp,
    "Sin": e.SinOp,
    "Sinh": e.SinhOp,
    "Sqrt": e.SqrtOp,
    "Tan": e.TanOp,
    "Tanh": e.TanhOp,
}
_BINARY: dict[str, type[GraphOp]] = {
    "Add": e.AddOp,
    "And": e.AndOp,
    "BitwiseAnd": e.AndOp,
    "BitwiseOr": e.OrOp,
    "BitwiseXor": e.XorOp,
    "Div": e.DivOp,
    "Equal": e.EqOp,
    "Greater": e.GtOp,
    "GreaterOrEqual": e.GeOp,
    "Less": e.LtOp,
    "LessOrEqual": e.LeOp,
    "Mul": e.MulOp,
    "Or": e.OrOp,
    "Sub": e.SubOp,
    "Xor": e.XorOp,
}
_VARIADIC: dict[str, type[GraphOp]] = {"Sum": e.AddOp, "Max": e.MaxOp, "Min": e.MinOp}
_F64 = DTYPES["f64"]


@importer(*_UNARY)
def unary(node: Node) -> SSAValue:
    """One operand, no attributes."""
    return node.add(_UNARY[node.proto.op_type](node.input()))


@importer(*_BINARY, since=7)
def binary(node: Node) -> SSAValue:
    """Two operands, broadcast as in numpy since opset 7."""
    return node.add(_BINARY[node.proto.op_type](*node.matched(node.input(0), node.input(1))))


@importer(*_BINARY)
def aligned_binary(node: Node) -> SSAValue:
    """Before opset 7, the second operand is aligned at ``axis`` of the first."""
    return node.add(_BINARY[node.proto.op_type](node.input(0), _aligned(node)))


@importer(*_VARIADIC)
def variadic(node: Node) -> SSAValue:
    """Any number of operands, from left to right."""
    kind = _VARIADIC[node.proto.op_type]
    return reduce(lambda x, y: node.add(kind(x, y)), node.matched(*node.every()))


@importer("Mean")
def mean(node: Node) -> SSAValue:
    """The sum over the number of operands."""
    operands = node.every()
    total = reduce(lambda x, y: node.add(e.AddOp(x, y)), operands)
    return node.add(e.DivOp(total, node.constant(len(operands), node.type().dtype)))


@importer("Pow", since=7)
def power(node: Node) -> SSAValue:
    """The exponent may have another dtype; the result has the base's."""
    return _power(node, node.input(1))


@importer("Pow")
def aligned_power(node: Node) -> SSAValue:
    """As all binary operators before opset 7."""
    return _power(node, _aligned(node))


@importer("Mod")
def modulo(node: Node) -> SSAValue:
    """C's fmod with ``fmod=1``, else floored."""
    kind = e.RemOp if node.attribute("fmod", 0) else e.ModOp
    return node.add(kind(node.input(0), node.input(1)))


@importer("BitShift")
def bit_shift(node: Node) -> SSAValue:
    """By ``direction``."""
    kind = {"LEFT": e.ShlOp, "RIGHT": e.ShrOp}[node.required("direction")]
    return node.add(kind(node.input(0), node.input(1)))


@importer("Where")
def where(node: Node) -> SSAValue:
    """A choice by element."""
    return node.add(e.SelectOp(*node.matched(*(node.input(k) for k in range(3)))))


@importer("IsInf")
def is_infinite(node: Node) -> SSAValue:
    """Both infinities, or one of them."""
    x, dtype = node.input(), node.type().dtype
    if not node.attribute("detect_negative", 1):
        return node.add(e.EqOp(x, node.constant(np.inf, dtype)))
    if not node.attribute("detect_positive", 1):
        return node.add(e.EqOp(x, node.constant(-np.inf, dtype)))
    return node.add(e.IsinfOp(x))


@importer("Cast")
def cast(node: Node) -> SSAValue:
    """Another dtype."""
    return _converted(node, dtype_of(node.required("to")))


@importer("CastLike")
def cast_like(node: Node) -> SSAValue:
    """The dtype of the second operand."""
    return _converted(node, node.type(1).dtype)


@importer("BitCast")
def bit_cast(node: Node) -> SSAValue:
    """The bits read as another dtype."""
    dtype = dtype_of(node.required("to"))
    if BOOL in (dtype, node.type().dtype) or dtype == node.type().dtype:
        return node.cast(node.input(), dtype)
    return node.add(e.BitcastOp(node.input(), to=dtype))


@importer("Reciprocal")
def reciprocal(node: Node) -> SSAValue:
    """``1 / x``."""
    return node.add(e.DivOp(node.constant(1, node.type().dtype), node.input()))


@importer("Clip")
def clip_to_attributes(node: Node) -> SSAValue:
    """Bounds are attributes before opset 11."""
    lower, upper = node.attribute("min"), node.attribute("max")
    bounds = [None if b is None else node.constant(b, node.type().dtype) for b in (lower, upper)]
    return _clipped(node, *bounds)


@importer("Clip", since=11)
def clip(node: Node) -> SSAValue:
    """Bounds are optional operands since opset 11."""
    return _clipped(node, node.optional(1), node.optional(2))


def _clipped(node: Node, lower: SSAValue | None, upper: SSAValue | None) -> SSAValue:
    x = node.input()
    if lower is not None:
        x = node.add(e.MaxOp(x, lower))
    return x if upper is None else node.add(e.MinOp(x, upper))


def _aligned(node: Node) -> SSAValue:
    x, y = node.type(0), node.type(1)
    if not node.attribute("broadcast", 0) or y.rank == 0:
        return node.input(1)
    axis = node.axis(x.rank - y.rank, max(x.rank, 1))
    return node.reshape(node.input(1), (*y.shape, *(1,) * (x.rank - axis - y.rank)))


def _power(node: Node, exponent: SSAValue) -> SSAValue:
    """Powers of integers go through f64."""
    base, dtype = node.input(), node.type().dtype
    wide = dtype if is_float(dtype) else _F64
    result = node.add(e.PowOp(node.cast(base, wide), node.cast(exponent, wide)))
    return node.cast(result, dtype)


def _converted(node: Node, dtype: np.dtype) -> SSAValue:
    """Numbers too large for an 8-bit float become its largest one, unless ``saturate`` is 0."""
    x, source = node.input(), node.type().dtype
    saturates = DTYPE_NAMES[dtype].startswith("f8") and node.attribute("saturate", 1)
    if dtype == DTYPES["f8E8M0FNU"]:
        raise Refusal("rounding to powers of two (f8E8M0FNU) is not supported")
    if not saturates or source in (dtype, BOOL):
        return node.cast(x, dtype)
    largest = float(ml_dtypes.finfo(dtype).max)
    x = node.cast(x, F32) if source.itemsize < F32.itemsize or not is_float(source) else x
    wide = type_of(x).dtype
    x = node.add(e.MinOp(x, node.constant(largest, wide)))
    return node.cast(node.add(e.MaxOp(x, node.constant(-largest, wide))), dtype)
