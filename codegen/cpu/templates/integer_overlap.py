"""Products of bytes that finish one tile while they sum the next.

A machine multiplies in two of its units and finishes sums mostly in others, but it does not look
far enough ahead to use both at a time. So the sums of a tile wait in memory, and some rows of them
are finished between the first steps of the next tile; the last tile is finished alone. The first
tile has none before it: what it finishes is written again when it is summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType, i32
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir.scalar import Scalar, nodes_of
from ..expression import ExpressionLowering
from .contraction import Tiling, tilings
from .frame import static
from .integer import IntegerProduct

# Vectors that are finished together, since as many are packed to one.
_TOGETHER = 4
# An epilogue that costs less than to leave sums in memory.
_SHORT = 6


@dataclass(frozen=True)
class _Waiting:
    """A tile whose sums wait in memory: its axes, those of its first row, and how many rows."""

    axes: dict[int, SSAValue]
    row: SSAValue
    height: SSAValue


class OverlappedProduct(IntegerProduct):
    """The tiles of such a product."""

    def fits(self) -> bool:
        """Whether the sizes are known, panels full, and steps enough to finish a tile beside."""
        rows, columns, tiles = self.product.rows, self.columns, self.grid.tiles
        if not (isinstance(rows, int) and isinstance(columns, int) and isinstance(tiles, int)):
            return False
        if not tiles or self.product.row is None:
            return False
        lanes, panel = self.frame.target.lanes(32), self.tiling.panel
        full = columns % panel == 0 and panel % lanes == 0 and rows // tiles >= self._together
        long = self.rooted.effort > _SHORT and lanes in self.frame.target.dot4
        return full and long and self._steps() >= self._parts

    def _tilings(self, most: int) -> list[Tiling]:
        """Few sums, as what is finished needs registers, too; whole parts in a row or in some."""
        target = self.frame.target
        tiles = tilings(self.product.rows, self.columns, target, most, target.registers // 2)
        part = _TOGETHER * target.lanes(32)
        return [tile for tile in tiles if part % tile.panel == 0] or tiles

    @property
    def _together(self) -> int:
        """The rows of a part."""
        return max(1, _TOGETHER * self.frame.target.lanes(32) // self.tiling.panel)

    @property
    def _parts(self) -> int:
        return -(-self.tiling.rows // self._together)

    def _steps(self) -> int:
        return static((self.product.depths[-1].extent,)) // self.group

    def _each_task(self) -> None:
        b, begin, end = self.b, self.frame.begin, self.frame.end
        sums = self.tiling.rows * self.tiling.panel
        self._scratch = b.add(loop.AllocaOp(sums, i32)).results[0]
        zeros = b.constant(0, loop.tile((1, sums), i32))
        b.store(zeros, self._scratch, b.index(0), [b.index(0), b.index(1)])
        with b.loop(begin, end) as task:
            before = b.op(arith.SubiOp, [task, b.index(1)], IndexType())
            self._waiting = self._left_by(b.op(arith.MaxSIOp, [before, begin], IndexType()))
            self._task(task)
        b.when(b.compare("slt", begin, end), self._finish_last)

    def _finish_last(self) -> None:
        b = self.b
        last = b.op(arith.SubiOp, [self.frame.end, b.index(1)], IndexType())
        self._waiting = self._left_by(last)
        with b.loop(b.index(0), b.index(self._parts)) as part:
            self._finish_part(part)

    def _left_by(self, task: SSAValue) -> _Waiting:
        """The tile of a task."""
        b, tiles = self.b, static((self.grid.tiles,))
        _, panel, tile = self._enter(task)
        small, taller = divmod(static((self.product.rows,)), tiles)
        row = self._first_row(tile, small, taller)
        is_taller = b.compare("slt", tile, b.index(taller))
        height = b.select(is_taller, b.index(small + 1), b.index(small))
        self.axes[self.product.column] = b.mul_index(panel, b.index(self.tiling.panel))
        return _Waiting(self.axes, row, height)

    def _tile(
        self, panel: SSAValue, row: SSAValue, column: SSAValue, height: int, width: int
    ) -> None:
        b, axis = self.b, self.product.row
        assert axis is not None
        self.axes[axis] = row
        self.axes[self.product.column] = column
        self._ask_for_operands(row, height)
        zeros = [b.constant(0, loop.tile((1, width), i32))] * height
        sums = self._sums_beside(0, self._left(), self._right(panel, column), zeros)
        for number, total in enumerate(sums):
            b.store(total, self._scratch, b.index(number * width), [b.index(0), b.index(1)])

    def _ask_for_operands(self, row: SSAValue, height: int) -> None:
        """Asks for what the epilogue will read, which is needed when the next tile is summed."""
        loads = [n for _, e in self.rooted.epilogue for n in nodes_of(e) if self._is_operand(n)]
        assert self.product.row is not None
        for load, line in product(loads, range(height)):
            axes = {**self.axes, self.product.row: self.b.add_index(row, self.b.index(line))}
            lowering = ExpressionLowering(self.frame.scope(self.rooted.space, axes))
            buffer = self.frame.buffers[load.attr]
            place = lowering.position(load.args, buffer)
            self.b.add(loop.PrefetchOp(buffer.memory, place))

    def _is_operand(self, node: Scalar) -> bool:
        """Whether an expression loads from another row for each row of a tile."""
        if node.op != "load" or node.attr not in self.frame.buffers:
            return False
        form = self.rooted.space.position(node.args, self.frame.buffers[node.attr].shape)
        assert self.product.row is not None
        return not form.rest and form.coefficient(self.product.row) != 0

    def _sums_beside(
        self, level: int, left: SSAValue, right: SSAValue, totals: Sequence[SSAValue]
    ) -> Sequence[SSAValue]:
        """The sums; beside their first steps, the tile that waits is finished."""
        b, zero = self.b, self.b.index(0)
        if level < len(self.product.depths) - 1:
            totals = self._sums_beside(level + 1, left, right, totals)
            return self._sums(level, left, right, totals, 1)
        steps = self._steps() // self._parts

        def step(index: SSAValue, carried: Sequence[SSAValue]) -> Sequence[SSAValue]:
            return self._group(*self._places(level, left, right, index), carried)

        def part(number: SSAValue, carried: Sequence[SSAValue]) -> Sequence[SSAValue]:
            first = b.mul_index(number, b.index(steps))
            carried = b.fold(first, b.add_index(first, b.index(steps)), carried, step)
            self._finish_part(number)
            return carried

        totals = b.fold(zero, b.index(self._parts), totals, part)
        return self._sums(level, left, right, totals, steps * self._parts)

    def _finish_part(self, number: SSAValue) -> None:
        """Finishes some rows of the tile that waits; the last ones may be done before."""
        b, waiting, rows, width = self.b, self._waiting, self._together, self.tiling.panel
        last = b.op(arith.SubiOp, [waiting.height, b.index(rows)], IndexType())
        first = b.op(arith.MinSIOp, [b.mul_index(number, b.index(rows)), last], IndexType())
        place = b.mul_index(first, b.index(width))
        strides = [b.index(width), b.index(1)]
        total = b.load(self._scratch, place, loop.tile((rows, width), i32), strides)
        assert self.product.row is not None
        axes = {**waiting.axes, self.product.row: b.add_index(waiting.row, first)}
        self.axes, summed = axes, self.axes
        self._finish(total, rows, width)
        self.axes = summed
