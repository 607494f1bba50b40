"""Makes transposed convolutions plain ones, whose results are interleaved.

With stride s, results s apart see the same elements of x, each group of them through its own share
of the kernel. So a convolution with s filters for each makes all of them side by side::

    %y = "mlc.conv_transpose"(%x, %w)   ->   %c = "mlc.conv"(%x, %v)        [N, H', W', s s O]
                                             %t = a transpose of its parts  [N, H', s, W', s, O]
                                             %y = a slice of the whole      [N, H' s, W' s, O]

It is the sub-pixel convolution of Shi et al. (2016), read backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.dims import Dim, is_static
from ..ir.op import Add
from ..ir.ops.conv import ConvOp, ConvTransposeOp
from ..ir.ops.shape import PadOp, ReshapeOp, ReverseOp, SliceOp, TransposeOp, dims_param
from ..ir.types import type_of
from .contract import Pass, Promise
from .fold_constants import placed
from .rewrite import rewrite


@dataclass(frozen=True)
class SubpixelConvolutions(Pass):
    """Run after scales have gone into weights; what is left of transposes and reshapes may sink."""

    name = "subpixel-convolutions"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Rewrites every transposed convolution whose kernel is known."""
        rewrite(module, {ConvTransposeOp: [_convolution]})


@dataclass(frozen=True)
class _Axis:
    """One spatial axis of a transposed convolution.

    Attributes:
        kernel: The taps of its kernel.
        stride: How far apart two elements of x add to the result.
        dilation: How far apart taps are; 1 unless the stride is.
        begin: The results that are cut off before the first.
        end: The same behind the last, less what is added there.
    """

    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int

    @property
    def taps(self) -> int:
        """Of the convolution's kernel."""
        return -(-self.kernel // self.stride)

    @property
    def reach(self) -> int:
        """How far the first tap is from the last."""
        return (self.taps - 1) * self.dilation

    @property
    def skipped(self) -> int:
        """The blocks of results that are cut off as a whole, before the first."""
        return min(self.reach, self.begin // self.stride)

    @property
    def cut(self) -> int:
        """The results before the first that are made all the same."""
        return self.begin - self.skipped * self.stride

    @property
    def pads(self) -> tuple[int, int]:
        """Of the convolution."""
        span = (self.kernel - 1) * self.dilation + 1
        longer = -(-(self.cut + span - self.begin - self.end) // self.stride) - 1
        return self.reach - self.skipped, max(0, longer + self.skipped)


def _convolution(op: ConvTransposeOp, add: Add) -> SSAValue | None:
    axes = _axes(op)
    if axes is None:
        return None
    befores, behinds = zip(*(axis.pads for axis in axes), strict=True)
    conv = ConvOp(
        op.x,
        _filters(op, axes, add),
        strides=(1,) * len(axes),
        pads=(*befores, *behinds),
        dilations=tuple(axis.dilation for axis in axes),
        groups=op.groups,
        to=op.to,
    )
    return _interleaved(add(conv), op, axes, add)


def _axes(op: ConvTransposeOp) -> list[_Axis] | None:
    """The spatial axes, if they are known and no axis has both a stride and a dilation."""
    kernel, rank = type_of(op.w).shape, len(op.strides)
    if not is_static(kernel) or min(op.pads, default=0) < 0:
        return None
    begins, ends = op.pads[:rank], op.pads[rank:]
    axes = [
        _Axis(k, s, d, b, e - more)
        for k, s, d, b, e, more in zip(
            kernel[:rank], op.strides, op.dilations, begins, ends, op.output_padding, strict=True
        )
        if isinstance(k, int)
    ]
    return None if any(a.stride > 1 and a.dilation > 1 for a in axes) else axes


def _filters(op: ConvTransposeOp, axes: Sequence[_Axis], add: Add) -> SSAValue:
    """``[*kernel, C, O]`` as ``[*taps, C / groups, groups * strides * O]``, taps reversed."""
    rank, groups = len(axes), op.groups
    *_, channels, filters = type_of(op.w).shape
    more = [a.taps * a.stride - a.kernel for a in axes]
    pads = (*(0,) * (rank + 2), *more, 0, 0)
    w = placed(PadOp(op.w, pads=pads), add) if any(more) else op.w
    parts = [d for a in axes for d in (a.taps, a.stride)]
    w = placed(ReshapeOp.to(w, (*parts, groups, channels // groups, filters)), add)
    w = placed(ReverseOp(w, axes=tuple(range(0, 2 * rank, 2))), add)
    taps, strides = range(0, 2 * rank, 2), range(1, 2 * rank, 2)
    order = (*taps, 2 * rank + 1, 2 * rank, *strides, 2 * rank + 2)
    w = placed(TransposeOp(w, perm=order), add)
    count = groups * prod(a.stride for a in axes) * filters
    return placed(ReshapeOp.to(w, (*(a.taps for a in axes), channels // groups, count)), add)


def _interleaved(y: SSAValue, op: ConvTransposeOp, axes: Sequence[_Axis], add: Add) -> SSAValue:
    """``[N, *blocks, groups * strides * O]`` as ``[N, *results, groups * O]``."""
    rank, strides = len(axes), [a.stride for a in axes]
    batch, *blocks, _ = type_of(y).shape
    result = type_of(op.result).shape
    if any(s > 1 for s in strides):
        filters = result[-1] // op.groups
        y = add(ReshapeOp.to(y, (batch, *blocks, op.groups, *strides, filters)))
        pairs = [place for k in range(rank) for place in (1 + k, 2 + rank + k)]
        y = add(TransposeOp(y, perm=(0, *pairs, 1 + rank, 2 + 2 * rank)))
        whole = [b * s for b, s in zip(blocks, strides, strict=True)]
        y = add(ReshapeOp.to(y, (batch, *whole, result[-1])))
    starts: list[Dim] = [0, *(a.cut for a in axes), 0]
    stops = [first + size for first, size in zip(starts, result, strict=True)]
    if type_of(y).shape == result:
        return y
    ends = dims_param(tuple(stops))
    return add(SliceOp(y, starts=tuple(starts), stops=ends, steps=(1,) * (rank + 2)))
