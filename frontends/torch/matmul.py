"""Importers of matrix products."""

from __future__ import annotations

import torch
from xdsl.ir import SSAValue

from ...ir.ops.elementwise import AddOp, MulOp
from ...ir.ops.matmul import MatmulOp
from ...ir.types import type_of
from .registry import Node, importer

aten = torch.ops.aten


@importer(aten.matmul, aten.mm, aten.bmm, aten.mv, aten.dot, aten._int_mm)
def matmul(node: Node) -> SSAValue:
    """Vectors become matrices and lose the extra dim in the end."""
    x, y = (node.cast(v, node.result.dtype) for v in list(node.arguments.values())[:2])
    if type_of(x).rank == 1:
        x = node.reshape(x, (1, *type_of(x).shape))
    if type_of(y).rank == 1:
        y = node.reshape(y, (*type_of(y).shape, 1))
    return node.reshape(node.add(MatmulOp(x, y)), node.result.shape)


@importer(aten.linear)
def linear(node: Node) -> SSAValue:
    """``input @ transpose(weight) + bias``; a vector is a matrix of one row."""
    x, weight, bias = node.input("input"), node.input("weight"), node.optional("bias")
    if type_of(x).rank == 1:
        x = node.reshape(x, (1, *type_of(x).shape))
    if type_of(weight).rank == 1:
        weight = node.reshape(weight, (1, *type_of(weight).shape))
    result = node.add(MatmulOp(x, node.transpose(weight, (1, 0))))
    result = node.reshape(result, node.result.shape)
    return result if bias is None else node.add(AddOp(result, bias))


@importer(aten.addmm, aten.addmv, aten.baddbmm)
def addmm(node: Node) -> SSAValue:
    """``beta * self + alpha * (x @ y)``."""
    added, x, y = list(node.arguments.values())[:3]
    if type_of(y).rank == 1:
        y = node.reshape(y, (*type_of(y).shape, 1))
    product = node.reshape(node.add(MatmulOp(x, y)), node.result.shape)
    result = _scaled(node, product, "alpha")
    if node.arg("beta", 1) == 0:
        return result
    return node.add(AddOp(result, _scaled(node, added, "beta")))


def _scaled(node: Node, value: SSAValue, name: str) -> SSAValue:
    factor = node.arg(name, 1)
    if factor == 1:
        return value
    return node.add(MulOp(value, node.operand(factor, type_of(value).dtype)))
