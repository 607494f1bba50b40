"""Rows times a weight of codes on tensor cores, tile by tile.

What is computed is the transposed product: the weight is the left factor, whose fragments Triton
takes from registers. So codes go from memory to the registers that multiply them and nowhere else
on the way: eight slices are decoded and scaled, and joined to one step of the product. With few
rows programs wait for memory: then several chunks are on their way at once, and where tiles are
few, each program takes a part of the depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product as pairs

from ....ir.dims import Dim, ceildiv
from ....ir.types import F32
from ..elements import memory_type
from ..fill import LAUNCH, balanced
from ..frame import Code
from ..layout import total
from ..panels import Strips, best_panel, traffic
from ..printer import Printer, Scope
from ..tiles import Tile, why_panel
from .codes import SLICE, WORDS
from .cut import Cut
from .encoded_product import At, EncodedProduct
from .factors import precision_of
from .flat import Placement, divides, nothing_placed, place
from .parts import Parts
from .pointwise import say
from .walk import Walk

# The slices that are multiplied at once: by tensor cores, and one by one in f32.
_SLICES, _FEW_SLICES = 8, 2
# Per multiprocessor and cycle: multiplications, decoded codes, bytes from memory and from the
# second-level cache. Tiles of fewer columns are not for the widest instructions.
_TENSOR, _TENSOR_TF32, _PLAIN, _DECODED, _READ, _BYTES, _WIDE = 1024, 512, 96, 32, 16, 48, 64
_LATENCY, _STEP, _UNKNOWN = 1500, 40, 64
# Cycles until memory answers, and the warps that stay on a multiprocessor at once.
_ANSWER, _RESIDENT_WARPS = 800, 16
# How many chunks are on their way, or multiplied; parts of the depth; tiles that are worth naming.
_STAGES, _PARTS, _MOST = (3, 5, 8), (1, 2, 4, 8), 8
# The sums of a thread at most.
_HELD, _HELD_PLAIN = 64, 16


class TilesProduct(EncodedProduct):
    """Any number of rows; tiles of columns by rows."""

    def build(self) -> Code:
        """The whole function."""
        frame = self.frame
        ranked = sorted(self._legal(), key=lambda t: (self._cycles(t), t.stages))[:_MOST]
        self.tile = tile = Tile(*frame.pick("tile", [t.option for t in ranked]))
        cut = Cut(frame, self.layout.chunks, tile.parts, 1)
        why = f"tiles of {tile}, {self.layout.bits} bits a weight{cut.why(tile.parts)}"
        why += why_panel(tile)
        self.parts = Parts(self.rooted, cut, tile.parts, 0) if tile.parts > 1 else None
        say(frame.kernel, "encoded", why)
        frame.constant("ROWS", tile.rows)
        frame.constant("COLUMNS", tile.columns)
        outer = [tile.parts] if self.parts else []
        walk = Walk(frame, outer, *self._counts(tile), tile.panel)
        with walk.tiles() as part:
            self._tile(part)
        end = self.parts.finish if self.parts else frame.finish
        return end(walk.grid, tile.warps, tile.stages)

    def _tile(self, part: Sequence[str]) -> None:
        """Computes a tile, or a part of it, and stores it."""
        frame = self.frame
        first, last = self.parts.cut.bounds(*part) if self.parts else ("0", self.layout.chunks)
        rows, columns = self._place()
        frame.bind("tl.full([COLUMNS, ROWS], 0.0, tl.float32)", "total")
        with frame.loop("chunk", last, 1, first):
            self._chunk(rows, columns.masks.get(self.column, ""))
        axes = {**rows.axes, self.column: "n"}
        masks, registers = {**rows.masks, **columns.masks}, {self.rooted.result.attr: "total"}
        scope = Scope(frame, self.space, axes, masks, registers, lanes="(m + n)")
        if self.parts:
            self.parts.leave(scope)
        else:
            self.rooted.write(Printer(scope))

    def _place(self) -> tuple[Placement, Placement]:
        """The axes of the tile."""
        frame, tile = self.frame, self.tile
        frame.bind("(row * ROWS + tl.arange(0, ROWS))[None, :]", "m")
        frame.bind("(column * COLUMNS + tl.arange(0, COLUMNS))[:, None]", "n")
        rank = len(self.space.extents)
        rows, columns = nothing_placed(rank), nothing_placed(rank)
        place(frame, rows, self.rows, "m", divides(tile.rows, total(self.rows)))
        if self.layout.columns % tile.columns:
            columns.masks[self.column] = frame.bind(f"n < {self.layout.columns}", "n_ok")
        return rows, columns

    def _chunk(self, rows: Placement, mask: str) -> None:
        """The products of a chunk of the depth."""
        frame, layout = self.frame, self.layout
        frame.bind(f"chunk * {layout.chunk}", "depth")
        column, place = At("n", mask), At(f"(chunk * {WORDS} + tl.arange(0, {WORDS})[None, :])")
        words = self.words(column, place)
        count = self._at_once()
        precision = precision_of(self.product.left.dtype, frame.target)
        for first in range(0, layout.slices, count):
            right = self._right(rows, first * SLICE, count * SLICE)
            slices = list(self._slices(words, first, count, column))
            left = frame.bind(self._joined(slices), "left")
            frame.bind(f"tl.dot({left}, {right}, total{precision})", "total")

    def _slices(self, words: str, first: int, count: int, column: At) -> Iterator[str]:
        """The decoded slices of a step."""
        scale = offset = ""
        for number in range(first, first + count):
            if number == first or number % self.run == 0:
                depth = At(f"(depth + {number * SLICE})" if number else "depth")
                scale, offset = self.scales(column, depth)
            code = self.code(words, number, offset)
            yield self.frame.bind(f"{code} * {scale}", f"slice{number - first}")

    def _joined(self, slices: Sequence[str]) -> str:
        """Slices side by side, in order."""
        levels = len(slices).bit_length() - 1
        order = ", ".join(map(str, [0, *range(levels + 1, 1, -1), 1]))
        tile = f"tl.permute({_paired(slices)}, ({order}))"
        type = memory_type(self.product.left.dtype)
        return f"tl.reshape({tile}, [COLUMNS, {len(slices) * SLICE}]).to({type})"

    def _right(self, rows: Placement, start: int, size: int) -> str:
        """The left factor, which is the right one here, at the depths of a step."""
        frame = self.frame
        here = Placement(dict(rows.axes), dict(rows.masks))
        first = f"depth + {start}" if start else "depth"
        frame.bind(f"({first} + tl.arange(0, {size}))[:, None]", "k")
        here.axes[self.depth] = "k"
        if self.layout.depth % self.layout.chunk:
            here.masks[self.depth] = frame.bind(f"k < {self.layout.depth}", "k_ok")
        right = self.left(here, memory_type(self.product.left.dtype), "right")
        if {self.depth, *self.product.rows} <= self.product.left.axes:
            return right
        return frame.bind(f"tl.broadcast_to({right}, [{size}, ROWS])", "right")

    def _counts(self, tile: Tile) -> tuple[Dim, Dim]:
        """How many tiles there are, along rows and along columns."""
        return ceildiv(total(self.rows), tile.rows), -(-self.layout.columns // tile.columns)

    def _legal(self) -> Iterator[Tile]:
        depth, most = self._at_once() * SLICE, _HELD_PLAIN if self._is_plain() else _HELD
        sizes = (16, 32, 64, 128)
        for rows, columns, stages, parts in pairs(sizes, sizes, _STAGES, self._parts()):
            warps = 8 if columns == 128 else 4
            tile = Tile(rows, columns, depth, warps, stages, parts)
            held = rows * columns // (32 * warps)
            if held <= most and self._shared(tile) <= self.frame.target.shared:
                yield replace(tile, panel=best_panel(self._strips(tile), self.frame.target))

    def _parts(self) -> list[int]:
        """In how many parts the depth may be taken; where only the run knows the rows, in one."""
        chunks = self.layout.chunks
        known = isinstance(total(self.rows), int)
        return sorted({balanced(n, chunks) for n in _PARTS if n == 1 or (known and n < chunks)})

    def _strips(self, tile: Tile) -> Strips:
        rows, depth = self._known_rows(), self.layout.depth
        down, across = -(-rows // tile.rows), -(-self.layout.columns // tile.columns)
        left = rows * depth * self.product.left.dtype.itemsize
        return Strips(down, across, left, tile.columns * depth * self.layout.bits / 8)

    def _shared(self, tile: Tile) -> int:
        depth = self.layout.chunk * tile.rows * self.product.left.dtype.itemsize
        return tile.stages * (depth + tile.columns * WORDS * F32.itemsize)

    def _cycles(self, tile: Tile) -> float:
        """Predicted cycles of all tiles."""
        layout, target = self.layout, self.frame.target
        chunks = -(-layout.chunks // tile.parts)
        depth, rows, columns = chunks * layout.chunk, tile.rows, tile.columns
        slow = 1 if columns >= _WIDE else 2
        work = rows * columns * depth / self._rate() * slow + columns * depth / _DECODED / 2
        read = columns * depth * layout.bits / 8 / _READ
        read += rows * depth * self.product.left.dtype.itemsize / _BYTES
        busy = max(work, read) + _STEP * chunks
        strips = self._strips(tile)
        programs = strips.down * strips.across * tile.parts
        waves = -(-programs // target.multiprocessors)
        room = target.shared // self._shared(tile), _RESIDENT_WARPS // tile.warps
        rounds = -(-waves // min(room))
        memory = traffic(strips, tile.panel, target) / _READ / target.multiprocessors
        waiting = rounds * chunks * _ANSWER / (tile.stages - 1)
        whole = max(waves * busy, waiting, memory) + rounds * _LATENCY
        if tile.parts == 1:
            return whole
        partial = 8 * rows * columns * programs / target.multiprocessors
        return whole + partial / _BYTES + LAUNCH + _LATENCY

    def _at_once(self) -> int:
        """How many slices a step multiplies."""
        return min(self.layout.slices, _FEW_SLICES if self._is_plain() else _SLICES)

    def _is_plain(self) -> bool:
        """Whether products are of f32, without tensor cores."""
        return self.product.left.dtype == F32 and self.frame.target.precision == "f32"

    def _known_rows(self) -> int:
        count = total(self.rows)
        return max(1, count) if isinstance(count, int) else _UNKNOWN

    def _rate(self) -> int:
        if self._is_plain():
            return _PLAIN
        return _TENSOR_TF32 if self.product.left.dtype == F32 else _TENSOR


def _paired(slices: Sequence[str]) -> str:
    """Slices joined by halves, so that the last dim tells them apart first."""
    if len(slices) == 1:
        return slices[0]
    half = len(slices) // 2
    return f"tl.join({_paired(slices[:half])}, {_paired(slices[half:])})"
