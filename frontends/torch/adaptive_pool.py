"""Importers of pools that are given the size of their result."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from xdsl.ir import SSAValue

from ...ir.ops.matmul import MatmulOp
from ...ir.ops.pool import AvgPoolOp, MaxPoolOp
from ...ir.ops.reduce import ReduceMaxOp, ReduceMeanOp
from ...ir.ops.shape import ConcatOp
from ...ir.types import type_of
from .registry import Node, Refusal, importer
from .window import spatial_rank, window_of_sizes

aten = torch.ops.aten


@importer(
    *(aten.adaptive_avg_pool1d, aten.adaptive_avg_pool2d, aten.adaptive_avg_pool3d),
    *(aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d),
)
def adaptive_avg_pool(node: Node) -> SSAValue:
    """A mean, an average pool, or products with a matrix of shares where windows differ."""
    x, sizes = node.input(), _sizes(node)
    if set(sizes) == {1}:
        axes = tuple(range(node.type().rank - len(sizes), node.type().rank))
        return node.add(ReduceMeanOp(x, axes=axes, keepdims=True))
    window = window_of_sizes(node, sizes)
    if window:
        return window.finish(AvgPoolOp(window.x, **window.params))
    for axis, windows in _windows(node, sizes):
        x = _averaged(node, x, axis, windows)
    return x


@importer(aten.adaptive_max_pool1d, aten.adaptive_max_pool2d, aten.adaptive_max_pool3d)
def adaptive_max_pool(node: Node) -> list[SSAValue | None]:
    """A max pool, or the largest of one window after another where they differ."""
    if node.is_read(1):
        raise Refusal("the indices of an adaptive pool are used", "use max_pool with a kernel size")
    x, sizes = node.input(), _sizes(node)
    window = window_of_sizes(node, sizes)
    if window:
        return [window.finish(MaxPoolOp(window.x, **window.params)), None]
    for axis, windows in _windows(node, sizes):
        pieces = [node.slice(x, axis, *bounds) for bounds in windows]
        tops = [node.add(ReduceMaxOp(p, axes=(axis,), keepdims=True)) for p in pieces]
        x = node.add(ConcatOp(tops, axis=axis))
    return [x, None]


def _sizes(node: Node) -> list[int]:
    """The sizes of the result; torch lets one stand for all."""
    given, rank = node.arg("output_size"), spatial_rank(node)
    sizes = [given] * rank if isinstance(given, int) else list(given)
    sizes = sizes * rank if len(sizes) == 1 else sizes
    if not all(isinstance(size, int) for size in sizes):
        raise Refusal("the size of the result is symbolic", "give a number")
    return sizes


def _windows(node: Node, sizes: list[int]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """For each spatial axis, the bounds of all windows."""
    shape = node.type().shape
    for axis, count in enumerate(sizes, len(shape) - len(sizes)):
        size = shape[axis]
        if not isinstance(size, int):
            raise Refusal(f"windows over the symbolic size {size} differ", "fix the size")
        yield axis, [(k * size // count, -(-(k + 1) * size // count)) for k in range(count)]


def _averaged(node: Node, x: SSAValue, axis: int, windows: list[tuple[int, int]]) -> SSAValue:
    """A product with a matrix that has a column of shares for each window."""
    dtype = type_of(x).dtype
    shares = np.zeros((windows[-1][1], len(windows)))
    for column, (start, stop) in enumerate(windows):
        shares[start:stop, column] = 1 / (stop - start)
    order = list(range(type_of(x).rank))
    order[axis], order[-1] = order[-1], order[axis]
    moved = node.transpose(x, order)
    return node.transpose(node.add(MatmulOp(moved, node.constant(shares, dtype))), order)
