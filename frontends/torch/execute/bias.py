"""Layers with their bias: one call of torch where the graph has a product and a sum."""

from __future__ import annotations

from typing import Any

from xdsl.ir import SSAValue

from ....ir.ops.conv import ConvOp, ConvTransposeOp
from ....ir.ops.elementwise import BinaryOp
from ....ir.ops.matmul import MatmulOp
from ....ir.types import type_of
from .conv import convolution
from .matmul import linear
from .registry import Call, constant_of, producer


def with_bias(call: Call[BinaryOp]) -> Any:
    """A product plus a vector that is a constant; None for other sums."""
    for product, bias in ((call.op.x, call.op.y), (call.op.y, call.op.x)):
        if _is_bias(bias, product):
            return _layer(call, product, bias)
    return None


def _layer(call: Call[BinaryOp], product: SSAValue, bias: SSAValue) -> Any:
    matmul = producer(product, MatmulOp)
    if matmul is not None:
        return linear(call.of(matmul), bias)
    conv = producer(product, ConvOp) or producer(product, ConvTransposeOp)
    return convolution(call.of(conv), bias) if conv is not None else None


def _is_bias(value: SSAValue, product: SSAValue) -> bool:
    """Whether it is one number for each of the last dim's elements."""
    shape = type_of(value).shape
    return constant_of(value) is not None and shape == type_of(product).shape[-1:]
