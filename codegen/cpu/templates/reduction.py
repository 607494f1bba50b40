"""The reduction template: tiles along the innermost dim of the result, loops over what is reduced.

It serves depthwise convolution, pooling, means over pixels, and everything that no other template
takes. A tile of results is held in registers while the reduced dims are walked through. Where
neighbours in the result are no neighbours in memory, but elements along the innermost reduced dim
are, the lanes lie along that dim and are combined at its end (products of rows with rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as tuples

from xdsl.dialects import arith, math, scf
from xdsl.dialects.builtin import IndexType
from xdsl.ir import SSAValue

from ....ir.dims import Dim, floordiv, product
from ....ir.kernel import KernelOp
from ....ir.structure import neutral
from ....ir.types import F32
from ..arithmetic import combine, combine_lanes
from ..elements import compute_type
from ..expression import ExpressionLowering
from ..target import CpuTarget
from .access import contiguous, effort, load_forms
from .columns import fold_columns
from .frame import Code, Frame, grain_of, static
from .rooted import Rooted

_UNROLLED = 9


def reduction_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a kernel with one reduction."""
    return _Reduction(Frame(kernel, name, target)).build()


class _Reduction(Rooted):
    axes: dict[int, SSAValue]
    lane: int
    across: int

    def build(self) -> Code:
        """A task is a tile of a row: of the result seen as ``[rows, innermost dim]``."""
        frame, b = self.frame, self.frame.b
        self.axes, self.lane = {}, len(self.indices) - 1
        self.across = 1
        shape = self.type.shape
        columns: Dim = shape[-1] if shape else 1
        width = self._width(columns)
        if width == 1:
            self.across = self._width_across()
        tiles = floordiv(columns + (width - 1), width)
        with b.loop(frame.begin, frame.end) as task:
            count = frame.dim(tiles)
            row = b.op(arith.DivUIOp, [task, count], IndexType())
            tile = b.op(arith.RemUIOp, [task, count], IndexType())
            self.axes = dict(enumerate(frame.unflatten(row, shape[:-1])))
            self._tile(b.mul_index(tile, b.index(width)), columns, width)
        cost = (effort(self.body) * static(self.structure.extents) + self.effort) * width // 4
        samples = shape[0] if len(shape) > 1 else 1
        return frame.finish(product(shape[:-1]) * tiles, grain_of(cost), samples=samples)

    def _tile(self, first: SSAValue, columns: Dim, width: int) -> None:
        """One tile, narrower where the row ends."""
        b = self.frame.b
        if width == 1 or (isinstance(columns, int) and columns % width == 0):
            self._compute(first, width)
            return
        end = b.add_index(first, b.index(width))
        fits = b.compare("sle", end, self.frame.dim(columns))
        with_all = b.region(lambda: self._compute(first, width))
        if isinstance(columns, int):
            rest = b.region(lambda: self._compute(first, columns % width))
        else:
            rest = b.region(lambda: self._one_by_one(first, columns))
        b.add(scf.IfOp(fits, [], with_all, rest))

    def _one_by_one(self, first: SSAValue, columns: Dim) -> None:
        with self.frame.b.loop(first, self.frame.dim(columns)) as column:
            self._compute(column, 1)

    def _compute(self, first: SSAValue, lanes: int) -> None:
        b, dtype = self.frame.b, self.body.dtype
        lowering = self._lowering(first, lanes, ())
        start = b.constant(
            neutral(self.structure.combine, dtype),
            lowering.scope.tile_type(compute_type(dtype)),
        )
        total = self._accumulate(first, lanes, start, [])
        self.write(self._lowering(first, lanes, (), total))

    def _accumulate(
        self, first: SSAValue, lanes: int, total: SSAValue, chosen: list[SSAValue]
    ) -> SSAValue:
        """Loops over the reduced dims from ``chosen`` on; small ones are unrolled."""
        b, extents = self.frame.b, self.structure.extents[len(chosen) :]
        if not extents:
            return self._combined(total, self._lowering(first, lanes, chosen))
        if len(extents) == 1 and self.across > 1:
            return self._accumulate_across(first, total, chosen)
        if static(extents, _UNROLLED + 1) <= _UNROLLED:
            for place in tuples(*(range(static((e,))) for e in extents)):
                here = [*chosen, *(b.index(k) for k in place)]
                total = self._accumulate(first, lanes, total, here)
            return total

        def step(index: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            return [self._accumulate(first, lanes, carried[0], [*chosen, index])]

        return b.fold(b.index(0), self.frame.dim(extents[0]), [total], step)[0]

    def _combined(self, total: SSAValue, lowering: ExpressionLowering) -> SSAValue:
        """The total with the body's value taken in; products are added with one rounding."""
        b, body = self.frame.b, self.body
        if (self.structure.combine, body.op, body.dtype) == ("add", "mul", F32):
            left, right = (lowering.tile(a) for a in body.args)
            return b.op(math.FmaOp, [left, right, total], total.type)
        return combine(b, self.structure.combine, body.dtype, total, lowering.tile(body))

    def _accumulate_across(
        self, first: SSAValue, total: SSAValue, chosen: list[SSAValue]
    ) -> SSAValue:
        """The innermost reduced dim, many elements at once."""
        b, dtype, name = self.frame.b, self.body.dtype, self.structure.combine
        axis = len(self.indices) + len(chosen)

        def initial(lanes: int) -> SSAValue:
            return b.constant(neutral(name, dtype), b.tile_of(compute_type(dtype), lanes))

        def step(place: SSAValue, lanes: int, part: SSAValue) -> SSAValue:
            tile = ((axis, lanes),) if lanes > 1 else ()
            return self._combined(part, self._lowering(first, 1, [*chosen, place], tile=tile))

        part = fold_columns(
            b,
            self.frame.dim(self.structure.extents[-1]),
            self.across,
            initial,
            step,
            lambda tile: combine_lanes(b, name, dtype, tile),
            lambda x, y: combine(b, name, dtype, x, y),
        )
        return combine(b, name, dtype, total, part)

    def _width_across(self) -> int:
        """The elements taken at once along the innermost reduced dim; 1 where they lie apart."""
        axis = self.space.extents and len(self.space.extents) - 1
        forms = load_forms(self.body, self.space, self.frame.buffers)
        if not self.reduced or forms is None or not contiguous(forms, axis):
            return 1
        probe = self._lowering(self.frame.b.index(0), 1, [], tile=((axis, 2),))
        lanes = self.frame.target.lanes(32)
        extent = self.structure.extents[-1]
        small = isinstance(extent, int) and extent < lanes
        return lanes * 4 if probe.can_tile(self.body) and not small else 1

    def _width(self, columns: Dim) -> int:
        """The results of a tile: machine vectors where neighbours read neighbours, else one."""
        if not self.indices:
            return 1
        expressions = [self.body, *(e for _, e in self.epilogue)]
        probe = self._lowering(self.frame.b.index(0), 2, [])
        fixed = set(range(len(self.space.extents))) - {self.lane}
        forms = load_forms(self.body, self.space, self.frame.buffers, fixed)
        if forms is None or not contiguous(forms, self.lane):
            return 1
        if not all(probe.can_tile(e) for e in expressions):
            return 1
        lanes = self.frame.target.lanes(max(32, 8 * self.type.dtype.itemsize))
        if isinstance(columns, int):
            return min(4 * lanes, max(1, columns))
        return lanes

    def _lowering(
        self,
        first: SSAValue,
        lanes: int,
        chosen: Sequence[SSAValue],
        total: SSAValue | None = None,
        tile: tuple[tuple[int, int], ...] = (),
    ) -> ExpressionLowering:
        axes = dict(self.axes)
        if self.indices:
            axes[self.lane] = first
        axes.update({len(self.indices) + n: v for n, v in enumerate(chosen)})
        registers = {} if total is None else {self.result.attr: total}
        if lanes > 1:
            tile = ((self.lane, lanes),)
        return ExpressionLowering(self.frame.scope(self.space, axes, tile, registers))
