"""Regions of interest with as many samples a cell as it spans elements; a task is a cell."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from .....ir import scalar as s
from .....ir.affine import IndexSpace
from .....ir.dims import product
from .....ir.kernel import KernelOp
from .....ir.ops.roi import RoiAlignOp
from .....ir.scalar import Scalar
from .....ir.structure import neutral
from .....ir.types import I64, type_of
from ...expression import ExpressionLowering
from ...target import CpuTarget
from ..frame import Code, grain_of, static
from .lines import neighbours
from .workbench import Workbench

_REGION, _ROW, _COLUMN, _CHANNEL, _DOWN, _RIGHT = range(6)
_SHARES = (-1, -2)  # loads of no operand: a sample's share of a cell
_MANY = 1 << 30  # samples: no bound is known
_USUAL_SAMPLES = 4


def roi_align_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for an alignment of regions."""
    align = _Align(Workbench(kernel, name, target))
    frame, shape = align.w.frame, type_of(align.op.results[0]).shape
    with align.w.b.loop(frame.begin, frame.end) as task:
        align.cell(frame.unflatten(task, shape[:3]))
    return frame.finish(product(shape[:3]), grain_of(_USUAL_SAMPLES * static(shape[3:])))


class _Align:
    def __init__(self, w: Workbench):
        assert isinstance(w.op, RoiAlignOp)
        self.w, self.op, self.wide = w, w.op, w.op.wide()
        self.shape = type_of(w.op.results[0]).shape

    def cell(self, place: Sequence[SSAValue]) -> None:
        """All channels of a cell."""
        w = self.w
        self.place = dict(enumerate(place))
        counts = [w.hold(self._lower(self.op.count(k, s.axis(_REGION)))) for k in range(2)]
        for number, count in zip(_SHARES, counts, strict=True):
            w.registers[number] = w.value(1.0 / s.cast(count, self.wide))
        bits = 8 * self.wide.itemsize
        body = lambda channel, lanes: self._channels(channel, lanes, counts)  # noqa: E731
        neighbours(w, 0, s.size(self.shape[3]), bits, body)

    def _channels(self, channel: Scalar, lanes: int, counts: list[Scalar]) -> None:
        """Combines the samples, for neighbouring channels at once."""
        w, op, wide = self.w, self.op, self.wide
        combine = "max" if op.mode == "max" else "add"
        indices = tuple(s.axis(n) for n in (_REGION, _ROW, _COLUMN, _CHANNEL))
        shares = [s.Scalar("load", (), wide, number) for number in _SHARES]
        sample = op.sample(indices, (s.axis(_DOWN), s.axis(_RIGHT)), shares)
        first = w.value(channel)

        def row(down: Scalar, total: Scalar) -> list[Scalar]:
            def column(right: Scalar, total: Scalar) -> list[Scalar]:
                axes = {_CHANNEL: first, _DOWN: w.value(down), _RIGHT: w.value(right)}
                value = w.hold(self._lower(sample, axes, lanes), wide)
                return [w.tile(s.binary(combine, total, value), lanes)]

            return w.fold(counts[1], [total], column, lanes=lanes)

        start = w.tile(s.const(neutral(combine, wide), wide), lanes)
        (total,) = w.fold(counts[0], [start], row, lanes=lanes)
        number = s.cast(counts[0] * counts[1], wide)
        if op.mode == "avg":
            total = total / s.maximum(number, 1.0)
        result = w.result()
        assert result is not None
        empty = s.compare("eq", number, 0.0)
        finished = s.cast(s.select(empty, 0, total), result.dtype)
        result.write(w.now(self._position() + channel), finished, lanes)

    def _position(self) -> Scalar:
        """Where the cell's channels begin in the result."""
        position = s.const(0, I64)
        for axis in (_REGION, _ROW, _COLUMN):
            position = position * s.size(self.shape[axis]) + self.w.hold(self.place[axis])
        return position * s.size(self.shape[_CHANNEL])

    def _lower(
        self, expression: Scalar, axes: dict[int, SSAValue] | None = None, lanes: int = 1
    ) -> SSAValue:
        """The value of an expression over the op's operands, in the cell."""
        inlined = self.w.frame.fused.inline(expression, self.op)
        space = IndexSpace((*self.shape, _MANY, _MANY))
        tile = ((_CHANNEL, lanes),) if lanes > 1 else ()
        scope = self.w.frame.scope(space, {**self.place, **(axes or {})}, tile, self.w.registers)
        lowering = ExpressionLowering(scope)
        return lowering.tile(inlined) if lanes > 1 else lowering.lower(inlined)
