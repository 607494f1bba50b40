"""Convolutions: torch gets channels-last memory with its dims renamed, so that nothing is moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch.nn import functional as F
from xdsl.ir import SSAValue

from ....ir.ops.conv import ConvolutionOp, ConvOp, ConvTransposeOp
from ....ir.ops.shape import param_dims
from .recorder import Layout
from .registry import Call, runs

_CONV: dict[int, Callable[..., Any]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE: dict[int, Callable[..., Any]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}
_MEMORY = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
}


@runs(ConvOp, ConvTransposeOp)
def unbiased(call: Call[ConvolutionOp]) -> Any:
    """Without a bias."""
    return convolution(call, None)


def convolution(call: Call[Any], bias: SSAValue | None) -> Any:
    """With a bias or without; None for integers, and for other ranks than torch knows."""
    spatial = call.type().rank - 2
    if spatial not in _CONV or not call.is_plain or not call.is_float or call.is_empty:
        return None
    run = _conv if isinstance(call.op, ConvOp) else _conv_transpose
    added = None if bias is None else call.recorder.value(bias)
    return channels_last(run(call, channels_first(call.x, spatial), added), spatial)


def channels_first(x: Any, spatial: int) -> Any:
    """``[N, *spatial, C]`` as ``[N, C, *spatial]``: a view."""
    return x.permute(0, spatial + 1, *range(1, spatial + 1))


def channels_last(x: Any, spatial: int) -> Any:
    """``[N, C, *spatial]`` as ``[N, *spatial, C]``: a view."""
    return x.permute(0, *range(2, spatial + 2), 1)


def begins_and_ends(call: Call[Any]) -> tuple[list[Any], list[Any]]:
    """The pads of the spatial dims."""
    pads = call.sizes(param_dims(call.op.pads))
    return pads[: len(pads) // 2], pads[len(pads) // 2 :]


def in_torch_order(begins: Sequence[Any], ends: Sequence[Any]) -> list[Any]:
    """Pads of the last dims as ``F.pad`` takes them: pairs, the last dim first."""
    pairs = list(zip(begins, ends, strict=True))
    return [pad for pair in reversed(pairs) for pad in pair]


def _conv(call: Call[ConvOp], x: Any, bias: Any) -> Any:
    """Torch pads both ends alike: where they differ, before."""
    begins, ends = begins_and_ends(call)
    if call.op.pads[: len(ends)] != call.op.pads[len(ends) :]:
        x, begins = F.pad(x, in_torch_order(begins, ends)), [0] * len(begins)
    op, spatial = call.op, len(begins)
    weight = call.recorder.weight(op.w, _layout(spatial, transposed=False))
    kind = {"padding": begins, "dilation": op.dilations, "groups": op.groups}
    return _CONV[spatial](x, weight, bias, stride=op.strides, **kind)


def _conv_transpose(call: Call[ConvTransposeOp], x: Any, bias: Any) -> Any:
    """What torch does not cut off or add at the end is cut off or added behind it."""
    begins, ends = begins_and_ends(call)
    op, spatial = call.op, len(begins)
    weight = call.recorder.weight(op.w, _layout(spatial, transposed=True))
    kind = {"stride": op.strides, "dilation": op.dilations, "groups": op.groups}
    run, extra = _CONV_TRANSPOSE[spatial], op.output_padding
    small = all(more < stride for more, stride in zip(extra, op.strides, strict=True))
    if small and op.pads[:spatial] == op.pads[spatial:]:
        return run(x, weight, bias, padding=begins, output_padding=extra, **kind)
    longer = [more - end for more, end in zip(extra, ends, strict=True)]
    whole = F.pad(run(x, weight, **kind), in_torch_order([-b for b in begins], longer))
    return whole if bias is None else whole + bias.view(-1, *[1] * spatial)


@cache
def _layout(spatial: int, transposed: bool) -> Layout:
    """How torch wants weights ``[*kernel, C, O]``, in the memory that fits channels-last data."""
    outer = (spatial, spatial + 1) if transposed else (spatial + 1, spatial)

    def layout(weight: Any) -> Any:
        named = weight.permute(*outer, *range(spatial))
        return named.contiguous(memory_format=_MEMORY[spatial])

    return layout
