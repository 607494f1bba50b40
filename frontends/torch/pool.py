"""Importers of pools with a kernel."""

from __future__ import annotations

import math

import torch
from xdsl.ir import SSAValue

from ...ir.ops.elementwise import MulOp
from ...ir.ops.pool import ArgMaxPoolOp, AvgPoolOp, MaxPoolOp
from .registry import Node, importer
from .window import window_of

aten = torch.ops.aten


@importer(aten.max_pool1d, aten.max_pool2d, aten.max_pool3d)
def max_pool(node: Node) -> SSAValue:
    """The largest under a window."""
    window = window_of(node)
    return window.finish(MaxPoolOp(window.x, **window.params))


@importer(aten.max_pool2d_with_indices, aten.max_pool3d_with_indices)
def max_pool_with_indices(node: Node) -> list[SSAValue | None]:
    """The largest under a window, and where it is if somebody asks."""
    window = window_of(node)
    values = window.finish(MaxPoolOp(window.x, **window.params))
    if not node.is_read(1):
        return [values, None]
    return [values, window.finish(ArgMaxPoolOp(window.x, **window.params))]


@importer(aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d)
def avg_pool(node: Node) -> SSAValue:
    """The mean under a window; a fixed divisor counts the pads, too."""
    window, divisor = window_of(node), node.arg("divisor_override")
    if divisor is not None:
        pool = AvgPoolOp(window.x, **window.params, count_include_pad=True)
        factor = node.constant(math.prod(window.kernel) / divisor, node.result.dtype)
        return window.finish(MulOp(node.add(pool), factor))
    counted = bool(node.arg("count_include_pad", True))
    extra = window.overhang if counted else None
    return window.finish(
        AvgPoolOp(window.x, **window.params, count_include_pad=counted, overhang=extra)
    )
