"""One row or a few times a weight of codes: sums of single products, bound by reading the weight.

A program computes a few columns for all rows. Its threads stand side by side along the depth, each
with 16 bytes of codes of every column at once; what they sum meets in the end. So even a matrix
with few columns keeps many threads reading. The sum over a group is scaled, not each code::

    for each part of the columns:
        for each group of the part:
            total += scale * sum of (code - zero point) * x
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product as pairs

import numpy as np

from ....ir.types import F32
from ..frame import Code
from ..layout import total
from ..printer import Printer, Scope
from ..target import CudaTarget
from .codes import SLICE, WORDS
from .encoded_product import At, EncodedProduct
from .flat import Placement, divides, place, power_of_two
from .pointwise import say

# The words of a thread, the sums that it has at most, the threads of a program.
_VECTOR, _SUMS, _THREADS = 4, 4, (256, 128, 64, 32)
_FEW, _FEW_TENSOR = 8, 2


def most_rows(dtype: np.dtype, target: CudaTarget) -> int:
    """Up to how many rows single products are fewer instructions than those of tensor cores."""
    return _FEW if dtype == F32 and target.precision == "f32" else _FEW_TENSOR


class RowsProduct(EncodedProduct):
    """Few rows, all in one program."""

    def build(self) -> Code:
        """The whole function."""
        frame = self.frame
        self._choose()
        frame.constant("LANES", self.lanes)
        frame.bind(f"tl.program_id(0) * {self.width}", "first")
        frame.bind("tl.arange(0, LANES)[:, None]", "lane")
        frame.bind(f"tl.arange(0, {_VECTOR})[None, :]", "word")
        for row, column in self._sums():
            frame.bind(f"tl.full([LANES, {_VECTOR}], 0.0, tl.float32)", f"total{row}{column}")
        with frame.loop("step", self.parts, self.lanes):
            self._part()
        self._meet()
        return frame.finish(self.layout.columns // self.width, self.lanes // 32)

    def _choose(self) -> None:
        """How many columns a program has, and how many threads."""
        target, columns = self.frame.target, self.layout.columns
        count = total(self.rows)
        assert isinstance(count, int)
        self.count, self.width = count, 1
        while self.width * 2 * count <= _SUMS and columns % (self.width * 2) == 0:
            self.width *= 2
        while self.width > 1 and columns // self.width < target.multiprocessors:
            self.width //= 2
        self.parts = self.layout.chunks * WORDS // _VECTOR
        self.lanes = min(_THREADS, key=lambda n: (-(-self.parts // n) * n, -n))
        what = f"{_number(count, 'row')} by {_number(self.width, 'column')}"
        why = f"{what} of {self.layout.bits} bits, {self.lanes} threads along the depth"
        say(self.frame.kernel, "encoded", why)

    def _sums(self) -> Iterator[tuple[int, int]]:
        return pairs(range(self.count), range(self.width))

    def _part(self) -> None:
        """The products of 16 bytes of each column a thread."""
        frame = self.frame
        frame.bind("step + lane", "part")
        whole = divides(self.lanes, self.parts)
        mask = "" if whole else frame.bind(f"part < {self.parts}", "part_ok")
        hint = ', eviction_policy="evict_first"'
        place = At(f"part * {_VECTOR} + word", mask)
        words = [self.words(_column(c), place, hint) for c in range(self.width)]
        vectors = WORDS // _VECTOR
        frame.bind(f"part // {vectors} * {self.layout.chunk}", "depth")
        frame.bind(f"depth + part % {vectors} * {_VECTOR} + word", "k0")
        for first in range(0, self.layout.slices, self.run):
            self._group(words, first, mask)

    def _group(self, words: Sequence[str], first: int, mask: str) -> None:
        """The products of slices that share their scale."""
        frame = self.frame
        depth = At(f"(depth + {first * SLICE})" if first else "depth", mask)
        scales = [self.scales(_column(c), depth) for c in range(self.width)]
        sums: dict[tuple[int, int], str] = {}
        for number in range(first, first + self.run):
            rows = [self._row(row, number, mask) for row in range(self.count)]
            for column, (text, (_, offset)) in enumerate(zip(words, scales, strict=True)):
                code = frame.bind(self.code(text, number, offset), "code")
                for row, x in enumerate(rows):
                    before = f"sum{row}{column} + " if (row, column) in sums else ""
                    sums[row, column] = frame.bind(f"{before}{code} * {x}", f"sum{row}{column}")
        for row, column in self._sums():
            name, scale = f"total{row}{column}", scales[column][0]
            frame.bind(f"{name} + {sums[row, column]} * {scale}", name)

    def _row(self, row: int, number: int, mask: str) -> str:
        """The left factor of a row where a slice lies."""
        frame, layout = self.frame, self.layout
        k = frame.bind(f"k0 + {number * SLICE}", f"k{number}") if number else "k0"
        here = Placement(dict.fromkeys(range(len(self.space.extents)), "0"), {})
        sizes = [int(str(g.size)) for g in self.rows]
        indices = np.unravel_index(row, sizes) if sizes else ()
        here.axes.update({g.inner: str(i) for g, i in zip(self.rows, indices, strict=True)})
        here.axes[self.depth] = k
        if layout.depth % layout.chunk:
            here.masks[self.depth] = frame.bind(f"{k} < {layout.depth}", f"{k}_ok")
        elif mask:
            here.masks[self.depth] = mask
        return self.left(here, "tl.float32", f"left{row}")

    def _meet(self) -> None:
        """Adds up what the threads have, in one tile of results, and stores what becomes of it."""
        frame, rows = self.frame, power_of_two(self.count)
        frame.bind(f"tl.arange(0, {rows})[:, None]", "m")
        frame.bind(f"(first + tl.arange(0, {self.width}))[None, :]", "n")
        frame.bind(f"tl.full([{rows}, {self.width}], 0.0, tl.float32)", "total")
        for row, column in self._sums():
            own = f"total{row}{column}"
            added = f"tl.reduce(tl.reduce({own}, 1, _add), 0, _add)"
            here = f"(m == {row}) & (n == {_column(column).text})"
            frame.bind(f"tl.where({here}, {added}, total)", "total")
        placed = Placement(dict.fromkeys(range(len(self.space.extents)), "0"), {})
        place(frame, placed, self.rows, "m", rows == self.count)
        placed.axes[self.column] = "n"
        registers = {self.rooted.result.attr: "total"}
        scope = Scope(frame, self.space, placed.axes, placed.masks, registers, lanes="(m + n)")
        self.rooted.write(Printer(scope))


def _column(number: int) -> At:
    """A column of the program's."""
    return At(f"(first + {number})" if number else "first")


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
