"""Importers of matrix products."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ...ir.ops.elementwise import AddOp, MulOp
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.shape import ReshapeOp, TransposeOp
from ...ir.types import type_of
from .registry import Node, importer


@importer("MatMul")
def matmul(node: Node) -> SSAValue:
    """Numpy's matmul: vectors become matrices and lose the extra dim in the end."""
    x, y = node.input(0), node.input(1)
    row, column = type_of(x).rank == 1, type_of(y).rank == 1
    if row:
        x = node.add(ReshapeOp.to(x, (1, *type_of(x).shape)))
    if column:
        y = node.add(ReshapeOp.to(y, (*type_of(y).shape, 1)))
    result = node.add(MatmulOp(x, y))
    shape = type_of(result).shape
    kept = shape[: -2 if row else -1] + (() if column else shape[-1:])
    return node.add(ReshapeOp.to(result, kept)) if row else _drop_column(node, result, column)


@importer("Gemm", since=7)
def gemm(node: Node) -> SSAValue:
    """``alpha * op(a) @ op(b) + beta * c``."""
    a = _transposed(node, 0, "transA")
    b = _transposed(node, 1, "transB")
    result = _scaled(node, node.add(MatmulOp(a, b)), node.attribute("alpha", 1.0))
    c = node.optional(2)
    if c is None:
        return result
    return node.add(AddOp(result, _scaled(node, c, node.attribute("beta", 1.0))))


def _drop_column(node: Node, result: SSAValue, column: bool) -> SSAValue:
    if not column:
        return result
    return node.add(ReshapeOp.to(result, type_of(result).shape[:-1]))


def _transposed(node: Node, index: int, attribute: str) -> SSAValue:
    value = node.input(index)
    return node.add(TransposeOp(value, perm=(1, 0))) if node.attribute(attribute, 0) else value


def _scaled(node: Node, value: SSAValue, factor: float) -> SSAValue:
    if factor == 1.0:
        return value
    return node.add(MulOp(value, node.constant(factor, type_of(value).dtype)))
