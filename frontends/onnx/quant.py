"""Importers of quantization; products of quantized tensors are products of what they stand for."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ...ir.errors import InvalidModelError
from ...ir.ops import elementwise as e
from ...ir.ops.quant import DequantizeOp, QuantizeOp
from ...ir.types import DTYPES, I32, is_float, type_of
from .conv import convolved, of_channels
from .dtypes import dtype_of
from .matmul import product
from .node import Node
from .registry import importer

_UI8 = DTYPES["ui8"]


@importer("QuantizeLinear")
def quantize_linear(node: Node) -> SSAValue:
    """To the dtype of the zero point, or the one that is asked for, or ui8."""
    zero, code = node.optional(2), node.attribute("output_dtype", 0)
    dtype = dtype_of(code) if code else _UI8 if zero is None else type_of(zero).dtype
    return quantized(node, node.input(0), node.input(1), zero, dtype)


@importer("DequantizeLinear")
def dequantize_linear(node: Node) -> SSAValue:
    """To the dtype of the scale, or the one that is asked for."""
    code = node.attribute("output_dtype", 0)
    result = dequantized(node, node.input(0), node.input(1), node.optional(2))
    return node.cast(result, dtype_of(code)) if code else result


@importer("QLinearMatMul")
def quantized_matmul(node: Node) -> SSAValue:
    """The product of what the operands stand for, quantized."""
    a, a_scale, a_zero, b, b_scale, b_zero, scale, zero = (node.input(k) for k in range(8))
    x = dequantized(node, a, *(_rows(node, v, type_of(a).rank) for v in (a_scale, a_zero)))
    y = dequantized(node, b, *(of_columns(node, v, type_of(b).rank) for v in (b_scale, b_zero)))
    result = product(node, x, y)
    rank = type_of(result).rank
    scale, zero = (_rows(node, v, rank) for v in (scale, zero))
    return quantized(node, result, scale, zero, type_of(zero).dtype)


@importer("QLinearConv")
def quantized_conv(node: Node) -> SSAValue:
    """The convolution of what the operands stand for, quantized."""
    x, x_scale, x_zero, w, w_scale, w_zero, scale, zero = (node.input(k) for k in range(8))
    rank, bias = type_of(x).rank, node.optional(8)
    w_scale, w_zero = (_filters(node, v, rank) for v in (w_scale, w_zero))
    image = dequantized(node, x, x_scale, x_zero)
    result = convolved(node, image, dequantized(node, w, w_scale, w_zero))
    if bias is not None:
        factor = node.add(e.MulOp(_scalar(node, x_scale), _flat(node, w_scale)))
        bias = node.add(e.MulOp(node.cast(bias, type_of(factor).dtype), factor))
        result = node.add(e.AddOp(result, of_channels(node, bias, rank)))
    return quantized(node, result, scale, zero, type_of(zero).dtype)


@importer("MatMulInteger")
def integer_matmul(node: Node) -> SSAValue:
    """The product, in i32, of operands without their zero points."""
    a, b = node.input(0), node.input(1)
    a_zero, b_zero = node.optional(2), node.optional(3)
    a_zero = None if a_zero is None else _rows(node, a_zero, type_of(a).rank)
    b_zero = None if b_zero is None else of_columns(node, b_zero, type_of(b).rank)
    return product(node, _centred(node, a, a_zero), _centred(node, b, b_zero))


@importer("ConvInteger")
def integer_conv(node: Node) -> SSAValue:
    """The convolution, in i32, of operands without their zero points."""
    x, w = node.input(0), node.input(1)
    x_zero, w_zero = node.optional(2), node.optional(3)
    x_zero = None if x_zero is None else _scalar(node, x_zero)
    w_zero = None if w_zero is None else _filters(node, w_zero, type_of(w).rank)
    return convolved(node, _centred(node, x, x_zero), _centred(node, w, w_zero))


def quantized(
    node: Node, x: SSAValue, scale: SSAValue, zero: SSAValue | None, dtype: np.dtype
) -> SSAValue:
    """A tensor in a dtype of few bits."""
    scale, zero, blocks = _granularity(node, x, scale, zero)
    points = [] if zero is None or is_float(dtype) else [zero]
    saturates = bool(node.attribute("saturate", 1))
    return node.add(QuantizeOp(x, scale, *points, blocks=blocks, to=dtype, saturate=saturates))


def dequantized(node: Node, x: SSAValue, scale: SSAValue, zero: SSAValue | None) -> SSAValue:
    """What a quantized tensor stands for."""
    scale, zero, blocks = _granularity(node, x, scale, zero)
    points = [] if zero is None or is_float(type_of(x).dtype) else [zero]
    return node.add(DequantizeOp(x, scale, *points, blocks=blocks))


def _granularity(
    node: Node, x: SSAValue, scale: SSAValue, zero: SSAValue | None
) -> tuple[SSAValue, SSAValue | None, tuple[int, ...] | None]:
    """Scale and zero point as the ops take them: a scalar, or of the rank of x."""
    rank, given = type_of(x).rank, type_of(scale)
    if zero is not None and type_of(zero).size == 1:
        zero = node.broadcast(_scalar(node, zero), given.shape)
    if given.size == 1:
        return _scalar(node, scale), None if zero is None else _scalar(node, zero), None
    axis = node.counted(node.attribute("axis", 1), rank)
    if given.rank == rank:
        size = node.attribute("block_size", 0)
        blocks = tuple(size if k == axis else 1 for k in range(rank)) if size else None
        return scale, zero, blocks
    if given.rank != 1:
        raise InvalidModelError(f"node '{node.source}': a scale {given} for {type_of(x)}")
    shape = (*(1,) * axis, *given.shape, *(1,) * (rank - axis - 1))
    return node.reshape(scale, shape), None if zero is None else node.reshape(zero, shape), None


def _centred(node: Node, x: SSAValue, zero: SSAValue | None) -> SSAValue:
    wide = node.cast(x, I32)
    return wide if zero is None else node.add(e.SubOp(wide, node.cast(zero, I32)))


def _rows(node: Node, value: SSAValue, rank: int) -> SSAValue:
    """One number a row, to be broadcast with matrices; a scalar stays one."""
    type = type_of(value)
    if type.size == 1 or type.rank != 1:
        return value
    return node.reshape(value, (*(1,) * (rank - 2), *type.shape, 1))


def of_columns(node: Node, value: SSAValue, rank: int) -> SSAValue:
    """One number a column, to be broadcast with matrices; a scalar stays one."""
    type = type_of(value)
    if type.size == 1 or type.rank != 1:
        return value
    return node.reshape(value, (*(1,) * (rank - 1), *type.shape))


def _filters(node: Node, value: SSAValue, rank: int) -> SSAValue:
    """One number a filter, to be broadcast with ``[O, C, *kernel]``; a scalar stays one."""
    type = type_of(value)
    return value if type.size == 1 else node.reshape(value, (*type.shape, *(1,) * (rank - 1)))


def _scalar(node: Node, value: SSAValue) -> SSAValue:
    return node.reshape(value, ())


def _flat(node: Node, value: SSAValue) -> SSAValue:
    return node.reshape(value, (type_of(value).size,))
