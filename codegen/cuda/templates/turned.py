"""Weights of bytes lie along the depth, as tensor cores take them; others lie as they are given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from xdsl.ir import BlockArgument

from ....ir.ops.constant import ConstantOp
from ....ir.scalar import Scalar, load, replaced
from ....ir.types import BOOL, bit_width, tensor
from ..frame import Buffer, Packing
from .factors import Product
from .rooted import Rooted

_BYTE = 8


def along_depth(rooted: Rooted, product: Product) -> Product:
    """The product, with a right factor that is a weight of bytes laid out along the depth."""
    node = product.right.node
    if not _is_weight_of_bytes(rooted, node) or not _reads_by_columns(product, node):
        return product
    frame, number = rooted.frame, node.attr
    name, shape, dtype = frame.buffers[number].name, frame.buffers[number].shape, node.dtype
    frame.pack(number, Packing("turned", tensor(shape[::-1], dtype), _turned))
    frame.buffers[number] = Buffer(name, shape[::-1], dtype)
    turned = load(number, node.args[::-1], dtype)
    rooted.body = replaced(rooted.body, number, turned)
    return replace(product, right=replace(product.right, node=turned))


def _is_weight_of_bytes(rooted: Rooted, node: Scalar) -> bool:
    kernel = rooted.frame.kernel
    if node.op != "load" or node.dtype == BOOL or bit_width(node.dtype) != _BYTE:
        return False
    argument = kernel.block.args[node.attr] if node.attr < len(kernel.block.args) else None
    alone = isinstance(argument, BlockArgument) and argument.has_one_use()
    return alone and isinstance(kernel.inputs[node.attr].owner, ConstantOp)


def _reads_by_columns(product: Product, node: Scalar) -> bool:
    """Whether a matrix is read at a depth and a column."""
    axes = [i.attr for i in node.args if i.op == "axis"]
    return len(node.args) == 2 and axes == [*product.depth, *product.columns]


def _turned(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.T)
