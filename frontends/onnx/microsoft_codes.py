"""Importers of ONNX Runtime's operators from codes to codes, as its quantizer writes them.

Each is the ordinary operator on what its operands stand for, quantized.
"""

from __future__ import annotations

from dataclasses import replace

import onnx
from xdsl.ir import SSAValue

from ...ir.ops import elementwise as e
from ...ir.types import type_of
from .matmul import product
from .microsoft import microsoft
from .node import Node
from .quant import dequantize_linear, dequantized, of_columns, quantize_linear, quantized
from .refusal import Refusal
from .registry import importer_of

# The version of ordinary operators whose attributes these have.
_OPSET = 13
_OPERANDS = {"QLinearAdd": 2, "QLinearMul": 2}
_ORDINARY = {
    name: name.removeprefix("QLinear")
    for name in (
        *("QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"),
        *("QLinearReduceMean", "QLinearAveragePool", "QLinearGlobalAveragePool"),
    )
}

microsoft("QuantizeLinear")(quantize_linear)
microsoft("DequantizeLinear")(dequantize_linear)


@microsoft(*_ORDINARY)
def quantized_operator(node: Node) -> SSAValue:
    """Operands with scale and zero point each, then those of the result."""
    if node.attribute("channels_last", 0):
        raise Refusal("channels that come last are not supported", "export channels first")
    name = node.proto.op_type
    count = _OPERANDS.get(name, 1)
    result = _ordinary(node, _ORDINARY[name], *(_decoded(node, 3 * k) for k in range(count)))
    return _encoded(node, result, 3 * count)


@microsoft("QLinearConcat")
def quantized_concat(node: Node) -> SSAValue:
    """Scale and zero point of the result come first."""
    parts = [_decoded(node, k) for k in range(2, len(node.inputs), 3)]
    return _encoded(node, _ordinary(node, "Concat", *parts), 0)


@microsoft("QLinearWhere")
def quantized_choice(node: Node) -> SSAValue:
    """A choice by element."""
    sides = _decoded(node, 1), _decoded(node, 4)
    return _encoded(node, _ordinary(node, "Where", node.input(0), *sides), 7)


@microsoft("QGemm")
def quantized_gemm(node: Node) -> SSAValue:
    """``alpha * (op(a) @ op(b) + c)``; c is in units of both scales. Floats without a scale."""
    a, b = (_turned(node, k, name) for k, name in ((0, "transA"), (3, "transB")))
    scale, zero = (of_columns(node, node.input(k), 2) for k in (4, 5))
    result = product(
        node,
        dequantized(node, a, node.input(1), node.input(2)),
        dequantized(node, b, scale, zero),
    )
    units, bias = node.add(e.MulOp(node.input(1), node.input(4))), node.optional(6)
    if bias is not None:
        bias = node.cast(bias, type_of(units).dtype)
        result = node.add(e.AddOp(result, node.add(e.MulOp(bias, units))))
    alpha = node.attribute("alpha", 1.0)
    if alpha != 1.0:
        result = node.add(e.MulOp(result, node.constant(alpha, type_of(result).dtype)))
    return result if node.optional(7) is None else _encoded(node, result, 7)


@microsoft("MatMulIntegerToFloat")
def integer_matmul_to_float(node: Node) -> SSAValue:
    """The product of integers times both scales, and a bias."""
    a = dequantized(node, node.input(0), node.input(2), node.optional(4))
    b_scale, b_zero = node.input(3), node.optional(5)
    rank = node.type(1).rank
    scale = of_columns(node, b_scale, rank)
    zero = None if b_zero is None else of_columns(node, b_zero, rank)
    result = product(node, a, dequantized(node, node.input(1), scale, zero))
    bias = node.optional(6)
    return result if bias is None else node.add(e.AddOp(result, bias))


def _ordinary(node: Node, name: str, *operands: SSAValue) -> SSAValue:
    """What the importer of an ordinary operator makes of other operands."""
    ordinary = importer_of("", name, _OPSET)
    assert ordinary is not None
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    proto.op_type = name
    result = ordinary(replace(node, proto=proto, inputs=operands, opset=_OPSET))
    assert isinstance(result, SSAValue)
    return result


def _decoded(node: Node, index: int) -> SSAValue:
    """What an operand stands for; its scale and zero point follow it."""
    return dequantized(node, node.input(index), node.input(index + 1), node.optional(index + 2))


def _encoded(node: Node, result: SSAValue, index: int) -> SSAValue:
    """By the scale that is operand ``index``, and the zero point that follows it."""
    zero, first = node.optional(index + 1), node.type(2 if index == 0 else 0)
    dtype = first.dtype if zero is None else type_of(zero).dtype
    return quantized(node, result, node.input(index), zero, dtype)


def _turned(node: Node, index: int, attribute: str) -> SSAValue:
    value = node.input(index)
    return node.transpose(value, (1, 0)) if node.attribute(attribute, 0) else value
