"""Ops that move elements: views wherever torch has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional as F

from ....ir.ops.constant import DimsOp
from ....ir.ops.matmul import MatmulOp
from ....ir.ops.shape import (
    BroadcastOp,
    ConcatOp,
    IotaOp,
    PadOp,
    ReshapeOp,
    ReverseOp,
    SliceOp,
    TransposeOp,
    param_dims,
)
from .conv import in_torch_order
from .registry import Call, number_of, runs, torch_dtype


@runs(ReshapeOp)
def reshape(call: Call[ReshapeOp]) -> Any:
    """A view where the memory allows it."""
    return call.x.reshape(call.sizes(param_dims(call.op.shape)))


@runs(TransposeOp)
def transpose(call: Call[TransposeOp]) -> Any:
    """A view; moved once where several layers read it, each of which would move it."""
    view = call.x.permute(call.op.perm)
    layers = [u for u in call.op.result.uses if isinstance(u.operation, MatmulOp) and u.index == 0]
    return view.contiguous() if len(layers) > 1 else view


@runs(BroadcastOp)
def broadcast(call: Call[BroadcastOp]) -> Any:
    """A view."""
    return call.x.expand(call.sizes(param_dims(call.op.shape)))


@runs(SliceOp)
def part(call: Call[SliceOp]) -> Any:
    """A view."""
    op = call.op
    bounds = zip(
        call.sizes(param_dims(op.starts)), call.sizes(param_dims(op.stops)), op.steps, strict=True
    )
    whole = [start == 0 and stop == size and step == 1 for start, stop, step, size in _rows(call)]
    slices = [slice(None) if w else slice(*b) for w, b in zip(whole, bounds, strict=True)]
    return call.x[tuple(slices)] if slices else call.x


@runs(ConcatOp)
def concat(call: Call[ConcatOp]) -> Any:
    """One after another."""
    return torch.cat(call.operands, call.op.axis)


@runs(PadOp)
def pad(call: Call[PadOp]) -> Any:
    """With a number, or with elements of x picked by index."""
    op, rank = call.op, call.type().rank
    pads = call.sizes(param_dims(op.pads))
    begins, ends = pads[:rank], pads[rank:]
    if op.mode != "constant":
        return _repeated(call, begins, ends)
    value = 0 if op.value is None else number_of(op.value)
    return None if value is None else F.pad(call.x, in_torch_order(begins, ends), value=value)


@runs(ReverseOp)
def reverse(call: Call[ReverseOp]) -> Any:
    """Along some axes."""
    return torch.flip(call.x, call.op.axes)


@runs(IotaOp)
def iota(call: Call[IotaOp]) -> Any:
    """Numbers from 0."""
    (size,) = call.sizes(param_dims(call.op.shape))
    return call.recorder.call(torch.arange, size, dtype=torch_dtype(call.op.dtype))


@runs(DimsOp)
def dims(call: Call[DimsOp]) -> Any:
    """A tensor of numbers that are known at the call."""
    sizes = call.sizes(param_dims(call.op.elements))
    made = call.recorder.call(torch.tensor, sizes, dtype=torch_dtype(call.op.dtype))
    return made.reshape(call.op.shape)


def _rows(call: Call[SliceOp]) -> Iterable[tuple[Any, ...]]:
    op = call.op
    bounds = param_dims(op.starts), param_dims(op.stops), op.steps
    return zip(*bounds, call.type().shape, strict=True)


def _repeated(call: Call[PadOp], begins: list[Any], ends: list[Any]) -> Any:
    """Axis by axis, from where in x each element of the result comes."""
    x, none = call.x, call.op.pads
    for axis, size in enumerate(call.sizes(call.type().shape)):
        if (none[axis], none[axis + len(begins)]) != (0, 0):
            places = call.recorder.call(torch.arange, -begins[axis], size + ends[axis])
            x = torch.index_select(x, axis, _SOURCES[call.op.mode](places, size))
    return x


def _reflected(places: Any, size: Any) -> Any:
    last = size - 1
    phase = torch.remainder(places, torch.sym_max(last * 2, 1))
    return torch.minimum(phase, last * 2 - phase)


_SOURCES: dict[str, Callable[[Any, Any], Any]] = {
    "edge": lambda places, size: torch.clamp(places, 0, size - 1),
    "wrap": torch.remainder,
    "reflect": _reflected,
}
