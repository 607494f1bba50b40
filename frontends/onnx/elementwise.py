"""Importers of elementwise operators."""

from __future__ import annotations

import numpy as np
import onnx
from xdsl.ir import SSAValue

from ...ir.op import GraphOp
from ...ir.ops import elementwise as e
from ...ir.types import DTYPE_NAMES, F32, is_float, type_of
from .registry import Node, Refusal, importer

_UNARY: dict[str, type[GraphOp]] = {
    "Round": e.RoundOp,
    "Relu": e.ReluOp,
    "Sigmoid": e.SigmoidOp,
    "IsNaN": e.IsnanOp,
    **{op.name[4:].title(): op for op in (e.NegOp, e.AbsOp, e.SignOp, e.ExpOp, e.LogOp, e.SqrtOp)},
    **{op.name[4:].title(): op for op in (e.SinOp, e.CosOp, e.TanOp, e.AsinOp, e.AcosOp, e.AtanOp)},
    **{op.name[4:].title(): op for op in (e.SinhOp, e.CoshOp, e.TanhOp, e.ErfOp, e.NotOp)},
    **{op.name[4:].title(): op for op in (e.AsinhOp, e.AcoshOp, e.AtanhOp, e.FloorOp, e.CeilOp)},
}
_BINARY: dict[str, type[GraphOp]] = {
    **{op.name[4:].title(): op for op in (e.AddOp, e.SubOp, e.MulOp, e.DivOp)},
    **{op.name[4:].title(): op for op in (e.AndOp, e.OrOp, e.XorOp)},
    "Equal": e.EqOp,
    "Less": e.LtOp,
    "LessOrEqual": e.LeOp,
    "Greater": e.GtOp,
    "GreaterOrEqual": e.GeOp,
    "BitwiseAnd": e.AndOp,
    "BitwiseOr": e.OrOp,
    "BitwiseXor": e.XorOp,
}
_VARIADIC: dict[str, type[GraphOp]] = {"Sum": e.AddOp, "Max": e.MaxOp, "Min": e.MinOp}


@importer(*_UNARY)
def unary(node: Node) -> SSAValue:
    """One operand, no attributes."""
    return node.add(_UNARY[node.proto.op_type](node.input(0)))


@importer(*_BINARY, since=7)
def binary(node: Node) -> SSAValue:
    """Two operands, broadcast as in numpy since opset 7."""
    return node.add(_BINARY[node.proto.op_type](node.input(0), node.input(1)))


@importer(*_VARIADIC, since=8)
def variadic(node: Node) -> SSAValue:
    """Any number of operands, from left to right."""
    total = node.input(0)
    for k in range(1, len(node.inputs)):
        total = node.add(_VARIADIC[node.proto.op_type](total, node.input(k)))
    return total


@importer("Pow", since=7)
def power(node: Node) -> SSAValue:
    """The exponent may have another dtype; the result has the base's."""
    base, exponent = node.input(0), node.input(1)
    dtype = node.type(0).dtype
    if not is_float(dtype):
        raise Refusal("powers of integers are not supported; cast the base to a float")
    if node.type(1).dtype != dtype:
        exponent = node.add(e.CastOp(exponent, to=dtype))
    return node.add(e.PowOp(base, exponent))


@importer("Mod")
def modulo(node: Node) -> SSAValue:
    """C's fmod with ``fmod=1``, else floored."""
    kind = e.RemOp if node.attribute("fmod", 0) else e.ModOp
    return node.add(kind(node.input(0), node.input(1)))


@importer("Where")
def where(node: Node) -> SSAValue:
    """A choice by element."""
    return node.add(e.SelectOp(node.input(0), node.input(1), node.input(2)))


@importer("Cast")
def cast(node: Node) -> SSAValue:
    """Another dtype."""
    code = node.attribute("to")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(code))
    if dtype not in DTYPE_NAMES:
        raise Refusal(f"cast to {onnx.TensorProto.DataType.Name(code)}")
    return node.add(e.CastOp(node.input(0), to=dtype))


@importer("Gelu")
def gelu(node: Node) -> SSAValue:
    """Exact, or by tanh."""
    approximate = node.attribute("approximate", "none") == "tanh"
    return node.add(e.GeluOp(node.input(0), approximate=approximate))


@importer("Reciprocal")
def reciprocal(node: Node) -> SSAValue:
    """``1 / x``."""
    return node.add(e.DivOp(node.constant(1, node.type().dtype), node.input(0)))


@importer("Clip", since=11)
def clip(node: Node) -> SSAValue:
    """Bounds are optional operands since opset 11."""
    x, lower, upper = node.input(0), node.optional(1), node.optional(2)
    if lower is not None:
        x = node.add(e.MaxOp(x, lower))
    return x if upper is None else node.add(e.MinOp(x, upper))


@importer("LeakyRelu")
def leaky_relu(node: Node) -> SSAValue:
    """``x`` where it is positive, else ``alpha * x``."""
    x, dtype = node.input(0), node.type().dtype
    scaled = node.add(e.MulOp(x, node.constant(node.attribute("alpha", 0.01), dtype)))
    positive = node.add(e.GeOp(x, node.constant(0, dtype)))
    return node.add(e.SelectOp(positive, x, scaled))


@importer("HardSigmoid")
def hard_sigmoid(node: Node) -> SSAValue:
    """``min(max(alpha * x + beta, 0), 1)``."""
    return _hard(node, node.attribute("alpha", 0.2), node.attribute("beta", 0.5))


@importer("HardSwish")
def hard_swish(node: Node) -> SSAValue:
    """``x * min(max(x / 6 + 0.5, 0), 1)``."""
    return node.add(e.MulOp(node.input(0), _hard(node, 1 / 6, 0.5)))


@importer("Softplus")
def softplus(node: Node) -> SSAValue:
    """``max(x, 0) + log(1 + exp(-abs(x)))``: the form that does not overflow."""
    x = node.input(0)
    dtype = type_of(x).dtype if is_float(type_of(x).dtype) else F32
    tail = node.add(e.ExpOp(node.add(e.NegOp(node.add(e.AbsOp(x))))))
    tail = node.add(e.LogOp(node.add(e.AddOp(tail, node.constant(1, dtype)))))
    return node.add(e.AddOp(node.add(e.ReluOp(x)), tail))


def _hard(node: Node, alpha: float, beta: float) -> SSAValue:
    x, dtype = node.input(0), node.type().dtype
    line = node.add(e.MulOp(x, node.constant(alpha, dtype)))
    line = node.add(e.AddOp(line, node.constant(beta, dtype)))
    return node.add(e.MinOp(node.add(e.ReluOp(line)), node.constant(1, dtype)))
