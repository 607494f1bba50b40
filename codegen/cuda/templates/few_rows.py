"""One row or a few times a weight: a program computes a few columns for all rows.

Its threads stand side by side along what it reads of the weight, four numbers each; what they sum
meets in the end. So even a matrix with few columns keeps many threads reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product as pairs

import numpy as np

from ..layout import total
from ..printer import Printer, Scope
from .flat import Placement, place, power_of_two
from .weight_product import WeightProduct

# The numbers of a thread, the sums that it has at most, the threads of a program.
VECTOR = 4
_SUMS, _THREADS = 4, (256, 128, 64, 32)


class FewRows(WeightProduct):
    """Few rows, all in one program.

    Attributes:
        count: Of the rows.
        width: How many columns a program computes.
        lanes: Its threads.
    """

    count: int
    width: int
    lanes: int

    def choose(self, columns: int, parts: int, widest: int = _SUMS) -> None:
        """How many columns a program has, and how many threads for ``parts`` of a column."""
        target = self.frame.target
        count = total(self.rows)
        assert isinstance(count, int)
        self.count, self.width = count, 1
        while self.width * 2 * count <= widest and columns % (self.width * 2) == 0:
            self.width *= 2
        while self.width > 1 and columns // self.width < target.multiprocessors:
            self.width //= 2
        self.lanes = min(_THREADS, key=lambda n: (-(-parts // n) * n, -n))

    def described(self) -> str:
        """What is chosen."""
        return f"{_number(self.count, 'row')} by {_number(self.width, 'column')}"

    def begin(self) -> None:
        """The threads' numbers, and empty sums."""
        frame = self.frame
        frame.constant("LANES", self.lanes)
        start = "tl.program_id(0)"
        frame.bind(f"{start} * {self.width}" if self.width > 1 else start, "first")
        frame.bind("tl.arange(0, LANES)[:, None]", "lane")
        frame.bind(f"tl.arange(0, {VECTOR})[None, :]", "word")
        for row, column in self.sums():
            frame.bind(f"tl.full([LANES, {VECTOR}], 0.0, tl.float32)", f"total{row}{column}")

    def sums(self) -> Iterator[tuple[int, int]]:
        """Each row with each column."""
        return pairs(range(self.count), range(self.width))

    def row_at(self, row: int, depth: str, mask: str) -> str:
        """The left factor of a row at depths, a name."""
        here = Placement(dict.fromkeys(range(len(self.space.extents)), "0"), {})
        sizes = [int(str(g.size)) for g in self.rows]
        indices = np.unravel_index(row, sizes) if sizes else ()
        here.axes.update({g.inner: str(i) for g, i in zip(self.rows, indices, strict=True)})
        here.axes[self.depth] = depth
        if mask:
            here.masks[self.depth] = mask
        return self.left(here, "tl.float32", f"left{row}")

    def meet(self) -> None:
        """Adds up what the threads have, in one tile of results, and stores what becomes of it."""
        frame, rows = self.frame, power_of_two(self.count)
        frame.bind(f"tl.arange(0, {rows})[:, None]", "m")
        frame.bind(f"(first + tl.arange(0, {self.width}))[None, :]", "n")
        frame.bind(f"tl.full([{rows}, {self.width}], 0.0, tl.float32)", "total")
        for row, column in self.sums():
            own = f"total{row}{column}"
            added = f"tl.reduce(tl.reduce({own}, 1, _add), 0, _add)"
            here = f"(m == {row}) & (n == {column_at(column)})"
            frame.bind(f"tl.where({here}, {added}, total)", "total")
        placed = Placement(dict.fromkeys(range(len(self.space.extents)), "0"), {})
        place(frame, placed, self.rows, "m", rows == self.count)
        placed.axes[self.column] = "n"
        registers = {self.rooted.result.attr: "total"}
        scope = Scope(frame, self.space, placed.axes, placed.masks, registers, lanes="(m + n)")
        self.rooted.write(Printer(scope))


def column_at(number: int) -> str:
    """A column of the program's."""
    return f"(first + {number})" if number else "first"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
