"""Importers of operators that make tensors: of one value, or of counted ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from xdsl.ir import SSAValue

from ...ir.ops import elementwise as e
from .registry import Node, Refusal, importer

aten = torch.ops.aten

_FILL: dict[Any, float] = {
    **dict.fromkeys((aten.zeros, aten.zeros_like, aten.new_zeros), 0),
    **dict.fromkeys((aten.ones, aten.ones_like, aten.new_ones), 1),
    **dict.fromkeys((aten.empty, aten.empty_like, aten.new_empty), 0),
    **dict.fromkeys((aten.empty_strided, aten.new_empty_strided, aten.empty_permuted), 0),
}


@importer(*_FILL)
def fill(node: Node) -> SSAValue:
    """Zeros or ones; what torch leaves unset is zero."""
    return _filled(node, _FILL[node.packet])


@importer(aten.full, aten.full_like, aten.new_full, aten.fill, aten.scalar_tensor)
def full(node: Node) -> SSAValue:
    """One value."""
    name = next(n for n in ("fill_value", "value", "s") if n in node.arguments)
    return _filled(node, node.arg(name))


@importer(aten.arange)
def arange(node: Node) -> SSAValue:
    """From ``start`` in steps of ``step``; the sizes may be symbolic."""
    start, step, dtype = node.arg("start", 0), node.arg("step", 1), node.result.dtype
    (count,) = node.result.shape
    if not isinstance(start, float) and not isinstance(step, float):
        return node.cast(node.counted(count, start, step), dtype)
    steps = node.cast(node.counted(count), dtype)
    steps = node.add(e.MulOp(steps, node.operand(step, dtype)))
    return node.add(e.AddOp(steps, node.operand(start, dtype)))


@importer(aten.linspace)
def linspace(node: Node) -> SSAValue:
    """Equal steps with both ends."""
    start, end, (count,) = node.arg("start"), node.arg("end"), node.result.shape
    if not _are_numbers(start, end) or not isinstance(count, int):
        raise Refusal("the ends and the number of steps must be constants")
    return node.constant(np.linspace(start, end, count), node.result.dtype)


@importer(aten.eye)
def eye(node: Node) -> SSAValue:
    """Ones where the row is the column."""
    rows, columns = node.result.shape
    row = node.reshape(node.counted(rows), (rows, 1))
    return node.cast(node.add(e.EqOp(row, node.counted(columns))), node.result.dtype)


def _filled(node: Node, value: Any) -> SSAValue:
    scalar = node.operand(value, node.result.dtype)
    return node.broadcast(scalar, node.result.shape)


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(v, (int, float)) for v in values)
