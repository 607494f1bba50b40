"""Importers of quantization, as PT2E and torchao leave it in exported programs.

Codes of 4 or 2 bits, which torch keeps in bytes, are constants of just those bits here.
"""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import Shape, ceildiv
from ...ir.ops.constant import ConstantOp
from ...ir.ops.elementwise import MaxOp, MinOp
from ...ir.ops.quant import DequantizeOp, QuantizeOp
from ...ir.types import DTYPES, F32, bit_width, is_signed, type_of
from .registry import Node, Refusal, importer

Blocks = tuple[int, ...] | None


@importer("quantized_decomposed::quantize_per_tensor")
def quantize_per_tensor(node: Node) -> SSAValue:
    """By one scale."""
    return _quantized(node, "scale", "zero_point", ())


@importer("quantized_decomposed::dequantize_per_tensor")
def dequantize_per_tensor(node: Node) -> SSAValue:
    """By one scale."""
    return _dequantized(node, "scale", "zero_point", ())


@importer("quantized_decomposed::quantize_per_channel")
def quantize_per_channel(node: Node) -> SSAValue:
    """By a scale for each index along ``axis``."""
    return _quantized(node, "scales", "zero_points", _along(node))


@importer("quantized_decomposed::dequantize_per_channel")
def dequantize_per_channel(node: Node) -> SSAValue:
    """By a scale for each index along ``axis``."""
    return _dequantized(node, "scales", "zero_points", _along(node))


@importer("quantized_decomposed::quantize_per_token")
def quantize_per_token(node: Node) -> SSAValue:
    """By a scale for each row."""
    return _quantized(node, "scales", "zero_points", (*node.type().shape[:-1], 1))


@importer("quantized_decomposed::dequantize_per_token")
def dequantize_per_token(node: Node) -> SSAValue:
    """By a scale for each row."""
    return _dequantized(node, "scales", "zero_points", (*node.type().shape[:-1], 1))


@importer("quantized_decomposed::dequantize_per_channel_group")
def dequantize_per_channel_group(node: Node) -> SSAValue:
    """By a scale for each group of neighbours in a row."""
    rows, columns = node.type().shape
    group = node.arg("group_size")
    shape = (rows, ceildiv(columns, group))
    return _dequantized(node, "scales", "zero_points", shape, (1, group))


@importer("torchao::quantize_affine")
def quantize_affine(node: Node) -> SSAValue:
    """By a scale for each block."""
    return _quantized(node, "scale", "zero_point", *_of_blocks(node))


@importer("torchao::dequantize_affine")
def dequantize_affine(node: Node) -> SSAValue:
    """By a scale for each block."""
    return _dequantized(node, "scale", "zero_point", *_of_blocks(node))


def _quantized(node: Node, scale: str, zero: str, shape: Shape, blocks: Blocks = None) -> SSAValue:
    dtype = node.result.dtype
    scales = node.reshape(node.operand(node.arg(scale), F32), shape)
    points = _points(node, zero, shape, dtype)
    codes = node.add(QuantizeOp(node.input(), scales, *points, to=dtype, blocks=blocks))
    low, high = _limits(node, dtype)
    info = np.iinfo(dtype)
    if low > info.min:
        codes = node.add(MaxOp(codes, node.constant(low, dtype)))
    return node.add(MinOp(codes, node.constant(high, dtype))) if high < info.max else codes


def _dequantized(
    node: Node, scale: str, zero: str, shape: Shape, blocks: Blocks = None
) -> SSAValue:
    codes = _narrowed(node)
    scales = node.reshape(_scale(node, scale), shape)
    points = _points(node, zero, shape, type_of(codes).dtype)
    return node.add(DequantizeOp(codes, scales, *points, blocks=blocks, to=node.result.dtype))


def _scale(node: Node, name: str) -> SSAValue:
    """In the dtype it has; in f32 where that is wider than what is decoded."""
    value = node.arg(name)
    kept = isinstance(value, SSAValue) and type_of(value).dtype != np.float64
    return value if kept else node.operand(value, F32)


def _narrowed(node: Node) -> SSAValue:
    """The codes; constants in the fewest bits that their limits leave."""
    value = node.input()
    dtype, owner = type_of(value).dtype, value.owner
    if not isinstance(owner, ConstantOp) or bit_width(dtype) != 8:
        return value
    low, high = _limits(node, dtype)
    for bits in (2, 4):
        reach = 1 << (bits - 1) if low < 0 else 0
        if low >= -reach and high < (1 << bits) - reach:
            narrow = DTYPES[f"{'i' if low < 0 else 'ui'}{bits}"]
            return node.constant(owner.value.array, narrow)
    return value


def _points(node: Node, name: str, shape: Shape, dtype: np.dtype) -> list[SSAValue]:
    """The zero points in the dtype of the codes; none where all are 0."""
    value = node.arg(name)
    if value is None:
        return []
    if isinstance(value, SSAValue) and not isinstance(value.owner, ConstantOp):
        return [node.reshape(node.cast(value, dtype), shape)]
    known = np.asarray(value.owner.value.array if isinstance(value, SSAValue) else value)
    if not known.any():
        return []
    bits = bit_width(dtype)
    least = -(1 << (bits - 1)) if is_signed(dtype) else 0
    if known.min() < least or known.max() >= least + (1 << bits):
        raise Refusal(f"zero points from {known.min()} to {known.max()} are no {dtype}")
    return [node.reshape(node.constant(known, dtype), shape)]


def _limits(node: Node, dtype: np.dtype) -> tuple[int, int]:
    """The least and the greatest code."""
    info = np.iinfo(dtype)
    limits = [node.arg(n, d) for n, d in (("quant_min", info.min), ("quant_max", info.max))]
    if any(isinstance(limit, SSAValue) for limit in limits):
        raise Refusal("limits of codes that are tensors are not supported")
    return int(limits[0]), int(limits[1])


def _along(node: Node) -> Shape:
    shape, axis = node.type().shape, node.axis("axis")
    return tuple(d if k == axis else 1 for k, d in enumerate(shape))


def _of_blocks(node: Node) -> tuple[Shape, Blocks]:
    """The shape of the scales, and the sizes of blocks."""
    if node.arg("zero_point_domain", "INT") not in ("INT", None):
        raise Refusal("zero points that are floats are not supported")
    shape, sizes = node.type().shape, node.arg("block_size")
    counts = tuple(ceildiv(d, b) for d, b in zip(shape, sizes, strict=True))
    plain = all(isinstance(b, int) for b in sizes)
    return counts, tuple(sizes) if plain else None
