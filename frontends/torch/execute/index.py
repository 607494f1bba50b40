"""Gathers, scatters and triangles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ....ir.ops.index import GatherElementsOp, GatherNdOp, GatherOp, TriluOp
from ....ir.ops.scatter import ScatterElementsOp, ScatterNdOp
from ....ir.ops.shape import param_dims
from .registry import Call, constant_of, number_of, runs

# ``scatter_reduce`` has other names for them.
_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@runs(GatherOp)
def gather(call: Call[GatherOp]) -> Any:
    """Indexing, which counts negative indices from the end; a view where the index is a number."""
    number, axis = number_of(call.op.indices), call.op.axis
    if number is not None:
        return torch.select(call.x, axis, number)
    return call.x[(*[slice(None)] * axis, _wide(call.operand(1), call))]


@runs(GatherElementsOp)
def gather_elements(call: Call[GatherElementsOp]) -> Any:
    """One element for each index."""
    return torch.gather(call.x, call.op.axis, _counted(call))


@runs(GatherNdOp)
def gather_nd(call: Call[GatherNdOp]) -> Any:
    """Indexing by the columns of the indices; the batch dims index themselves."""
    columns = _columns(call)
    if not columns:
        return None
    batch, rank = call.op.batch_dims, call.type(1).rank
    own = []
    for k, size in enumerate(call.sizes(call.type(1).shape[:batch])):
        spread = [-1 if n == k else 1 for n in range(rank - 1)]
        own.append(call.recorder.call(torch.arange, size).reshape(spread))
    return call.x[(*own, *columns)]


@runs(TriluOp)
def triangle(call: Call[TriluOp]) -> Any:
    """The upper or lower one."""
    (k,) = call.sizes(param_dims((call.op.k,)))
    return (torch.triu if call.op.upper else torch.tril)(call.x, k)


@runs(ScatterElementsOp)
def scatter_elements(call: Call[ScatterElementsOp]) -> Any:
    """Writes, or combines."""
    x, _, updates = call.operands
    if call.op.reduction == "none":
        return torch.scatter(x, call.op.axis, _counted(call), updates)
    reduction = _REDUCTIONS[call.op.reduction]
    return torch.scatter_reduce(x, call.op.axis, _counted(call), updates, reduction)


@runs(ScatterNdOp)
def scatter_nd(call: Call[ScatterNdOp]) -> Any:
    """Writes, or adds; torch has no other combinations of slices."""
    columns, reduction = _columns(call), call.op.reduction
    if not columns or reduction not in ("none", "add"):
        return None
    return torch.index_put(call.x, columns, call.operand(2), accumulate=reduction == "add")


def _columns(call: Call[Any]) -> list[Any]:
    """The indices, one tensor for each dim that is indexed."""
    indices, depth = _wide(call.operand(1), call), call.type(1).shape[-1]
    return [indices[..., k] for k in range(depth)] if isinstance(depth, int) else []


def _counted(call: Call[Any]) -> Any:
    """The indices counted from the start, where some may be counted from the end."""
    indices, known = _wide(call.operand(1), call), constant_of(call.op.operands[1])
    if known is not None and not (known < 0).any():
        return indices
    size = call.size(call.type().shape[call.op.axis])
    return torch.where(indices < 0, indices + size, indices)


def _wide(indices: Any, call: Call[Any]) -> Any:
    """Indices as i64: bytes would be taken for a mask."""
    return indices if call.type(1).dtype == np.int64 else indices.to(torch.int64)
