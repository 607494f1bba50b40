"""One row or a few times what is kept of a matrix: bound by reading it, so that less is read.

Each value that is kept is multiplied by the left factor where it belongs, which is read there: it
lies in the caches.
"""

from __future__ import annotations

from ..frame import Code
from .codes import SLICE, WORDS
from .factors import Product
from .few_rows import VECTOR, FewRows, column_at
from .flat import divides
from .kept import Grouped, Kept, Scattered
from .pointwise import say
from .rooted import Rooted

_ONCE = ', eviction_policy="evict_first"'


def kept_code(rooted: Rooted, product: Product, number: int, kept: Kept) -> Code:
    """Code for a product with what is kept of operand ``number``."""
    if isinstance(kept, Grouped):
        return _GroupedRows(rooted, product, number, kept).build()
    return _ScatteredRows(rooted, product, number, kept).build()


class _GroupedRows(FewRows):
    """A program reads words of places; each thread the values that belong to four of them."""

    def __init__(self, rooted: Rooted, product: Product, number: int, kept: Grouped):
        super().__init__(rooted, product)
        self.kept, self.layout = kept, kept.layout
        self.values, self.places = self.frame.pack(number, *kept.arrays())

    def build(self) -> Code:
        """The whole function."""
        frame, kept = self.frame, self.kept
        parts = self.layout.chunks * WORDS // VECTOR
        self.choose(kept.columns, parts)
        why = f"{self.described()}, {kept.kept} of every {kept.group} read"
        say(frame.kernel, "sparse", why)
        self.begin()
        with frame.loop("step", parts, self.lanes):
            self._part(parts)
        self.meet()
        return frame.finish(kept.columns // self.width, self.lanes // 32)

    def _part(self, parts: int) -> None:
        frame, layout = self.frame, self.layout
        frame.bind("step + lane", "part")
        mask = "" if divides(self.lanes, parts) else frame.bind(f"part < {parts}", "part_ok")
        self.masked = f", mask={mask}, other=0{_ONCE}" if mask else _ONCE
        size = layout.chunks * WORDS
        for n in range(self.width):
            start = f"{column_at(n)} * {size} + part * {VECTOR} + word"
            frame.bind(f"tl.load({self.places} + ({start}){self.masked})", f"words{n}")
        groups = WORDS // VECTOR
        start = f"part // {groups} * {layout.chunk} + part % {groups} * {VECTOR} + word"
        frame.bind(start, "start")
        with frame.block(f"for slice in tl.static_range({layout.slices})"):
            frame.bind(f"start + slice * {SLICE}", "at")
            for n in range(self.width):
                self._products(n, mask)

    def _products(self, column: int, mask: str) -> None:
        """Those of a slice of a column."""
        frame, kept, bits = self.frame, self.kept, self.layout.bits
        where = f"{column_at(column)} * {kept.filled} + at"
        value = f"tl.load({self.values} + ({where}){self.masked})"
        frame.bind(f"{value}.to(tl.float32)", "value")
        place = f"(words{column} >> (slice * {bits})) & {(1 << bits) - 1}"
        frame.bind(f"at // {kept.kept} * {kept.group} + ({place})", "k")
        if kept.filled != kept.count:
            mask = frame.bind(f"k < {kept.depth}", "k_ok")
        for row in range(self.count):
            x, total = self.row_at(row, "k", mask), f"total{row}{column}"
            frame.bind(f"{total} + value * {x}", total)


class _ScatteredRows(FewRows):
    """A program reads one column; each thread four values at once, and their places."""

    def __init__(self, rooted: Rooted, product: Product, number: int, kept: Scattered):
        super().__init__(rooted, product)
        self.kept = kept
        self.values, self.places, self.starts = self.frame.pack(number, *kept.arrays())

    def build(self) -> Code:
        """The whole function."""
        frame, kept = self.frame, self.kept
        self.choose(kept.columns, kept.fours, widest=1)
        say(frame.kernel, "sparse", f"{self.described()}, {self.lanes} threads along what is kept")
        self.begin()
        frame.bind(f"tl.load({self.starts} + first)", "start")
        frame.bind(f"tl.load({self.starts} + first + 1) - start", "fours")
        with frame.loop("step", "fours", self.lanes):
            frame.bind("step + lane", "part")
            frame.bind("part < fours", "part_ok")
            frame.bind(f"(start + part) * {VECTOR} + word", "at")
            masked = f", mask=part_ok, other=0{_ONCE}"
            frame.bind(f"tl.load({self.values} + at{masked}).to(tl.float32)", "value")
            frame.bind(f"tl.load({self.places} + at{masked}).to(tl.int32)", "k")
            for row in range(self.count):
                x, total = self.row_at(row, "k", "part_ok"), f"total{row}0"
                frame.bind(f"{total} + value * {x}", total)
        self.meet()
        return frame.finish(kept.columns, self.lanes // 32)
