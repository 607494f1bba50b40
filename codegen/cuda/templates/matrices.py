"""Products with a matrix that is constant, which may be laid out for a kernel.

Weights of bytes lie along the depth, as tensor cores take them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ....ir.ops.constant import ConstantOp
from ....ir.scalar import load, replaced
from ....ir.types import BOOL, bit_width, tensor
from ..frame import Buffer, Packing
from .factors import Product
from .rooted import Rooted

_BYTE = 8


def constant_matrix(rooted: Rooted, product: Product) -> int | None:
    """The number of the operand that is the right factor, if that is a constant matrix.

    It is read at a depth and a column, as it lies, and by nobody else.
    """
    node, kernel = product.right.node, rooted.frame.kernel
    if node.op != "load" or node.attr >= len(kernel.inputs):
        return None
    axes = [i.attr for i in node.args if i.op == "axis"]
    if len(node.args) != 2 or axes != [*product.depth, *product.columns]:
        return None
    alone = kernel.block.args[node.attr].has_one_use()
    return node.attr if alone and isinstance(kernel.inputs[node.attr].owner, ConstantOp) else None


def along_depth(rooted: Rooted, product: Product) -> Product:
    """The product, with a right factor that is a weight of bytes laid out along the depth."""
    node, number = product.right.node, constant_matrix(rooted, product)
    if number is None or node.dtype == BOOL or bit_width(node.dtype) != _BYTE:
        return product
    frame = rooted.frame
    name, shape = frame.buffers[number].name, frame.buffers[number].shape
    frame.pack(number, Packing("turned", tensor(shape[::-1], node.dtype), _turned))
    frame.buffers[number] = Buffer(name, shape[::-1], node.dtype)
    turned = load(number, node.args[::-1], node.dtype)
    rooted.body = replaced(rooted.body, number, turned)
    return replace(product, right=replace(product.right, node=turned))


def _turned(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.T)
