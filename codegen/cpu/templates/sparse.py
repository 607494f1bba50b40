"""The sparse template: a product whose constant right factor is mostly zeros.

A task is a tile of rows for a strip of columns. Its part of the left factor is turned, so that
rows lie along vectors; then each block of weights is a few multiply-adds of whole vectors of rows::

    X[k, :] = x[rows, k]                                once for a tile
    for each slab of the depth, and column block of the strip:
        C[columns, :] += values[step] * X[slab + depths[step], :]      for its steps
    y[rows, columns] = C.T                              and the epilogue

A slab of X stays in the first-level cache. How often the loops turn is data, see sparse_weights:
kernels of one shape share their code. A zero weight adds nothing, also where x is infinite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IndexType, IntegerType, f32, i16, i32, i64
from xdsl.ir import Attribute, SSAValue

from ....ir import loop
from ....ir.dims import ceildiv
from ....ir.dims import product as dims_product
from ..expression import ExpressionLowering
from .frame import Code, Packing, grain_of, static
from .products import Product
from .rooted import Rooted
from .sparse_blocking import blocking, depth_of, right_matrix, rows_of
from .sparse_weights import encode


class SparseProduct:
    """A product whose right factor is encoded; what its elements are is left to be overridden."""

    element: ClassVar[Attribute] = f32

    def __init__(self, rooted: Rooted, product: Product, height: int):
        self.rooted, self.frame, self.b = rooted, rooted.frame, rooted.frame.b
        self.product, self.shape = product, rooted.type.shape
        self.columns, self.depth = static((self.shape[product.column],)), depth_of(product)
        assert product.row is not None
        self.row_axes = (*product.outer, product.row)
        self.extents = rows_of(rooted, product)
        self.total = dims_product(self.extents)
        cut = blocking(self.total, self.depth, self.columns, height, self.frame.target)
        self.rows, self.layout, self.height = cut.rows, cut.layout, height
        self.lanes = self.frame.target.lanes(32)
        self.turned = self._scratch(self.depth * self.rows)
        self.sums = self._scratch((self.layout.most + self.layout.granule) * self.rows)
        self.lines = self._scratch(self.lanes * self.layout.granule)
        weights = self.frame.buffers[product.right.number].memory
        self.source = self._elements(self.frame.buffers[product.left.number].memory)
        self.values = self._elements(weights)
        self.words = self.b.op(loop.RecastOp, [weights], loop.buffer(i32))
        self.halves = self.b.op(loop.RecastOp, [weights], loop.buffer(i16))
        self.index = IntegerType(8 * self.layout.index.itemsize)
        self.depths = self.b.op(loop.RecastOp, [weights], loop.buffer(self.index))
        self.depths_begin = self._word(self.b.index(self.layout.depths))

    def _scratch(self, count: int) -> SSAValue:
        return self.b.add(loop.AllocaOp(count, self.element)).results[0]

    def _elements(self, memory: SSAValue) -> SSAValue:
        """Memory by elements."""
        return memory

    def build(self) -> Code:
        """A task finds its rows turned if the task before it had the same tile."""
        b, strips = self.b, self.layout.strips
        tiles = ceildiv(self.total, self.rows)

        def task(number: SSAValue, carried: Sequence[SSAValue]) -> Sequence[SSAValue]:
            tile, strip = self.frame.unflatten(number, [tiles, strips])
            first = b.mul_index(tile, b.index(self.rows))
            b.when(b.compare("ne", tile, carried[0]), lambda: self._turn(first))
            rest = b.op(arith.SubiOp, [self.frame.dim(self.total), first], IndexType())
            count = b.op(arith.MinSIOp, [rest, b.index(self.rows)], IndexType())
            low, high = self._word(strip), self._word(b.add_index(strip, b.index(1)))
            self._sum(strip, low, high)
            self._finish(first, count, low, high)
            return [tile]

        b.fold(self.frame.begin, self.frame.end, [b.index(-1)], task)
        grain = grain_of(self.depth * self.rows * self.columns // strips // 64)
        grain = grain if grain >= strips else -strips  # of one tile, which is turned once then
        return self.frame.finish(tiles * strips, grain, self._packings())

    def _axes(self, row: SSAValue) -> dict[int, SSAValue]:
        """The axes at one of all rows."""
        axes = dict.fromkeys(range(len(self.rooted.space.extents)), self.b.index(0))
        places = self.frame.unflatten(row, self.extents)
        return axes | dict(zip(self.row_axes, places, strict=True))

    def _turn(self, first: SSAValue) -> None:
        """The tile's rows of the left factor as columns; past the end the last one is repeated."""
        b, lanes = self.b, self.lanes
        last = self.frame.dim(self.total - 1)
        with b.loop(b.index(0), b.index(self.rows), lanes) as group:
            rows = [b.add_index(b.add_index(first, group), b.index(n)) for n in range(lanes)]
            rows = [b.op(arith.MinSIOp, [row, last], IndexType()) for row in rows]
            self._turn_depths(0, [self._start(row) for row in rows], group, b.index(0), b.index(0))

    def _start(self, row: SSAValue) -> SSAValue:
        """Where a row of the left factor begins."""
        form, axes = self.product.left.form, self._axes(row)
        total = self.frame.dim(form.constant)
        for axis in self.row_axes:
            term = self.b.mul_index(axes[axis], self.frame.dim(form.coefficient(axis)))
            total = self.b.add_index(total, term)
        return total

    def _turn_depths(
        self,
        level: int,
        starts: Sequence[SSAValue],
        column: SSAValue,
        depth: SSAValue,
        offset: SSAValue,
    ) -> None:
        """Rows from ``starts`` + ``offset`` on, to ``column`` from ``depth`` on."""
        b, depths = self.b, self.product.depths
        extent = static((depths[level].extent,))
        if level == len(depths) - 1:
            self._turn_rows(extent, starts, column, depth, offset)
            return
        inner = b.index(static(tuple(d.extent for d in depths[level + 1 :])))
        step = self.frame.dim(depths[level].left)
        with b.loop(b.index(0), b.index(extent)) as index:
            there = b.add_index(depth, b.mul_index(index, inner))
            here = b.add_index(offset, b.mul_index(index, step))
            self._turn_depths(level + 1, starts, column, there, here)

    def _turn_rows(
        self,
        extent: int,
        starts: Sequence[SSAValue],
        column: SSAValue,
        depth: SSAValue,
        offset: SSAValue,
    ) -> None:
        """By squares, the last of which overlaps with the one before; short rows by elements."""
        b, lanes = self.b, self.lanes
        source, element = self.source, self.element
        pitch, one = b.index(self.rows), b.index(1)
        with b.loop(b.index(0), b.index(extent), lanes if extent >= lanes else 1) as index:
            if extent >= lanes:
                index = b.op(arith.MinSIOp, [index, b.index(extent - lanes)], IndexType())
            target = b.add_index(b.mul_index(b.add_index(depth, index), pitch), column)
            here = b.add_index(offset, index)
            places = [b.add_index(start, here) for start in starts]
            if extent >= lanes:
                row = loop.tile((1, lanes), element)
                rows = [b.load(source, place, row, [one, one]) for place in places]
                square = b.add(loop.StackOp(rows)).results[0]
                turned = b.add(loop.TransposeOp(square)).results[0]
                b.store(turned, self.turned, target, [pitch, one])
            else:
                for n, place in enumerate(places):
                    value = b.load(source, place, element)
                    b.store(value, self.turned, b.add_index(target, b.index(n)))

    def _sum(self, strip: SSAValue, low: SSAValue, high: SSAValue) -> None:
        """All sums of a strip, turned."""
        b, layout = self.b, self.layout
        width = b.op(arith.SubiOp, [high, low], IndexType())
        size = b.mul_index(width, b.index(self.height * self.rows))
        none = b.constant(0, loop.tile((self.rows,), self.element))
        with b.loop(b.index(0), size, self.rows) as place:
            b.store(none, self.sums, place, [b.index(1)])
        counts = b.mul_index(low, b.index(2 * layout.slabs))
        counts = b.add_index(counts, b.index(layout.counts))
        step = self._word(b.add_index(strip, b.index(layout.steps)))

        def slab(number: SSAValue, carried: Sequence[SSAValue]) -> Sequence[SSAValue]:
            first = b.mul_index(number, b.index(layout.slab * self.rows))
            before = b.mul_index(number, width)

            def column(number: SSAValue, carried: Sequence[SSAValue]) -> Sequence[SSAValue]:
                place = b.mul_index(b.add_index(before, number), b.index(2))
                place = b.add_index(counts, place)
                block = self._half(place)
                end = b.add_index(carried[0], self._half(b.add_index(place, b.index(1))))
                self._block(block, first, carried[0], end)
                return [end]

            return b.fold(b.index(0), width, carried, column)

        b.fold(b.index(0), b.index(layout.slabs), [step], slab)

    def _block(self, block: SSAValue, slab: SSAValue, first: SSAValue, end: SSAValue) -> None:
        """Adds some steps to the sums of a column block; its slab begins at ``slab``."""
        b, unroll = self.b, self.layout.unroll
        place = b.mul_index(block, b.index(self.height * self.rows))
        type = loop.tile((self.height, self.rows), self.element)
        strides = [b.index(self.rows), b.index(1)]
        totals = [b.load(self.sums, place, type, strides)]
        totals += [b.constant(0, type)] * (unroll - 1)

        def step(number: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            start = b.mul_index(number, b.index(unroll))
            return [
                self._multiply(b.add_index(start, b.index(n)), slab, total)
                for n, total in enumerate(carried)
            ]

        total, *others = b.fold(first, end, totals, step)
        for other in others:
            total = self._plus(total, other)
        b.store(total, self.sums, place, strides)

    def _multiply(self, number: SSAValue, slab: SSAValue, total: SSAValue) -> SSAValue:
        b = self.b
        depth = self._wide(b.load(self.depths, b.add_index(self.depths_begin, number), self.index))
        weight = b.mul_index(number, b.index(self.height))
        weight = b.add_index(weight, b.index(self.layout.values))
        type = loop.tile((self.height, 1), self.element)
        w = b.load(self.values, weight, type, [b.index(1)] * 2)
        row, type = b.mul_index(depth, b.index(self.rows)), loop.tile((1, self.rows), self.element)
        row = b.add_index(slab, row)
        x = b.load(self.turned, row, type, [b.index(0), b.index(1)])
        return self._product(w, x, total)

    def _product(self, w: SSAValue, x: SSAValue, total: SSAValue) -> SSAValue:
        return self.b.fma(w, x, total)

    def _plus(self, a: SSAValue, b: SSAValue) -> SSAValue:
        return self.b.op(arith.AddfOp, [a, b], a.type)

    def _finish(self, first: SSAValue, count: SSAValue, low: SSAValue, high: SSAValue) -> None:
        """The epilogue, by granules of columns; the last one may be narrower."""
        b, granule, height = self.b, self.layout.granule, self.b.index(self.height)
        begin, end = b.mul_index(low, height), b.mul_index(high, height)
        with b.loop(begin, end, granule) as column:
            sums = b.mul_index(b.op(arith.SubiOp, [column, begin], IndexType()), b.index(self.rows))
            self._granule(first, count, column, sums)

    def _granule(self, first: SSAValue, count: SSAValue, column: SSAValue, sums: SSAValue) -> None:
        b, width = self.b, self.layout.granule
        rest = self.columns % width
        if not rest:
            self._lines(first, count, column, sums, width)
            return
        whole = b.compare("sle", column, b.index(self.columns - width))
        wide, narrow = (
            b.region(lambda n=n: self._lines(first, count, column, sums, n)) for n in (width, rest)
        )
        b.add(scf.IfOp(whole, [], wide, narrow))

    def _lines(
        self, first: SSAValue, count: SSAValue, column: SSAValue, sums: SSAValue, width: int
    ) -> None:
        """The results of a tile's rows at some columns: turned back, a vector of rows at a time."""
        b, lanes = self.b, self.lanes
        type, pitch = loop.tile((lanes, lanes), self.element), b.index(self.layout.granule)
        with b.loop(b.index(0), count, lanes) as row:
            for start in range(0, width, lanes):
                place = b.add_index(b.add_index(sums, b.index(start * self.rows)), row)
                square = b.load(self.sums, place, type, [b.index(self.rows), b.index(1)])
                turned = b.add(loop.TransposeOp(square)).results[0]
                b.store(turned, self.lines, b.index(start), [pitch, b.index(1)])
            rest = b.op(arith.SubiOp, [count, row], IndexType())
            end = b.op(arith.MinSIOp, [rest, b.index(lanes)], IndexType())
            with b.loop(b.index(0), end) as line:
                here = b.add_index(b.add_index(first, row), line)
                self._line(here, column, b.mul_index(line, pitch), width)

    def _line(self, row: SSAValue, column: SSAValue, place: SSAValue, width: int) -> None:
        type = loop.tile((width,), self.element)
        total = self.b.load(self.lines, place, type, [self.b.index(1)])
        axes = {**self._axes(row), self.product.column: column}
        tile, registers = ((self.product.column, width),), {self.rooted.result.attr: total}
        scope = self.frame.scope(self.rooted.space, axes, tile, registers)
        self.rooted.write(ExpressionLowering(scope))

    def _word(self, number: SSAValue) -> SSAValue:
        value = self.b.load(self.words, number, i32)
        return self.b.op(arith.IndexCastOp, [value], IndexType())

    def _half(self, number: SSAValue) -> SSAValue:
        return self._wide(self.b.load(self.halves, number, i16))

    def _wide(self, value: SSAValue) -> SSAValue:
        return self.b.op(arith.IndexCastOp, [self.b.op(arith.ExtUIOp, [value], i64)], IndexType())

    def _packings(self) -> dict[int, Packing]:
        product, layout = self.product, self.layout
        strides = tuple(product.right.stride(a) for a in range(len(self.rooted.space.extents)))

        def make(array: np.ndarray) -> np.ndarray:
            return encode(self._matrix(array), layout)

        key = ("sparse", layout, strides, product.right.form.constant)
        return {product.right.number: Packing(key, None, make)}

    def _matrix(self, array: np.ndarray) -> np.ndarray:
        """The right factor as ``[depth, columns]``."""
        return right_matrix(array, self.rooted, self.product)
