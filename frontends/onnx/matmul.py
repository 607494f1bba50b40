"""Importers of matrix products."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ...ir.ops.elementwise import AddOp, MulOp, SubOp
from ...ir.ops.matmul import MatmulOp
from ...ir.types import type_of
from .node import Node
from .refusal import Refusal
from .registry import importer
from .shape import cut

_DETERMINANT_LIMIT = 4


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


@importer("Det")
def determinant(node: Node) -> SSAValue:
    """Of small matrices, by expansion along rows."""
    size = node.type().shape[-1]
    if not isinstance(size, int) or size > _DETERMINANT_LIMIT:
        limit = _DETERMINANT_LIMIT
        raise Refusal(f"determinants of more than {limit} rows are not supported, this has {size}")
    outer = node.type().shape[:-2]
    rows = node.reshape(node.input(), (*outer, size * size))
    entries = [
        node.reshape(cut(node, rows, len(outer), k, k + 1), outer) for k in range(size * size)
    ]
    matrix = [entries[k * size : (k + 1) * size] for k in range(size)]
    return _expansion(node, matrix) if matrix else node.constant(1, node.type().dtype)


def _expansion(node: Node, rows: list[list[SSAValue]]) -> SSAValue:
    first, *rest = rows
    if not rest:
        return first[0]
    total = None
    for k, entry in enumerate(first):
        minor = _expansion(node, [[*row[:k], *row[k + 1 :]] for row in rest])
        term = node.add(MulOp(entry, minor))
        total = term if total is None else node.add((SubOp if k % 2 else AddOp)(total, term))
    return first[0] if total is None else total


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
