"""Gathers by constant indices that are slices or reshapes."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import Dim, static_size
from ...ir.interpreter import run_op
from ...ir.op import Add
from ...ir.ops.index import GatherElementsOp, GatherNdOp, GatherOp, IndexedOp
from ...ir.ops.shape import ReshapeOp, SliceOp, dims_param
from ...ir.types import type_of
from ..values import constant
from .registry import canonical

# Constant indices into larger tensors are not looked through.
_LIMIT = 1 << 20


@canonical(GatherOp)
def gather_of_neighbours(op: GatherOp, add: Add) -> SSAValue | None:
    """``x[3]`` and ``x[[3, 4, 5]]`` are slices."""
    indices = constant(op.indices)
    if indices is None or indices.size == 0 or not _consecutive(indices):
        return None
    shape, axis = type_of(op.x).shape, op.axis
    first: Dim = int(indices.flat[0])
    first = first + shape[axis] if first < 0 else first
    if not _inside(first, indices.size, shape[axis]):
        return None
    starts: tuple[Dim, ...] = (*(0 for _ in shape[:axis]), first, *(0 for _ in shape[axis + 1 :]))
    stops = (*shape[:axis], first + indices.size, *shape[axis + 1 :])
    steps = (1,) * len(shape)
    part = add(SliceOp(op.x, starts=dims_param(starts), stops=dims_param(stops), steps=steps))
    return add(ReshapeOp.to(part, type_of(op.results[0]).shape))


@canonical(GatherElementsOp, GatherNdOp)
def gather_in_order(op: IndexedOp, add: Add) -> SSAValue | None:
    """A gather of all elements in their order is a reshape."""
    indices, size = constant(op.indices), static_size(type_of(op.x).shape)
    if indices is None or size is None or not 0 < size <= _LIMIT:
        return None
    if type_of(op.results[0]).size != size:
        return None
    shape = [d for d in type_of(op.x).shape if isinstance(d, int)]
    positions = np.arange(size).reshape(shape)
    if not _consecutive(run_op(op, [positions, indices])[0]):
        return None
    return add(ReshapeOp.to(op.x, type_of(op.results[0]).shape))


def _consecutive(values: np.ndarray) -> bool:
    flat = values.reshape(-1).astype(np.int64)
    return bool((np.diff(flat) == 1).all()) and (flat[0] >= 0 or flat[-1] < 0)


def _inside(first: Dim, count: int, size: Dim) -> bool:
    """Whether ``count`` elements from ``first`` on exist for sure."""
    left = size - first - count
    return isinstance(left, int) and left >= 0 and (not isinstance(first, int) or first >= 0)
