"""Resizing and sampling, where torch's interpolation is the one that is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.nn import functional as F

from ....ir.ops.coordinates import line
from ....ir.ops.resize import ResizeOp
from ....ir.ops.sample import GridSampleOp
from .conv import channels_first, channels_last
from .registry import Call, runs

_MODES = {
    ("linear", 1): "linear",
    ("linear", 2): "bilinear",
    ("linear", 3): "trilinear",
    ("cubic", 2): "bicubic",
}
_GRID = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}


@runs(ResizeOp)
def resize(call: Call[ResizeOp]) -> Any:
    """Of all spatial dims of channels-last or channels-first data, all others staying."""
    op, rank = call.op, call.type().rank
    spatial = len(op.axes)
    if spatial not in (1, 2, 3) or rank != spatial + 2 or not call.is_float or call.is_empty:
        return None
    how = _nearest(op) if op.mode == "nearest" else _smooth(op)
    if how is None:
        return None
    sizes = call.sizes(op.new_sizes())
    if op.axes == tuple(range(2, rank)):
        return F.interpolate(call.x, sizes, **how)
    if op.axes != tuple(range(1, rank - 1)):
        return None
    made = F.interpolate(channels_first(call.x, spatial), sizes, **how)
    return channels_last(made, spatial)


@runs(GridSampleOp)
def grid_sample(call: Call[GridSampleOp]) -> Any:
    """Torch samples planes, and volumes but by cubics."""
    op, spatial = call.op, call.type().rank - 2
    same = call.type(0).dtype == call.type(1).dtype
    if (
        call.is_empty
        or not same
        or (spatial, op.mode) not in {(2, m) for m in _GRID} | {(3, "linear")}
    ):
        return None
    x, how = channels_first(call.x, spatial), {"align_corners": op.align_corners}
    made = F.grid_sample(x, call.operand(1), _GRID[op.mode], op.padding, **how)
    return channels_last(made, spatial)


def _smooth(op: ResizeOp) -> dict[str, Any] | None:
    """What to tell ``F.interpolate``; None where it computes something else."""
    mode = _MODES.get((op.mode, len(op.axes)))
    other_kernel = op.mode == "cubic" and (op.cubic_coefficient != -0.75 or op.antialias)
    if mode is None or other_kernel or op.exclude_outside or op.antialias:
        return None
    for corners in (False, True):
        wanted = "align_corners" if corners else "half_pixel"
        if _reads_as(op, wanted):
            return {"mode": mode, "align_corners": corners}
    return None


def _reads_as(op: ResizeOp, coordinates: str) -> bool:
    """Whether results lie where a transformation by the ratio of sizes puts them."""
    x = op.operand_type(0)
    for k, (axis, size) in enumerate(zip(op.axes, op.new_sizes(), strict=True)):
        here, there = op.line(k), line(coordinates, x.shape[axis], size, None, None)
        if here.slope * there.divisor != there.slope * here.divisor:
            return False
        if here.offset * there.divisor != there.offset * here.divisor:
            return False
    return True


def _nearest(op: ResizeOp) -> dict[str, Any] | None:
    """The same for the nearest element: by what each kind of torch's would take."""
    x = op.operand_type(0)
    if op.coordinates == "tf_crop_and_resize" or not x.is_static:
        return None
    for mode, shift in (("nearest", 0), ("nearest-exact", 1)):
        if all(_takes(op, k, shift) for k in range(len(op.axes))):
            return {"mode": mode}
    return None


def _takes(op: ResizeOp, k: int, shift: int) -> bool:
    """Whether the results are at ``floor((i + shift / 2) * size / count)``."""
    size, count = op.operand_type(0).shape[op.axes[k]], op.new_sizes()[k]
    if not isinstance(size, int) or not isinstance(count, int) or count == 0:
        return False
    theirs = (2 * np.arange(count) + shift) * size // (2 * count)
    ours = np.clip(op.line(k).nearest_values(count, op.rounding), 0, size - 1)
    return np.array_equal(ours, theirs)
