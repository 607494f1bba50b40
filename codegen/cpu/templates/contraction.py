"""The contraction template: matrix products and convolutions on register tiles.

The right factor, packed by panels, is read as vectors; elements of the left one, unpacked, are
repeated. A tile of results stays in registers for the whole depth; then come the epilogue and the
stores. Rows are split into near-equal tiles, so that none is nearly empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IndexType, f32
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir.affine import Affine
from ....ir.dims import Dim
from ....ir.dims import product as dims_product
from ....ir.kernel import KernelOp
from ....ir.types import type_of
from ..elements import storage_type, to_register
from ..expansion import Expansion
from ..expression import ExpressionLowering
from ..target import CpuTarget
from .ahead import Ahead, ahead_of
from .frame import Code, Frame, Packing, grain_of, static
from .products import Factor, Product, batch_axes, layout_key, pack, product_of
from .rooted import Rooted

_DIRECT_EFFORT = 8
_CACHE = 256 * 1024
_PANEL = 400 * 1024
_WORD = 4  # bytes of what a lane takes at a step
_NO_AXIS = -1
# Panels that few tiles share are asked for this many elements ahead: two pages, since what the
# machine does by itself ends with each of them.
_FEW_TILES = 8
AHEAD = 2048
_ROWS = 14
# Of a first-level cache: how far apart lines of one set are, and how many rows surely fit a set.
_SET_PITCH = 4096
_ROWS_OF_A_SET = 8


@dataclass(frozen=True)
class Tiling:
    """How a product is cut: tiles of ``rows`` x ``panel`` elements."""

    rows: int
    panel: int


@dataclass(frozen=True)
class Grid:
    """How many tasks there are: a tile of rows by a panel of columns, in each line of a sample."""

    samples: Dim
    lines: Dim
    panels: Dim
    tiles: Dim


def contraction_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code | None:
    """Code for a kernel around a matrix product; None where its root is none."""
    rooted = Rooted(Frame(kernel, name, target))
    product = product_of(rooted, by_sample=True)
    return TiledProduct(rooted, product).build() if product else None


def tilings(
    rows: Dim, columns: Dim, target: CpuTarget, most: int = _ROWS, sums: int | None = None
) -> list[Tiling]:
    """Tiles for a product, the best by estimate first: many accumulators, little of them wasted.

    A tile has at most ``most`` rows, and ``sums`` accumulators, else as many as registers hold.
    """
    lanes = target.lanes(32)
    vectors = max(1, -(-static((columns,), 512) // lanes))
    if isinstance(rows, int) and rows <= 2:
        widths = dict.fromkeys(min(vectors, w // max(1, rows)) for w in (8, 4, 12))
        return [Tiling(max(1, rows), _panel(columns, w * lanes)) for w in widths]
    scores: dict[Tiling, float] = {}
    for width in (4, 3, 2, 1):
        held = rows_in_registers(width, target)
        tallest = min(held, most, max(1, sums // width) if sums else held)
        count = -(-static((rows,), 504) // tallest)
        height = -(-static((rows,), 504) // count)
        used = vectors / (-(-vectors // width) * width)
        score = used * height / (height + 1.0) * width / (width + 0.5)
        scores.setdefault(Tiling(height, _panel(columns, width * lanes)), round(score, 9))
    return sorted(scores, key=lambda tile: -scores[tile])


def rows_in_registers(width: int, target: CpuTarget) -> int:
    """The most rows of a tile that is ``width`` vectors wide.

    Its accumulators, one row of the right factor and one repeated element must fit the registers;
    accumulators take three quarters of them at most, since else LLVM's scheduler spills.
    """
    return min(target.registers - 1 - width, target.registers * 3 // 4) // width


def _panel(columns: Dim, width: int) -> int:
    return max(1, min(columns, width)) if isinstance(columns, int) else width


class TiledProduct:
    """A product cut into tiles; what a tile sums and how is left to be overridden."""

    def __init__(self, rooted: Rooted, product: Product):
        self.rooted = rooted
        self.frame = rooted.frame
        self.b = rooted.frame.b
        self.product = product
        self.shape = rooted.type.shape
        self.columns = self.shape[product.column]
        tiles = self._tilings(_ROWS_OF_A_SET if self._meet_in_cache() else _ROWS)
        self.tiling = tiles[0]
        outside = self._panels_outside()
        options = [(tile.rows, tile.panel, outside) for tile in tiles]
        options.insert(1, (tiles[0].rows, tiles[0].panel, not outside))
        rows, panel, self.panels_outside = self.frame.pick("tile", options)
        self.tiling = Tiling(rows, panel)
        self.grid = self._cut()
        self.axes: dict[int, SSAValue] = {}
        self.ahead: Ahead | None = None

    def _tilings(self, most: int) -> list[Tiling]:
        """Tiles of at most ``most`` rows, the best by estimate first."""
        return tilings(self.product.rows, self.columns, self.frame.target, most)

    def _meet_in_cache(self) -> bool:
        """Whether the left factor's rows begin in the same set of the first-level cache."""
        row = self.product.row
        step = 0 if row is None else self.product.left.stride(row)
        size = self._dtype(self.product.left).itemsize
        return isinstance(step, int) and step * size % _SET_PITCH == 0

    def build(self) -> Code:
        """A task is a tile; neighbouring tasks share the panel, or the rows where it is small."""
        frame, product = self.frame, self.product
        grid = self.grid
        self._each_task()
        cost = static([d.extent for d in product.depths]) * self.tiling.rows * self.tiling.panel
        tasks = grid.samples * grid.lines * grid.panels * grid.tiles
        return frame.finish(tasks, grain_of(cost // 16), self._packings(), grid.samples)

    def _cut(self) -> Grid:
        product = self.product
        samples = self.shape[0] if product.outer[:1] == (0,) else 1
        lines = dims_product(self.shape[a] for a in product.outer if a or samples == 1)
        panels = (self.columns + (self.tiling.panel - 1)) // self.tiling.panel
        tiles = (product.rows + (self.tiling.rows - 1)) // self.tiling.rows
        return Grid(samples, lines, panels, tiles)

    def _each_task(self) -> None:
        with self.b.loop(self.frame.begin, self.frame.end) as task:
            self._task(task)

    def _task(self, task: SSAValue) -> None:
        line, panel, tile = self._enter(task)
        self.ahead = self._next_panel(line, panel, tile)
        self._rows(panel, tile, self.grid.tiles)

    def _enter(self, task: SSAValue) -> tuple[SSAValue, SSAValue, SSAValue]:
        """Sets the outer axes of a task; gives its line, its panel and its tile."""
        b, grid, unflatten = self.b, self.grid, self.frame.unflatten
        if self._lines_share_panels():
            order = [grid.samples, grid.panels, grid.lines, grid.tiles]
            sample, panel, line, tile = unflatten(task, order)
        elif self.panels_outside:
            order = [grid.samples, grid.lines, grid.panels, grid.tiles]
            sample, line, panel, tile = unflatten(task, order)
        else:
            order = [grid.samples, grid.lines, grid.tiles, grid.panels]
            sample, line, tile, panel = unflatten(task, order)
        outer = b.add_index(b.mul_index(sample, self.frame.dim(grid.lines)), line)
        self._set_outer(outer)
        return line, panel, tile

    def _lines_share_panels(self) -> bool:
        """Whether a panel passes all lines of a sample, as these are nearer than all panels."""
        left, right = (f.number for f in (self.product.left, self.product.right))
        sizes = [static(self.frame.buffers[n].shape) for n in (left, right)]
        sample = sizes[0] // max(1, static((self.grid.samples,)))
        rows, weights = static((self.grid.panels,)) * sample, static((self.grid.lines,)) * sizes[1]
        return self.panels_outside and not batch_axes(self.product) and rows < weights

    def _panels_outside(self) -> bool:
        """Whether tiles share panels, as these are too many to stay near."""
        depth = static([d.extent for d in self.product.depths])
        return depth * static((self.columns,)) * 4 > _CACHE

    def _set_outer(self, position: SSAValue) -> None:
        zero = self.b.index(0)
        self.axes = dict.fromkeys(range(len(self.shape) + len(self.rooted.reduced)), zero)
        sizes = [self.shape[a] for a in self.product.outer]
        self.axes.update(
            zip(self.product.outer, self.frame.unflatten(position, sizes), strict=True)
        )

    def _rows(self, panel: SSAValue, tile: SSAValue, tiles: Dim) -> None:
        """Chooses the height of the tile: near-equal ones, or single rows at a symbolic end."""
        b, rows = self.b, self.product.rows
        if not isinstance(rows, int):
            self._symbolic_rows(panel, tile)
            return
        assert isinstance(tiles, int)
        if not tiles:
            return
        small, taller = divmod(rows, tiles)
        if not taller:
            self._columns(panel, b.mul_index(tile, b.index(small)), small)
            return
        first = self._first_row(tile, small, taller)
        self._either(
            b.compare("slt", tile, b.index(taller)),
            lambda: self._columns(panel, first, small + 1),
            lambda: self._columns(panel, first, small),
        )

    def _first_row(self, tile: SSAValue, small: int, taller: int) -> SSAValue:
        """Where a tile begins, of which the first ``taller`` have a row more than ``small``."""
        b = self.b
        shift = b.op(arith.MinSIOp, [tile, b.index(taller)], IndexType())
        return b.add_index(b.mul_index(tile, b.index(small)), shift)

    def _symbolic_rows(self, panel: SSAValue, tile: SSAValue) -> None:
        b, height = self.b, self.tiling.rows
        first = b.mul_index(tile, b.index(height))
        end, stop = b.add_index(first, b.index(height)), self.frame.dim(self.product.rows)

        def one_by_one() -> None:
            with b.loop(first, stop) as row:
                self._columns(panel, row, 1)

        self._either(
            b.compare("sle", end, stop), lambda: self._columns(panel, first, height), one_by_one
        )

    def _columns(self, panel: SSAValue, row: SSAValue, height: int) -> None:
        """Chooses the width of the tile: the last panel may be narrower."""
        b, width = self.b, self.tiling.panel
        first = b.mul_index(panel, b.index(width))
        if isinstance(self.columns, int):
            rest = self.columns % width
            if not rest:
                self._tile(panel, row, first, height, width)
                return
            self._either(
                b.compare("sle", first, b.index(self.columns - width)),
                lambda: self._tile(panel, row, first, height, width),
                lambda: self._tile(panel, row, first, height, rest),
            )
            return
        stop = self.frame.dim(self.columns)

        def one_by_one() -> None:
            with b.loop(first, stop) as column:
                self._tile(panel, row, column, height, 1)

        self._either(
            b.compare("sle", b.add_index(first, b.index(width)), stop),
            lambda: self._tile(panel, row, first, height, width),
            one_by_one,
        )

    def _either(
        self, condition: SSAValue, then: Callable[[], None], other: Callable[[], None]
    ) -> None:
        self.b.add(scf.IfOp(condition, [], self.b.region(then), self.b.region(other)))

    def _tile(
        self, panel: SSAValue, row: SSAValue, column: SSAValue, height: int, width: int
    ) -> None:
        """One tile of results: the sum over the depth, the epilogue, the stores."""
        if self.product.row is not None:
            self.axes[self.product.row] = row
        left = self._left()
        right = self._right(panel, column)
        type = loop.tile((height, width), f32)
        total = self._depth(0, left, right, height, width, self.b.constant(0, type))
        self.axes[self.product.column] = column
        self._epilogue(total, height, width)

    def _depth(
        self,
        level: int,
        left: SSAValue,
        right: SSAValue,
        height: int,
        width: int,
        total: SSAValue,
    ) -> SSAValue:
        b, depths = self.b, self.product.depths
        if level == len(depths):
            return self._step(left, right, height, width, total)
        depth = depths[level]
        left_step = self.frame.dim(depth.left)
        right_step = self.frame.dim(self._right_stride(level))

        def step(index: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            here = b.add_index(left, b.mul_index(index, left_step))
            there = b.add_index(right, b.mul_index(index, right_step))
            return [self._depth(level + 1, here, there, height, width, carried[0])]

        return b.fold(b.index(0), self.frame.dim(depth.extent), [total], step)[0]

    def _step(
        self, left: SSAValue, right: SSAValue, height: int, width: int, total: SSAValue
    ) -> SSAValue:
        """A rank-1 update of the tile."""
        b, zero = self.b, self.b.index(0)
        x = self._elements(self.product.left, left, (height, 1), self._row_stride())
        y = self._elements(self.product.right, right, (1, width), zero)
        if self._waits_for_weights():
            self._ask_for(b.add_index(right, b.index(AHEAD)), width)
        elif self.ahead:
            self.ahead.ask(b, self.words, right)
        return b.fma(x, y, total)

    def _elements(
        self, factor: Factor, place: SSAValue, shape: tuple[int, int], pitch: SSAValue
    ) -> SSAValue:
        """Elements of a factor in f32."""
        b, dtype = self.b, self._dtype(factor)
        type = loop.tile(shape, storage_type(dtype))
        loaded = b.load(self._memory(factor.number), place, type, [pitch, b.index(1)])
        return to_register(b, loaded, dtype)

    def _dtype(self, factor: Factor) -> np.dtype:
        """What a factor is stored as."""
        return type_of(self.frame.kernel.inputs[factor.number]).dtype

    def _next_panel(self, line: SSAValue, panel: SSAValue, tile: SSAValue) -> Ahead | None:
        """What a tile asks for where panels come from afar, and two of them fit the cache."""
        b, grid, size, width = self.b, self.grid, self._panel_size(), self.tiling.panel
        tiles = grid.tiles
        if self._lines_share_panels():
            tile = b.add_index(b.mul_index(line, self.frame.dim(tiles)), tile)
            tiles = grid.lines * tiles
        far = self.product.packed and self._panels_outside() and not batch_axes(self.product)
        known = isinstance(tiles, int) and 0 < tiles <= width
        if not (far and known) or size * _WORD > _PANEL:
            return None
        following = b.add_index(panel, self._direction())
        return ahead_of(b, panel, following, tile, size, width, tiles)

    def _direction(self) -> SSAValue:
        """1 where the thread's next panel is the next one, -1 where it is the one before.

        Of several threads, those in the back half of a sample take chunks from its end.
        """
        b, grid = self.b, self.grid
        tasks = self.frame.dim(grid.lines * grid.panels * grid.tiles)
        place = b.op(arith.RemUIOp, [self.frame.begin, tasks], IndexType())
        behind = b.compare("uge", b.mul_index(place, b.index(2)), tasks)
        return b.select(behind, b.index(-1), b.index(1))

    def _waits_for_weights(self) -> bool:
        """Whether panels come from afar, and are read too few times for that not to matter.

        Where a row alone is multiplied, reading is all that takes time: the machine looks ahead.
        """
        few = 1 < static((self.product.rows,)) <= _FEW_TILES * self.tiling.rows
        return self.product.packed and few and bool(self.panels_outside)

    def _ask_for(self, position: SSAValue, width: int) -> None:
        """Has a row of the right factor brought near."""
        for column in range(0, width, self.frame.target.lanes(32)):
            place = self.b.add_index(position, self.b.index(column))
            self.b.add(loop.PrefetchOp(self.words, place))

    @property
    def words(self) -> SSAValue:
        """The right factor, by what a lane takes at a step."""
        return self._memory(self.product.right.number)

    def _row_stride(self) -> SSAValue:
        row = self.product.row
        return self.frame.dim(0 if row is None else self.product.left.stride(row))

    def _memory(self, number: int) -> SSAValue:
        return self.frame.buffers[number].memory

    def _left(self) -> SSAValue:
        """Where the left factor's first row begins."""
        return self._position(self.product.left.form)

    def _right(self, panel: SSAValue, column: SSAValue) -> SSAValue:
        """Where the right factor's panel begins."""
        b = self.b
        if not self.product.packed:
            return b.add_index(self._position(self.product.right.form), column)
        size = self._panel_size()
        position = b.mul_index(panel, b.index(size))
        panels = -(-static((self.columns,)) // self.tiling.panel)
        stride = panels * size
        for axis in reversed(batch_axes(self.product)):
            position = b.add_index(position, b.mul_index(self.axes[axis], b.index(stride)))
            stride *= static((self.shape[axis],))
        return position

    def _panel_size(self) -> int:
        return static([d.extent for d in self.product.depths]) * self.tiling.panel

    def _right_stride(self, level: int) -> Dim:
        depths = self.product.depths
        if not self.product.packed:
            return depths[level].right
        return self.tiling.panel * static([d.extent for d in depths[level + 1 :]])

    def _position(self, form: Affine) -> SSAValue:
        total = self.frame.dim(form.constant)
        for axis, factor in form.coefficients.items():
            if axis < len(self.shape) and axis != self.product.column:
                term = self.b.mul_index(self.axes[axis], self.frame.dim(factor))
                total = self.b.add_index(total, term)
        return total

    def _epilogue(self, total: SSAValue, height: int, width: int) -> None:
        """Cheap ones on the whole tile in registers; others row by row, through memory."""
        if height == 1 or self.rooted.effort <= _DIRECT_EFFORT:
            self._finish(total, height, width)
            return
        b, one = self.b, self.b.index(1)
        scratch = b.add(loop.AllocaOp(height * width, f32)).results[0]
        pitch = b.index(width)
        b.store(total, scratch, b.index(0), [pitch, one])
        first = self.axes[self.product.row or 0]
        with b.loop(b.index(0), b.index(height)) as line:
            if self.product.row is not None:
                self.axes[self.product.row] = b.add_index(first, line)
            values = b.load(
                scratch, b.mul_index(line, pitch), loop.tile((1, width), f32), [pitch, one]
            )
            self._finish(values, 1, width)

    def _finish(self, total: SSAValue, height: int, width: int) -> None:
        row = _NO_AXIS if self.product.row is None else self.product.row
        tile = ((row, height), (self.product.column, width))
        registers = {self.rooted.result.attr: total}
        scope = self.frame.scope(self.rooted.space, self.axes, tile, registers)
        self.rooted.write(ExpressionLowering(scope))

    def _packings(self) -> dict[int, Packing]:
        if not self.product.packed:
            return {}
        product, panel = self.product, self.tiling.panel
        extents = [static((e,)) for e in self.rooted.space.extents]
        batch = [extents[a] for a in batch_axes(product)]
        panels = -(-extents[product.column] // panel)
        depth = static([d.extent for d in product.depths])

        def make(array: np.ndarray) -> np.ndarray:
            return pack(array, product, extents, panel)

        shape = (*batch, panels, depth, panel)
        key = shape, layout_key(product, extents)
        expansion = Expansion(((1.0,),), prod(batch) * panels, depth, panel)
        return {product.right.number: Packing(key, shape, make, expansion)}
