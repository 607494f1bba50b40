"""Importers of ONNX Runtime's operators on weights of few bits in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from xdsl.ir import SSAValue

from ...ir.errors import InvalidModelError
from ...ir.ops import elementwise as e
from ...ir.ops.index import GatherOp
from ...ir.ops.quant import DequantizeOp
from ...ir.types import DTYPES, bit_width, is_float, type_of
from .matmul import product
from .microsoft import microsoft
from .node import Node
from .refusal import Refusal

_CODES = {bits: DTYPES[f"ui{bits}"] for bits in (2, 4, 8)}


@microsoft("MatMulNBits")
def matmul_of_codes(node: Node) -> SSAValue:
    """By a matrix in blocks along the inner dim.

    How exactly activations are to be taken at least, ``accuracy_level``, is always exceeded.
    """
    depth, columns = node.required("K"), node.required("N")
    dtype, block = _codes(node), node.required("block_size")
    packed, blocks = _constant(node, 1), -(-depth // block)
    if packed.size != columns * blocks * block * node.attribute("bits", 4) // 8:
        raise InvalidModelError(
            f"node '{node.source}': packed weights of shape {packed.shape} are not "
            f"{columns} columns of {blocks} blocks of {block}"
        )
    _check_order(node, depth, block)
    codes = _unpacked(packed.reshape(columns, -1), dtype)[:, :depth]
    scale = node.transpose(node.reshape(node.input(2), (columns, blocks)), (1, 0))
    points = np.ascontiguousarray(_points(node, columns, blocks, dtype).T)
    weight = node.constant(np.ascontiguousarray(codes.T), dtype)
    op = DequantizeOp(weight, scale, node.constant(points, dtype), blocks=(block, 1))
    result, bias = product(node, node.input(0), node.add(op)), node.optional(5)
    return result if bias is None else node.add(e.AddOp(result, bias))


@microsoft("GatherBlockQuantized")
def gather_of_codes(node: Node) -> SSAValue:
    """Slices of a tensor in blocks along one dim."""
    data = type_of(node.input(0))
    if is_float(data.dtype):
        raise Refusal(f"data of {data.dtype} is not supported; integers are")
    codes, block, zeros = node.input(0), node.attribute("block_size", 128), node.optional(3)
    if data.dtype == np.uint8:
        codes, zeros = _unpacked_table(node)
    rank = type_of(codes).rank
    axis = node.counted(node.attribute("quantize_axis", 1), rank)
    blocks = tuple(block if k == axis else 1 for k in range(rank))
    points = [] if zeros is None else [zeros]
    table = node.add(DequantizeOp(codes, node.input(2), *points, blocks=blocks))
    gathered = node.counted(node.attribute("gather_axis", 0), rank)
    return node.add(GatherOp(table, node.input(1), axis=gathered))


def _unpacked_table(node: Node) -> tuple[SSAValue, SSAValue]:
    """The codes that lie in bytes, and their zero points."""
    dtype, packed, zeros = _codes(node), _constant(node, 0), node.known(3)
    codes = _unpacked(packed, dtype)
    shape = type_of(node.input(2)).shape
    last = shape[-1] if isinstance(shape[-1], int) else 0
    points = _unpacked(zeros, dtype)[..., :last] if zeros is not None else _middle(shape, dtype)
    return node.constant(codes, dtype), node.constant(points, dtype)


def _codes(node: Node) -> np.dtype:
    bits = node.attribute("bits", 4)
    if bits not in _CODES:
        raise Refusal(f"weights of {bits} bits are not supported; 2, 4 and 8 are")
    if node.attribute("weight_prepacked", 0):
        raise Refusal("weights that are packed for one GPU cannot be read")
    return _CODES[bits]


def _constant(node: Node, index: int) -> np.ndarray:
    array = node.known(index)
    if array is None:
        raise InvalidModelError(f"node '{node.source}' lacks its input {index}")
    return array


def _check_order(node: Node, depth: int, block: int) -> None:
    """Whether each block is of neighbours; ``g_idx`` may say otherwise."""
    groups = node.known(4)
    if groups is not None and not np.array_equal(groups, np.arange(depth) // block):
        raise Refusal("g_idx that is not in order is not supported", "reorder the inputs (K)")


def _points(node: Node, columns: int, blocks: int, dtype: np.dtype) -> np.ndarray:
    zeros = node.known(3)
    if zeros is None:
        return _middle((columns, blocks), dtype)
    if zeros.dtype == np.uint8:
        return _unpacked(zeros.reshape(columns, -1), dtype)[:, :blocks]
    floats = zeros.astype(np.float32).reshape(columns, blocks)
    if not np.array_equal(floats, np.clip(np.rint(floats), 0, _greatest(dtype))):
        raise Refusal("zero points that are no codes are not supported")
    return floats


def _middle(shape: Sequence[Any], dtype: np.dtype) -> np.ndarray:
    """The zero point where none is given."""
    return np.full(shape, _greatest(dtype) // 2 + 1, np.uint8)


def _greatest(dtype: np.dtype) -> int:
    return (1 << bit_width(dtype)) - 1


def _unpacked(packed: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Codes that lie in bytes along the last dim, the first in the lowest bits."""
    bits = bit_width(dtype)
    parts = [packed >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)]
    return np.stack(parts, -1).reshape(*packed.shape[:-1], -1)
