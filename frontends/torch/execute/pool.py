"""Pools, on renamed channels-last memory like convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ....ir.ops.pool import AvgPoolOp, MaxPoolOp, PoolOp
from .conv import begins_and_ends, channels_first, channels_last, in_torch_order
from .registry import Call, runs

_MAX: dict[int, Callable[..., Any]] = {
    1: torch.max_pool1d,
    2: torch.max_pool2d,
    3: torch.max_pool3d,
}
_MEAN: dict[int, Callable[..., Any]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@runs(MaxPoolOp)
def max_pool(call: Call[MaxPoolOp]) -> Any:
    """Pads that torch does not take are -inf."""
    op, spatial = call.op, len(call.op.kernel)
    if spatial not in _MAX or not call.is_float:
        return None
    x = channels_first(call.x, spatial)
    begins, ends = begins_and_ends(call)
    if not _takes_pads(op):
        x, begins = F.pad(x, in_torch_order(begins, ends), value=-np.inf), [0] * spatial
    return channels_last(_MAX[spatial](x, op.kernel, op.strides, begins, op.dilations), spatial)


@runs(AvgPoolOp)
def mean_pool(call: Call[AvgPoolOp]) -> Any:
    """The mean; where pads are unlike or do not count, of x over that of what counts."""
    op, spatial = call.op, len(call.op.kernel)
    if spatial not in _MEAN or any(d != 1 for d in op.dilations) or any(op.overhang or ()):
        return None
    x, run = channels_first(call.x, spatial), _MEAN[spatial]
    begins, ends = begins_and_ends(call)
    if _takes_pads(op):
        made = run(x, op.kernel, op.strides, begins, count_include_pad=op.count_include_pad)
        return channels_last(made, spatial)
    pads = in_torch_order(begins, ends)
    made = run(F.pad(x, pads), op.kernel, op.strides)
    if not op.count_include_pad:
        made = made / run(F.pad(torch.ones_like(x), pads), op.kernel, op.strides)
    return channels_last(made, spatial)


def _takes_pads(op: PoolOp) -> bool:
    """Whether pads are ints, alike at both ends, and at most half of the window."""
    spatial = len(op.kernel)
    halves = zip(op.pads[:spatial], op.kernel, strict=True)
    small = all(isinstance(pad, int) and pad <= size // 2 for pad, size in halves)
    return small and op.pads[:spatial] == op.pads[spatial:]
