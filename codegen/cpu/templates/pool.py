"""The pool template: maxima and means of windows, channels last.

Means are sums that are scaled where a tile ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith
from xdsl.dialects.builtin import VectorType
from xdsl.ir import SSAValue

from ....ir.kernel import KernelOp
from ....ir.ops.pool import AvgPoolOp, MaxPoolOp
from ....ir.scalar import Scalar, cast
from ....ir.types import type_of
from ..arithmetic import combine_all
from ..expression import ExpressionLowering
from ..target import CpuTarget
from .access import contiguous, load_forms
from .frame import Code, Frame
from .rooted import Rooted, root_of
from .windowed import Windowed
from .windows import Taps


def pool_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code | None:
    """Code for a kernel around a pool; None for others, and where channels lie apart."""
    root = root_of(kernel.ops)
    if not isinstance(root, MaxPoolOp | AvgPoolOp):
        return None
    rooted = Rooted(Frame(kernel, name, target))
    rank = len(root.kernel)
    where = root.window().where(rooted.indices[1:-1], rooted.reduced)
    element = rooted.frame.fused.inline(root.element(rooted.indices, where), root)
    forms = load_forms(element, rooted.space, rooted.frame.buffers)
    if forms is None or not contiguous(forms, rank + 1):
        return None
    return _Pool(rooted, root, cast(element, rooted.body.dtype)).build()


class _Pool(Windowed):
    def __init__(self, rooted: Rooted, root: MaxPoolOp | AvgPoolOp, element: Scalar):
        image = type_of(root.x).shape[1:-1]
        super().__init__(rooted, root.window(), image, rooted.body.dtype)
        self.element = element
        self.weight = root.weight(rooted.indices) if isinstance(root, AvgPoolOp) else None

    def _taps(self, taps: Taps, totals: Sequence[SSAValue]) -> list[SSAValue]:
        type = totals[0].type
        assert isinstance(type, VectorType)
        pixels: dict[int, SSAValue] = {}

        def pixel(place: int, tap: int) -> SSAValue:
            offset = place * self.inner.stride + tap * self.inner.dilation
            if offset not in pixels:
                pixels[offset] = self._pixel(place, tap, type.get_shape()[1])
            return pixels[offset]

        name = self.rooted.structure.combine
        return [
            combine_all(self.b, name, self.dtype, [total, *(pixel(place, tap) for tap in inside)])
            for place, (inside, total) in enumerate(zip(taps, totals, strict=True))
        ]

    def _pixel(self, place: int, tap: int, lanes: int) -> SSAValue:
        """What a place of the tile reads at a tap."""
        axes = self._at(place)
        axes[self.inner.tap] = self.b.add_index(axes[self.inner.tap], self.b.index(tap))
        tile = ((self.inner.axis, 1), (self.channel, lanes))
        scope = self.frame.scope(self.rooted.space, axes, tile)
        return ExpressionLowering(scope).tile(self.element)

    def _at(self, place: int) -> dict[int, SSAValue]:
        """The axes at a place of the tile."""
        column = self.b.add_index(self.axes[self.inner.axis], self.b.index(place))
        return {**self.axes, self.inner.axis: column}

    def _finish(self, totals: Sequence[SSAValue], lanes: int) -> None:
        super()._finish([self._scaled(total, n) for n, total in enumerate(totals)], lanes)

    def _scaled(self, total: SSAValue, place: int) -> SSAValue:
        if self.weight is None:
            return total
        scope = self.frame.scope(self.rooted.space, self._at(place))
        weight = self.b.splat(ExpressionLowering(scope).lower(self.weight), total.type)
        return self.b.op(arith.MulfOp, [total, weight], total.type)
