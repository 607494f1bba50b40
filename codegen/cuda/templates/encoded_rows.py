"""One row or a few times a weight of codes: sums of single products, bound by reading the weight.

A thread takes 16 bytes of codes of every column at once. The sum over a group is scaled, not each
code::

    for each part of the columns:
        for each group of the part:
            total += scale * sum of (code - zero point) * x
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....ir.types import F32
from ..frame import Code
from ..target import CudaTarget
from .codes import SLICE, WORDS
from .encoded_product import At, EncodedProduct
from .few_rows import VECTOR, FewRows, column_at
from .flat import divides
from .pointwise import say

_FEW, _FEW_TENSOR = 8, 2


def most_rows(dtype: np.dtype, target: CudaTarget) -> int:
    """Up to how many rows single products are fewer instructions than those of tensor cores."""
    return _FEW if dtype == F32 and target.precision == "f32" else _FEW_TENSOR


class RowsProduct(FewRows, EncodedProduct):
    """Few rows, all in one program."""

    def build(self) -> Code:
        """The whole function."""
        frame = self.frame
        self.parts = self.layout.chunks * WORDS // VECTOR
        self.choose(self.layout.columns, self.parts)
        why = f"{self.described()} of {self.layout.bits} bits, {self.lanes} threads along the depth"
        say(frame.kernel, "encoded", why)
        self.begin()
        with frame.loop("step", self.parts, self.lanes):
            self._part()
        self.meet()
        return frame.finish(self.layout.columns // self.width, self.lanes // 32)

    def _part(self) -> None:
        """The products of 16 bytes of each column a thread."""
        frame = self.frame
        frame.bind("step + lane", "part")
        whole = divides(self.lanes, self.parts)
        mask = "" if whole else frame.bind(f"part < {self.parts}", "part_ok")
        hint = ', eviction_policy="evict_first"'
        place = At(f"part * {VECTOR} + word", mask)
        words = [self.words(At(column_at(c)), place, hint) for c in range(self.width)]
        vectors = WORDS // VECTOR
        frame.bind(f"part // {vectors} * {self.layout.chunk}", "depth")
        frame.bind(f"depth + part % {vectors} * {VECTOR} + word", "k0")
        for first in range(0, self.layout.slices, self.run):
            self._group(words, first, mask)

    def _group(self, words: Sequence[str], first: int, mask: str) -> None:
        """The products of slices that share their scale."""
        frame = self.frame
        depth = At(f"(depth + {first * SLICE})" if first else "depth", mask)
        scales = [self.scales(At(column_at(c)), depth) for c in range(self.width)]
        sums: dict[tuple[int, int], str] = {}
        for number in range(first, first + self.run):
            rows = [self._row(row, number, mask) for row in range(self.count)]
            for column, (text, (_, offset)) in enumerate(zip(words, scales, strict=True)):
                code = frame.bind(self.code(text, number, offset), "code")
                for row, x in enumerate(rows):
                    before = f"sum{row}{column} + " if (row, column) in sums else ""
                    sums[row, column] = frame.bind(f"{before}{code} * {x}", f"sum{row}{column}")
        for row, column in self.sums():
            name, scale = f"total{row}{column}", scales[column][0]
            frame.bind(f"{name} + {sums[row, column]} * {scale}", name)

    def _row(self, row: int, number: int, mask: str) -> str:
        """The left factor of a row where a slice lies."""
        frame, layout = self.frame, self.layout
        k = frame.bind(f"k0 + {number * SLICE}", f"k{number}") if number else "k0"
        if layout.depth % layout.chunk:
            mask = frame.bind(f"{k} < {layout.depth}", f"{k}_ok")
        return self.row_at(row, k, mask)
