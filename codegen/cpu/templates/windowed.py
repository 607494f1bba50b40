"""Windows that move over an image, channels last: tiles of places and channels, around the pads.

A task is some rows of results. They are computed for some vectors of channels at a time, in tiles
of some places of the window. A tile keeps its totals in registers while the window's rows pass.
Pads are not copied: rows and taps outside the image are left out, at compile time where its size
is known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import gcd

import numpy as np
from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir.dims import Dim, ceildiv, floordiv, product
from ....ir.ops.window import Window
from ....ir.structure import neutral
from ....ir.types import bit_width, is_float
from ..elements import compute_type
from ..expression import ExpressionLowering
from .columns import for_columns
from .frame import Code, Packing, grain_of, static
from .rooted import Rooted
from .windows import Side, Taps, bounds_of, runs_of, sides_of

_PLACES = 8
_STRIP = 14
_TASKS = 16
# Of a first-level cache; and how many of its lines, times how few sets they meet in, are too many.
_LINE, _SETS = 64, 64
_CROWDED = 2048


class Windowed(ABC):
    """The tiles of a kernel around a window; what a tile takes in is left to be said.

    Attributes:
        dtype: Of totals.
        bits: Of a total in a register.
        strip: The rows of a task.
        axes: The value of each axis where code is being written.
    """

    def __init__(self, rooted: Rooted, window: Window, image: Sequence[Dim], dtype: np.dtype):
        self.rooted = rooted
        self.frame = rooted.frame
        self.b = rooted.frame.b
        self.dtype = dtype
        self.shape = rooted.type.shape
        self.channel = len(self.shape) - 1
        self.bits = max(32 if is_float(dtype) else 8, bit_width(dtype))
        *self.outer, self.inner = sides_of(window, image, self.shape[1:-1])
        self.places, self.lanes = self.frame.pick("window", self._tiles())
        self.taps = static(tuple(side.kernel for side in (*self.outer, self.inner)))
        self.axes: dict[int, SSAValue] = {}
        self.bounds: dict[Side, tuple[SSAValue, SSAValue]] = {}
        self.strip = self._strip_rows()

    @abstractmethod
    def _taps(self, taps: Taps, totals: Sequence[SSAValue]) -> Sequence[SSAValue]:
        """The totals with one row of the window: ``taps`` of it for each of the places."""

    def _packings(self) -> Mapping[int, Packing]:
        """How constant operands are laid out."""
        return {}

    def build(self) -> Code:
        """A task is some rows of an image, and some of its channels where there are few rows."""
        b, frame = self.b, self.frame
        blocks, channels = self.shape[: len(self.shape) - 1 - bool(self.outer) - 1], self.shape[-1]
        rows: Dim = self.outer[-1].places if self.outer else 1
        strips = ceildiv(rows, self.strip)
        parts = self._parts(static((*blocks, strips)))
        size = floordiv(channels, parts)
        with b.loop(frame.begin, frame.end) as task:
            block, strip, part = frame.unflatten(task, [product(blocks), strips, parts])
            self.axes = dict.fromkeys(range(len(self.rooted.space.extents)), b.index(0))
            self.axes.update(enumerate(frame.unflatten(block, blocks)))
            self.bounds = {
                side: bounds_of(frame, side, self.axes[side.axis]) for side in self.outer[:-1]
            }
            start = b.mul_index(part, frame.dim(size))

            def columns(place: SSAValue, lanes: int) -> None:
                self._strip(strip, b.add_index(start, place), lanes)

            for_columns(b, b.index(0), frame.dim(size), self.lanes, columns)
        results = static((self.inner.places, size)) * self.strip
        cost = (self.taps + self.rooted.effort) * results // 16
        tasks = product(blocks) * strips * parts
        return frame.finish(tasks, grain_of(cost), self._packings(), self.shape[0])

    def _tile_size(self) -> tuple[int, int]:
        """Places and channels of a tile.

        Lines come in pairs: two vectors of channels are read at a time. Where the distance of
        places in memory puts them all into the same few sets of the L1 cache, they do not stay
        there, and each is best read whole, many channels at once.
        """
        target, channels = self.frame.target, static((self.shape[-1],))
        rows = self.outer[-1].kernel if self.outer else 1
        pixels = rows * static((self.inner.size,))
        crowd = gcd(channels * self.bits // 8 // _LINE, _SETS)
        vectors = 4 if pixels * crowd > _CROWDED else 2
        places = max(1, min(_PLACES, target.registers // 2 // vectors))
        return places, max(1, min(channels, vectors * target.lanes(self.bits)))

    def _tiles(self) -> list[tuple[int, int]]:
        """Places and channels of tiles: by estimate, then the others."""
        best, channels = self._tile_size(), static((self.shape[-1],))
        registers, lanes = self.frame.target.registers, self.frame.target.lanes(self.bits)
        others = [(registers // 2 // v, min(channels, v * lanes)) for v in (1, 2, 4)]
        return list(dict.fromkeys([best, *((min(_PLACES, p), c) for p, c in others)]))

    def _strip(self, strip: SSAValue, channel: SSAValue, lanes: int) -> None:
        """Some rows, at a vector of channels."""
        b = self.b
        self.axes[self.channel] = channel
        if not self.outer:
            self._row(lanes)
            return
        side = self.outer[-1]
        first = b.mul_index(strip, b.index(self.strip))
        end = b.op(
            arith.MinSIOp,
            [b.add_index(first, b.index(self.strip)), self.frame.dim(side.places)],
            IndexType(),
        )
        with b.loop(first, end) as row:
            self.axes[side.axis] = row
            self.bounds[side] = bounds_of(self.frame, side, row)
            self._row(lanes)

    def _vectors(self) -> int:
        """Into how many equal parts the channels can be cut."""
        channels = self.shape[-1]
        known = isinstance(channels, int) and channels > 0 and channels % self.lanes == 0
        return static((channels,)) // self.lanes if known else 1

    def _strip_rows(self) -> int:
        """The rows of a task; fewer where channels cannot be cut so that there are tasks enough."""
        tasks = static(self.shape[:-2]) * self._vectors()
        return max(1, min(_STRIP, tasks // _TASKS))

    def _parts(self, strips: int) -> int:
        """Into how many equal parts the channels are cut, so that there are tasks enough."""
        vectors = self._vectors()
        wanted = min(vectors, -(-_TASKS // max(1, strips)))
        return next(n for n in range(wanted, 0, -1) if vectors % n == 0)

    def _row(self, lanes: int) -> None:
        """All places of a row, at some channels."""
        runs = runs_of(self.inner, self.places)
        if runs is None:
            self._row_of_unknown_size(lanes)
            return
        for run in runs:
            first, width = self.b.index(run.first), len(run.taps)
            if run.tiles == 1:
                self._tile(first, run.taps, lanes)
                continue
            end = self.b.index(run.first + run.tiles * width)
            with self.b.loop(first, end, width) as column:
                self._tile(column, run.taps, lanes)

    def _row_of_unknown_size(self, lanes: int) -> None:
        """Whole tiles where all taps meet the image, and single places around them."""
        b, side, type = self.b, self.inner, IndexType()
        places = self.frame.dim(side.places)
        every = (range(side.kernel),)
        left = self.frame.dim(floordiv(side.begin + side.stride - 1, side.stride))
        left = b.op(arith.MinSIOp, [left, places], type)
        room = self.frame.dim(side.size + side.begin - side.reach - 1 + side.stride)
        room = b.op(arith.MaxSIOp, [room, b.index(0)], type)
        right = b.op(arith.DivUIOp, [room, b.index(side.stride)], type)
        right = b.op(arith.MaxSIOp, [b.op(arith.MinSIOp, [right, places], type), left], type)
        length = b.op(arith.SubiOp, [right, left], type)
        rest = b.op(arith.RemUIOp, [length, b.index(self.places)], type)
        end = b.op(arith.SubiOp, [right, rest], type)
        with b.loop(b.index(0), left) as column:
            self._tile(column, None, lanes)
        with b.loop(left, end, self.places) as column:
            self._tile(column, every * self.places, lanes)
        with b.loop(end, places) as column:
            self._tile(column, None, lanes)

    def _tile(self, column: SSAValue, taps: Taps | None, lanes: int) -> None:
        """Some neighbouring places; without ``taps`` one place, by its bounds."""
        self.axes[self.inner.axis] = column
        start = neutral(self.rooted.structure.combine, self.dtype)
        total = self.b.constant(start, loop.tile((1, lanes), compute_type(self.dtype)))
        self._finish(self._window(0, taps, [total] * len(taps or (0,))), lanes)

    def _window(self, level: int, taps: Taps | None, totals: Sequence[SSAValue]) -> list[SSAValue]:
        """The totals with all rows of the window from the outer dim ``level`` on."""
        if level < len(self.outer):
            side = self.outer[level]
            first, end = self.bounds[side]

            def step(tap: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
                self.axes[side.tap] = tap
                return self._window(level + 1, taps, carried)

            return list(self.b.fold(first, end, totals, step))
        if taps is not None:
            return self._taps(taps, totals)

        def tap(index: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            self.axes[self.inner.tap] = index
            return self._taps((range(1),), carried)

        first, end = bounds_of(self.frame, self.inner, self.axes[self.inner.axis])
        totals = self.b.fold(first, end, totals, tap)
        self.axes[self.inner.tap] = self.b.index(0)
        return list(totals)

    def _finish(self, totals: Sequence[SSAValue], lanes: int) -> None:
        total = self.b.add(loop.StackOp(totals)).results[0]
        tile = ((self.inner.axis, len(totals)), (self.channel, lanes))
        registers: Mapping[int, SSAValue] = {self.rooted.result.attr: total}
        scope = self.frame.scope(self.rooted.space, self.axes, tile, registers)
        self.rooted.write(ExpressionLowering(scope))
