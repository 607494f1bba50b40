"""Importers of matrix products."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ...ir.ops.elementwise import AddOp, MulOp
from ...ir.ops.matmul import MatmulOp
from ...ir.types import type_of
from .registry import Node, importer


@importer("MatMul")
def matmul(node: Node) -> SSAValue:
    """Numpy's matmul."""
    return product(node, node.input(0), node.input(1))


@importer("Gemm")
def gemm(node: Node) -> SSAValue:
    """``alpha * op(a) @ op(b) + beta * c``."""
    a = _transposed(node, 0, "transA")
    b = _transposed(node, 1, "transB")
    result = _scaled(node, node.add(MatmulOp(a, b)), node.attribute("alpha", 1.0))
    c = node.optional(2)
    if c is None:
        return result
    return node.add(AddOp(result, _scaled(node, c, node.attribute("beta", 1.0))))


def product(node: Node, x: SSAValue, y: SSAValue) -> SSAValue:
    """Numpy's matmul: vectors become matrices and lose the extra dim in the end."""
    row, column = type_of(x).rank == 1, type_of(y).rank == 1
    if row:
        x = node.reshape(x, (1, *type_of(x).shape))
    if column:
        y = node.reshape(y, (*type_of(y).shape, 1))
    result = node.add(MatmulOp(x, y))
    shape = type_of(result).shape
    if row:
        shape = (*shape[:-2], shape[-1])
    return node.reshape(result, shape[:-1] if column else shape)


def _transposed(node: Node, index: int, attribute: str) -> SSAValue:
    value = node.input(index)
    return node.transpose(value, (1, 0)) if node.attribute(attribute, 0) else value


def _scaled(node: Node, value: SSAValue, factor: float) -> SSAValue:
    dtype = type_of(value).dtype
    return value if factor == 1.0 else node.add(MulOp(value, node.constant(factor, dtype)))
