"""Strassen's product: seven products of halves instead of eight.

Rows, columns and depth are cut in halves; rows ``i`` and ``half + i`` make a tile. In Winograd's
form, with its sums of quarters of the weights made ahead of time::

    s1 = c + d    s2 = s1 - a    s3 = a - c    s4 = b - s2
    t1 = f - e    t2 = h - t1    t3 = h - f    t4 = t2 - g

    [a b] @ [e f]  =  [a e + b g       u + s1 t1 + s4 h]      u = a e + s2 t2
    [c d]   [g h]     [w - d t4        w + s1 t1       ]      w = u + s3 t3

Errors are relative to the largest of what is added up: see Higham, "Accuracy and Stability of
Numerical Algorithms" (2002), ch. 23. So the lower row of a tile is first made as large as the upper
one, by a power of two, and no sample meets another. There are few additions next to the products
saved: it pays from some hundred columns and as much depth on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects import arith
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir.affine import Affine
from ....ir.dims import Dim
from ....ir.dims import product as dims_product
from ....ir.kernel import KernelOp
from ....ir.op import Param
from ....ir.types import F32, type_of
from ..expression import ExpressionLowering
from ..target import CpuTarget
from ..vector_math.exponential import BIAS
from ..vector_math.lanes import Lanes
from .blocking import SHARING, Problem, even_blocking
from .columns import fold_columns, for_columns
from .frame import Code, Frame, static
from .pointwise import PointwiseProducts
from .products import Product, batch_axes, layout_key, pack, product_of
from .rooted import Rooted

# By the points: a e, b g, s4 h, d t4, s1 t1, s2 t2, s3 t3. Of e, f, g and h.
_RIGHTS = (
    (1, 0, 0, 0),
    (0, 0, 1, 0),
    (0, 0, 0, 1),
    (1, -1, -1, 1),
    (-1, 1, 0, 0),
    (1, -1, 0, 1),
    (0, -1, 0, 1),
)
_POINTS = len(_RIGHTS)
# Multiply-adds of a vector that take as long as all there is to do with an element of a factor or
# of the result besides; measured with AVX-512 on a CPU with one multiplier.
_MOVED = 12
# How many times as much that is with a single block: every thread transforms all its inputs, a row
# may be missing, and few tiles share what is read of weights.
_ALONE = 3
# Deeper tiles wait for memory.
_DEEPEST = 4096
_WORTH = 1.02
_NO_AXIS = -1
# The bits of a single float's fraction; the largest power of two that makes rows equally large.
_MANTISSA, _FARTHEST = 23, 64
# Vectors whose largest elements are found side by side.
_AT_ONCE = 4

Axes = dict[int, SSAValue]


def strassen_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code | None:
    """Code for a kernel around a product with constant weights; None where it does not pay."""
    rooted = Rooted(Frame(kernel, name, target))
    product = product_of(rooted, isolated=True)
    if target.exact or product is None or not _has_halves(rooted, product):
        return None
    times = gain(_problem(rooted, product), target)
    if times < _WORTH or rooted.frame.pick("halves", [(1,), (0,)]) == (0,):
        return None
    kernel.properties["why"] = Param(f"Strassen: by estimate {times:.2f}x the sum; twice its error")
    return _Strassen(rooted, product).build()


def gain(problem: Problem, target: CpuTarget) -> float:
    """How many times faster than the plain sum a product of halves is, by estimate."""
    if problem.tiles < SHARING or problem.channels > _DEEPEST:
        return 1.0
    cut = even_blocking(problem, target)
    moved = _MOVED * target.multipliers * (1 / problem.channels + 1 / problem.filters) / 2
    moved *= _ALONE if cut.is_single(problem) else 1
    return 1 / (_POINTS / 8 / cut.filled(problem) + moved)


def gain_of(rows: Dim, depth: Dim, columns: Dim, target: CpuTarget) -> float:
    """The same for the ``rows`` of a sample by a constant matrix; 1 where that is not used."""
    if target.exact or not _are_halved(rows, depth, columns):
        return 1.0
    tiles, channels, filters = (-(-static((size,)) // 2) for size in (rows, depth, columns))
    return gain(Problem(1, tiles, _POINTS, channels, filters), target)


def _are_halved(rows: Dim, depth: Dim, columns: Dim) -> bool:
    """Whether sizes are known, and only rows odd."""
    known = all(isinstance(n, int) and n > 1 for n in (rows, columns, depth))
    return known and columns % 2 == depth % 2 == 0


def _has_halves(rooted: Rooted, product: Product) -> bool:
    """Whether all is known to be cut in halves, and the left factor lies along the depth."""
    if not product.packed or batch_axes(product) or len(product.depths) != 1:
        return False
    inputs, (depth,), columns = rooted.frame.kernel.inputs, product.depths, rooted.type.shape[-1]
    if any(type_of(inputs[f.number]).dtype != F32 for f in (product.left, product.right)):
        return False
    return depth.left == 1 and _are_halved(product.rows, depth.extent, columns)


def _problem(rooted: Rooted, product: Product) -> Problem:
    """The sizes of a product of halves."""
    shape, (depth,) = rooted.type.shape, product.depths
    halves = [-(-static((size,)) // 2) for size in (product.rows, depth.extent, shape[-1])]
    rows, channels, filters = halves
    return Problem(dims_product(shape[a] for a in product.outer), rows, _POINTS, channels, filters)


class _Strassen(PointwiseProducts):
    def __init__(self, rooted: Rooted, product: Product):
        assert product.row is not None
        self.rooted, self.product, self.row = rooted, product, product.row
        problem = _problem(rooted, product)
        cut = even_blocking(problem, rooted.frame.target)
        weight, rights = product.right.number, np.array(_RIGHTS)
        super().__init__(rooted.frame, problem, cut, weight, rights)
        self.factors = self.scratch(cut.tiles)
        self.rows, self.half, self.columns = static((product.rows,)), problem.tiles, problem.filters

    def build(self) -> Code:
        """The whole function."""
        samples = self.rooted.type.shape[0] if self.product.outer[:1] == (0,) else 1
        layout = layout_key(self.product, self._extents())
        return self.finish(layout, samples, together=True)

    def weight_parts(self, array: np.ndarray) -> np.ndarray:
        """The quarters: e, f, g, h."""
        whole = pack(array, self.product, self._extents(), 2 * self.columns)
        quarters = whole.reshape(2, self.channels, 2, self.columns).swapaxes(1, 2)
        return quarters.reshape(4, self.channels, self.columns)

    def _place(self, tile: SSAValue) -> tuple[Axes, SSAValue]:
        """The axes outside of a tile's rows, and its upper row."""
        outer = self.product.outer
        sizes = [self.rooted.type.shape[a] for a in outer]
        *place, row = self.frame.unflatten(tile, [*sizes, self.half])
        axes = dict.fromkeys(range(len(self.rooted.space.extents)), self.b.index(0))
        return axes | dict(zip(outer, place, strict=True)), row

    def _at(self, axes: Axes, row: SSAValue, column: SSAValue) -> Axes:
        """The axes of an element."""
        return {**axes, self.row: row, self.product.column: column}

    def _position(self, form: Affine, axes: Axes) -> SSAValue:
        b, total = self.b, self.frame.dim(form.constant)
        for axis, factor in form.coefficients.items():
            total = b.add_index(total, b.mul_index(axes[axis], self.frame.dim(factor)))
        return total

    def _lower(self, row: SSAValue) -> SSAValue:
        return self.b.add_index(row, self.b.index(self.half))

    def transform_inputs(self, first: SSAValue, count: SSAValue) -> None:
        """An odd number of rows ends in a tile that has one row twice."""
        b, form = self.b, self.product.left.form
        with b.loop(b.index(0), count) as tile:
            axes, row = self._place(b.add_index(first, tile))
            rows = row, self.least(self._lower(row), self.rows - 1)
            lines = [self._position(form, self._at(axes, r, b.index(0))) for r in rows]
            target = b.mul_index(tile, b.index(self.channels))
            factor = self._ratio(lines)
            b.store(factor, self.factors, tile)

            def columns(column: SSAValue, lanes: int) -> None:
                starts = [b.add_index(line, column) for line in lines]
                self._transform_input(starts, b.add_index(target, column), factor, lanes)

            for_columns(b, b.index(0), b.index(self.channels), self.lanes, columns)

    def _ratio(self, lines: Sequence[SSAValue]) -> SSAValue:
        """About how many times larger the upper row is, as a power of two."""
        upper, lower = (Lanes(self.b, self._largest(line)).bits() >> _MANTISSA for line in lines)
        exponent = (upper - lower).at_least(-_FARTHEST).at_most(_FARTHEST)
        return ((exponent + BIAS) << _MANTISSA).as_float().value

    def _largest(self, line: SSAValue) -> SSAValue:
        """The largest magnitude in a row."""
        b, memory = self.b, self.frame.buffers[self.product.left.number].memory

        def larger(x: SSAValue, y: SSAValue) -> SSAValue:
            return b.select(b.compare("ogt", x, y), x, y)

        def step(column: SSAValue, lanes: int, most: SSAValue) -> SSAValue:
            value = b.load(memory, b.add_index(line, column), most.type, b.unit_strides(lanes))
            return larger(Lanes(b, value).magnitude().value, most)

        return fold_columns(
            b,
            b.index(2 * self.channels),
            _AT_ONCE * self.lanes,
            lambda lanes: b.constant(0, b.tile_of(f32, lanes)),
            step,
            lambda tile: b.reduce("max", tile),
            larger,
        )

    def _transform_input(
        self, starts: Sequence[SSAValue], target: SSAValue, factor: SSAValue, lanes: int
    ) -> None:
        """Some columns of both halves of two rows."""
        b, type, unit = self.b, loop.tile((lanes,), f32), [self.b.index(1)]
        memory = self.frame.buffers[self.product.left.number].memory
        places = [b.add_index(s, b.index(h * self.channels)) for s in starts for h in (0, 1)]
        a, b_, c, d = (b.load(memory, place, type, unit) for place in places)
        c, d = (self._scaled(v, factor) for v in (c, d))
        s1 = self._add(c, d)
        s2 = self._subtract(s1, a)
        lefts = (a, b_, self._subtract(b_, s2), d, s1, s2, self._subtract(a, c))
        for point, value in enumerate(lefts):
            place = b.add_index(target, b.index(point * self.input_pitch))
            b.store(value, self.inputs, place, unit)

    def look_ahead(self, panel: SSAValue, tile: SSAValue, point: SSAValue) -> None:
        """Asks for the lines of results that will be written: those of a row or two a point."""
        b, rooted = self.b, self.rooted
        column = b.mul_index(panel, b.index(self.cut.panel))
        for skipped in range(0, self.cut.rows, _POINTS):
            axes, row = self._place(b.add_index(b.add_index(tile, point), b.index(skipped)))
            for number, _ in rooted.epilogue:
                buffer = self.frame.buffers[number]
                form = rooted.space.position(rooted.indices, buffer.shape)
                for line in (row, self._lower(row)):
                    self._ask(buffer.memory, self._position(form, self._at(axes, line, column)))

    def _ask(self, memory: SSAValue, start: SSAValue) -> None:
        """The panels of a row, in both halves of its columns."""
        for half in (0, self.columns):
            for column in range(0, self.cut.panel, self.lanes):
                place = self.b.add_index(start, self.b.index(half + column))
                self.b.add(loop.PrefetchOp(memory, place, writes=True, near=True))

    def transform_results(self, panel: SSAValue, first: SSAValue, count: SSAValue) -> None:
        """A vector of each quarter at a time."""
        b, width = self.b, self.cut.panel
        column = b.mul_index(panel, b.index(width))
        with b.loop(b.index(0), count) as tile:
            start = b.mul_index(tile, b.index(width))
            axes, row = self._place(b.add_index(first, tile))
            factor = b.load(self.factors, tile, f32)
            inverse = b.op(arith.DivfOp, [b.constant(1, f32), factor], f32)

            def columns(lane: SSAValue, lanes: int) -> None:
                upper, lower = self._quarters(b.add_index(start, lane), lanes)
                lower = [self._scaled(v, inverse) for v in lower]
                here = b.add_index(column, lane)
                self._write(upper, self._at(axes, row, here), lanes)
                self._write_lower(lower, self._at(axes, self._lower(row), here), lanes)

            def whole(width: int) -> None:
                for_columns(b, b.index(0), b.index(width), self.lanes, columns)

            self.by_width(column, self.columns, whole)

    def _quarters(self, start: SSAValue, lanes: int) -> tuple[Sequence[SSAValue], ...]:
        """What two rows have in both halves of their columns."""
        ae, bg, s4h, dt4, s1t1, s2t2, s3t3 = self.load_points(start, lanes, range(_POINTS))
        u = self._add(ae, s2t2)
        w = self._add(u, s3t3)
        upper = self._add(ae, bg), self._add(self._add(u, s1t1), s4h)
        return upper, (self._subtract(w, dt4), self._add(w, s1t1))

    def _write_lower(self, halves: Sequence[SSAValue], axes: Axes, lanes: int) -> None:
        """Where the number of rows is odd, the last tile has no lower row."""
        if self.rows % 2 == 0:
            self._write(halves, axes, lanes)
            return
        inside = self.b.compare("slt", axes[self.row], self.b.index(self.rows))
        self.b.when(inside, lambda: self._write(halves, axes, lanes))

    def _write(self, halves: Sequence[SSAValue], axes: Axes, lanes: int) -> None:
        """The epilogue on some columns of both halves of a row."""
        b, column = self.b, self.product.column
        for number, total in enumerate(halves):
            place = b.add_index(axes[column], b.index(number * self.columns))
            registers = {self.rooted.result.attr: total}
            tile = (_NO_AXIS, 1), (column, lanes)
            scope = self.frame.scope(self.rooted.space, {**axes, column: place}, tile, registers)
            self.rooted.write(ExpressionLowering(scope))

    def _scaled(self, x: SSAValue, factor: SSAValue) -> SSAValue:
        return self.b.op(arith.MulfOp, [x, self.b.splat(factor, x.type)], x.type)

    def _add(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.op(arith.AddfOp, [x, y], x.type)

    def _subtract(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.op(arith.SubfOp, [x, y], x.type)

    def _extents(self) -> list[int]:
        return [static((e,)) for e in self.rooted.space.extents]
