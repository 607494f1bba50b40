"""Ops that apply factors one after the other, in the place of a layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from ...ir.ops.constant import ConstantOp
from ...ir.ops.conv import ConvOp
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.shape import ReshapeOp, TransposeOp
from ...ir.types import type_of
from ..rewrite import again
from .factors import balanced
from .layers import Layer


def in_sequence(layer: Layer, parts: Sequence[np.ndarray]) -> SSAValue:
    """Products by matrices, or convolutions: one part sees the window, the others one place."""
    value, wide = layer.input, _window(layer, parts)
    for number, part in enumerate(parts):
        weight = constant(layer, _as_weight(layer, part, number == wide))
        value = layer.add(_step(layer, value, weight, number == wide))
    return value


def along_a_train(layer: Layer, parts: Sequence[np.ndarray]) -> SSAValue:
    """A product by each of two cores, with half of the inputs and of the outputs at a time."""
    (i1, i2), (o1, o2) = balanced(layer.inputs), balanced(layer.outputs)
    rank = parts[1].shape[0] // i1
    rows = type_of(layer.input).shape[:-1]
    first, second = (constant(layer, part) for part in parts)
    value = layer.add(ReshapeOp.to(layer.input, (*rows, i1, i2)))
    value = layer.add(MatmulOp(value, first))
    value = layer.add(ReshapeOp.to(value, (*rows, i1, rank, o2)))
    value = layer.add(TransposeOp(value, perm=_moved(len(rows), 2, 0, 1)))
    value = layer.add(ReshapeOp.to(value, (*rows, o2, i1 * rank)))
    value = layer.add(MatmulOp(value, second))
    value = layer.add(TransposeOp(value, perm=_moved(len(rows), 1, 0)))
    return layer.add(ReshapeOp.to(value, (*rows, o1 * o2)))


def constant(layer: Layer, array: np.ndarray) -> SSAValue:
    """An array among the constants, of the dtype that the layer's weight has."""
    return layer.add(ConstantOp.of(array.astype(type_of(layer.op.operands[1]).dtype)))


def _window(layer: Layer, parts: Sequence[np.ndarray]) -> int:
    """Which part of a convolution sees the window: the first of two, the middle of three."""
    return len(parts) - 2 if isinstance(layer.op, ConvOp) else -1


def _as_weight(layer: Layer, part: np.ndarray, wide: bool) -> np.ndarray:
    kernel = layer.shape[:-2] if wide else (1,) * (len(layer.shape) - 2)
    outputs = part.shape[-1]
    return part.reshape(*kernel, -1, outputs)


def _step(layer: Layer, x: SSAValue, weight: SSAValue, wide: bool) -> MatmulOp | ConvOp:
    op = layer.op
    if not isinstance(op, ConvOp):
        return again(op, x, weight)
    if wide:
        return again(op, x, weight, groups=type_of(x).shape[-1] // type_of(weight).shape[-2])
    ones = (1,) * (len(layer.shape) - 2)
    return again(op, x, weight, strides=ones, dilations=ones, pads=(0,) * 2 * len(ones))


def _moved(rank: int, *order: int) -> tuple[int, ...]:
    """The last dims in another order."""
    return (*range(rank), *(rank + k for k in order))
