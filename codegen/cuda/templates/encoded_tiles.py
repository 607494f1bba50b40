"""Rows times a weight of codes on tensor cores, tile by tile.

What is computed is the transposed product: the weight is the left factor, whose fragments Triton
takes from registers. So codes go from memory to the registers that multiply them and nowhere else
on the way: eight slices are decoded and scaled, and joined to one step of the product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product as pairs

from ....ir.dims import Dim, ceildiv
from ....ir.types import F32
from ..elements import memory_type
from ..frame import Code
from ..layout import total
from ..panels import Strips, best_panel, traffic
from ..printer import Printer, Scope
from ..tiles import Tile, why_panel
from .codes import SLICE, WORDS
from .encoded_product import At, EncodedProduct
from .factors import precision_of
from .flat import Placement, divides, nothing_placed, place
from .pointwise import say
from .walk import Walk

# The slices that are multiplied at once: by tensor cores, and one by one in f32.
_SLICES, _FEW_SLICES = 8, 2
# Per multiprocessor and cycle: multiplications, decoded codes, bytes from memory and from the
# second-level cache. Tiles of fewer columns are not for the widest instructions.
_TENSOR, _TENSOR_TF32, _PLAIN, _DECODED, _READ, _BYTES, _WIDE = 1024, 512, 96, 32, 16, 48, 64
_LATENCY, _STEP, _UNKNOWN = 1500, 40, 64
_STAGES, _MOST = 3, 8
# The sums of a thread at most.
_HELD, _HELD_PLAIN = 64, 16


class TilesProduct(EncodedProduct):
    """Any number of rows; tiles of columns by rows."""

    def build(self) -> Code:
        """The whole function."""
        frame = self.frame
        ranked = sorted(self._legal(), key=self._cycles)[:_MOST]
        self.tile = tile = Tile(*frame.pick("tile", [t.option for t in ranked]))
        why = f"tiles of {tile}, {self.layout.bits} bits a weight{why_panel(tile)}"
        say(frame.kernel, "encoded", why)
        frame.constant("ROWS", tile.rows)
        frame.constant("COLUMNS", tile.columns)
        walk = Walk(frame, [], *self._counts(tile), tile.panel)
        with walk.tiles():
            self._tile()
        return frame.finish(walk.grid, tile.warps, tile.stages)

    def _tile(self) -> None:
        """Computes a tile and stores it."""
        frame = self.frame
        rows, columns = self._place()
        frame.bind("tl.full([COLUMNS, ROWS], 0.0, tl.float32)", "total")
        with frame.loop("chunk", self.layout.chunks):
            self._chunk(rows, columns.masks.get(self.column, ""))
        axes = {**rows.axes, self.column: "n"}
        masks, registers = {**rows.masks, **columns.masks}, {self.rooted.result.attr: "total"}
        scope = Scope(frame, self.space, axes, masks, registers, lanes="(m + n)")
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
        for rows, columns in pairs((16, 32, 64, 128), (16, 32, 64, 128)):
            warps = 8 if columns == 128 else 4
            tile = Tile(rows, columns, depth, warps, _STAGES)
            held = rows * columns // (32 * warps)
            if held <= most and self._shared(tile) <= self.frame.target.shared:
                yield replace(tile, panel=best_panel(self._strips(tile), self.frame.target))

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
        depth = layout.chunks * layout.chunk
        rows, columns = tile.rows, tile.columns
        slow = 1 if columns >= _WIDE else 2
        work = rows * columns * depth / self._rate() * slow + columns * depth / _DECODED / 2
        read = columns * depth * layout.bits / 8 / _READ
        read += rows * depth * self.product.left.dtype.itemsize / _BYTES
        one = max(work, read) + _STEP * layout.chunks + _LATENCY
        strips = self._strips(tile)
        waves = -(-strips.down * strips.across // target.multiprocessors)
        memory = traffic(strips, tile.panel, target) / _READ / target.multiprocessors
        return max(waves * one, memory)

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
