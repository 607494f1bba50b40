"""Products of bytes: activations without sign, weights with sign, summed exactly in i32.

Four neighbours of the depth are one step. The epilogue scales the sums, row by row, out of the
registers.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import IntegerType, i32
from xdsl.ir import SSAValue

from ....ir import loop
from .contraction import Tiling, tilings
from .grouped import GroupedProduct

_BYTE = IntegerType(8)
# Where epilogues are long, tiles have fewer sums: so the machine begins the next tile while it ends
# one. The longest are loops.
_LONG, _LONGEST = 40, 100


class IntegerProduct(GroupedProduct):
    """The tiles of a product of bytes: a sum for each row."""

    group = 4

    def _tilings(self, most: int) -> list[Tiling]:
        target = self.frame.target
        sums = target.registers * 3 // 8 if _LONG < self.rooted.effort <= _LONGEST else None
        return tilings(self.product.rows, self.columns, target, most, sums)

    def _tile(
        self, panel: SSAValue, row: SSAValue, column: SSAValue, height: int, width: int
    ) -> None:
        if self.product.row is not None:
            self.axes[self.product.row] = row
        zero = self.b.constant(0, loop.tile((1, width), i32))
        sums = self._sums(0, self._left(), self._right(panel, column), [zero] * height)
        self.axes[self.product.column] = column
        if height > 1 and self.rooted.effort > _LONGEST:
            self._through_memory(row, sums, width)
            return
        for number, total in enumerate(sums):
            self._row(row, self.b.index(number), total, width)

    def _dots(
        self, left: SSAValue, right: SSAValue, totals: Sequence[SSAValue], count: int
    ) -> list[SSAValue]:
        """``count`` steps along the depth for every row."""
        b, zero, one = self.b, self.b.index(0), self.b.index(1)
        x, stride = self._memory(self.product.left.number), self._row_stride()
        y = b.load(self.words, right, totals[0].type, [zero, one])
        type = loop.tile((1, count), _BYTE)
        results: list[SSAValue] = []
        for number, total in enumerate(totals):
            place = b.add_index(left, b.mul_index(b.index(number), stride))
            bytes = b.load(x, place, type, [zero, one])
            results.append(b.add(loop.DotOp(bytes, y, total)).results[0])
        return results

    def _through_memory(self, row: SSAValue, sums: Sequence[SSAValue], width: int) -> None:
        """A long epilogue is written once, in a loop."""
        b, zero, one = self.b, self.b.index(0), self.b.index(1)
        scratch = b.add(loop.AllocaOp(len(sums) * width, i32)).results[0]
        for number, total in enumerate(sums):
            b.store(total, scratch, b.index(number * width), [zero, one])
        with b.loop(zero, b.index(len(sums))) as line:
            place = b.mul_index(line, b.index(width))
            self._row(row, line, b.load(scratch, place, sums[0].type, [zero, one]), width)

    def _row(self, first: SSAValue, number: SSAValue, total: SSAValue, width: int) -> None:
        """The epilogue of one row."""
        if self.product.row is not None:
            self.axes[self.product.row] = self.b.add_index(first, number)
        self._finish(total, 1, width)
