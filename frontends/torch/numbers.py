"""Importers of Python's arithmetic on sizes where its result is a float."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from xdsl.ir import SSAValue

from ...ir.ops import elementwise as e
from ...ir.types import DTYPES
from .registry import Node, importer

_F64 = DTYPES["f64"]
_BINARY: dict[Callable[..., Any], Callable[..., Any]] = {
    operator.add: e.AddOp,
    operator.sub: e.SubOp,
    operator.mul: e.MulOp,
    operator.truediv: e.DivOp,
    operator.pow: e.PowOp,
}


@importer(*_BINARY)
def binary(node: Node) -> SSAValue:
    """In double precision, as Python computes."""
    x, y = (node.operand(value, _F64) for value in node.arg("args"))
    return node.add(_BINARY[node.packet](x, y))


@importer(operator.neg)
def negative(node: Node) -> SSAValue:
    """``-x``."""
    return node.add(e.NegOp(node.operand(node.arg("args")[0], _F64)))


@importer(torch.sym_float)
def to_float(node: Node) -> SSAValue:
    """The size as a float."""
    return node.operand(node.arg("args")[0], _F64)


@importer(torch.sym_sqrt)
def square_root(node: Node) -> SSAValue:
    """The root."""
    return node.add(e.SqrtOp(node.operand(node.arg("args")[0], _F64)))
