"""Winograd's convolution: 3x3 filters with 1.4 to 4 times fewer products.

A task is a block of tiles of ``m`` x ``m`` results, for some panels of the output channels. Its
transformed inputs and a panel of products are scratch that stays in the second-level cache::

    V[p, t, :] = input @ x[tile t] @ input.T           once for a block
    for each panel of output channels:
        M[p, t, :] = V[p, t, :] @ U[panel, p]          for each of the points p
        y[tile t] = output @ M[:, t] @ output.T        and the epilogue

The transformed filters ``U`` are made at compile time. All vectors run along channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IndexType, f32
from xdsl.ir import BlockArgument, SSAValue

from ....ir import loop
from ....ir.dims import ceildiv
from ....ir.kernel import KernelOp
from ....ir.ops.conv import ConvOp
from ....ir.types import type_of
from ..expression import ExpressionLowering
from ..target import CpuTarget
from .frame import Code, Frame, Packing, grain_of, static
from .linear_map import map_grid
from .rooted import Rooted
from .winograd_blocking import Problem, blocking, ceil
from .winograd_input import BATCH, CHANNEL, HEIGHT, WIDTH, InputTransform, Target
from .winograd_transforms import size_of, transformed_kernel, transforms_of

Place = tuple[SSAValue, SSAValue, SSAValue]
# The elements of a cache line.
_LINE = 16


def winograd_kernel(kernel: KernelOp, name: str, target: CpuTarget, results: int) -> Code:
    """Code for a kernel around a 3x3 convolution, by tiles of ``results`` x ``results``."""
    return _Winograd(Rooted(Frame(kernel, name, target)), results).build()


def problem_of(conv: ConvOp, results: int) -> Problem:
    """The sizes of a convolution by tiles of ``results`` x ``results``."""
    images, *sides, filters = type_of(conv.result).shape
    down, across = (ceil(static((side,)), results) for side in sides)
    points, channels = size_of(results, conv.strides[0]) ** 2, static(type_of(conv.w).shape[2:3])
    return Problem(images, down * across, points, channels, static((filters,)))


class _Winograd:
    def __init__(self, rooted: Rooted, results: int):
        self.rooted, self.frame, self.b = rooted, rooted.frame, rooted.frame.b
        assert isinstance(rooted.root, ConvOp)
        self.conv, self.results = rooted.root, results
        self.matrices = transforms_of(results, self.conv.strides[0])
        self.size = len(self.matrices.input)
        self.points = self.size**2
        self.shape, self.lanes = rooted.type.shape, self.frame.target.lanes(32)
        self.channels, self.filters = (static((d,)) for d in type_of(self.conv.w).shape[2:])
        self.down, self.across = (ceil(static((d,)), results) for d in self.shape[1:3])
        problem = problem_of(self.conv, results)
        self.parts, self.part = problem.parts, problem.part
        self.cut = cut = blocking(problem, self.frame.target)
        # Points are a vector more than a tile apart: powers of two would meet in a few cache sets.
        self.input_pitch = cut.tiles * self.channels + self.lanes
        self.product_pitch = cut.tiles * cut.panel + self.lanes
        self.inputs = self._scratch(self.points * self.input_pitch)
        self.products = self._scratch(self.points * self.product_pitch)
        self.tile = self._scratch(results**2 * cut.panel)
        assert isinstance(self.conv.w, BlockArgument)
        self.weight = self.conv.w.index
        self.weights = self.frame.buffers[self.weight].memory
        self.transform = InputTransform(self.frame, self.conv, self.matrices.input)

    def _scratch(self, count: int) -> SSAValue:
        return self.b.add(loop.AllocaOp(count, f32)).results[0]

    def build(self) -> Code:
        """A task finds its block's inputs transformed if the task before it had the same block."""
        b, cut = self.b, self.cut
        blocks = ceildiv(self.part, cut.tiles)

        def task(number: SSAValue, carried: Sequence[SSAValue]) -> Sequence[SSAValue]:
            part, block, group = self.frame.unflatten(number, [self.parts, blocks, cut.groups])
            size, inner = self.frame.dim(self.part), b.mul_index(block, b.index(cut.tiles))
            first = b.add_index(b.mul_index(part, size), inner)
            count = self._least(self._minus(size, inner), cut.tiles)
            fresh = b.compare("ne", first, carried[0])
            b.when(fresh, lambda: self._transform_inputs(first, count))
            begin = b.mul_index(group, b.index(cut.share))
            end = self._least(b.add_index(begin, b.index(cut.share)), cut.panels)
            with b.loop(begin, end) as panel:
                self._multiply(panel, count)
                self._transform_results(panel, first, count)
            return [first]

        b.fold(self.frame.begin, self.frame.end, [b.index(-1)], task)
        cost = self.points * cut.tiles * self.channels * cut.share * cut.panel
        tasks, grain = self.parts * blocks * cut.groups, grain_of(cost // 16)
        return self.frame.finish(tasks, grain, self._packings(), self.parts)

    def _place(self, tile: SSAValue) -> Place:
        """The image of a tile, and its first row and column in the result."""
        sizes = [self.shape[BATCH], self.down, self.across]
        image, down, across = self.frame.unflatten(tile, sizes)
        step = self.b.index(self.results)
        return image, self.b.mul_index(down, step), self.b.mul_index(across, step)

    def _transform_inputs(self, first: SSAValue, count: SSAValue) -> None:
        b = self.b
        with b.loop(b.index(0), count) as tile:
            start = b.mul_index(tile, b.index(self.channels))
            place = self._place(b.add_index(first, tile))
            self.transform.tile(*place, Target(self.inputs, start, self.input_pitch))

    def _multiply(self, panel: SSAValue, count: SSAValue) -> None:
        """A matrix product for each point, by register tiles."""
        b, cut = self.b, self.cut
        with b.loop(b.index(0), b.index(self.points)) as point:
            slab = b.add_index(b.mul_index(panel, b.index(self.points)), point)
            right = b.mul_index(slab, b.index(self.channels * cut.panel))
            left = b.mul_index(point, b.index(self.input_pitch))
            place = b.mul_index(point, b.index(self.product_pitch))
            with b.loop(b.index(0), count, cut.rows) as tile:
                here = b.add_index(left, b.mul_index(tile, b.index(self.channels)))
                total = self._product(here, right, tile)
                target = b.add_index(place, b.mul_index(tile, b.index(cut.panel)))
                b.store(total, self.products, target, [b.index(cut.panel), b.index(1)])

    def _product(self, left: SSAValue, right: SSAValue, tile: SSAValue) -> SSAValue:
        """``rows`` x ``panel`` sums over the channels."""
        b, cut = self.b, self.cut
        down, zero, one = b.index(self.channels), b.index(0), b.index(1)
        ahead, lines = self._ahead(right, tile)

        def step(channel: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            here = b.add_index(left, channel)
            there = b.add_index(right, b.mul_index(channel, b.index(cut.panel)))
            x = b.load(self.inputs, here, loop.tile((cut.rows, 1), f32), [down, one])
            y = b.load(self.weights, there, loop.tile((1, cut.panel), f32), [zero, one])
            next = b.add_index(ahead, b.mul_index(channel, b.index(lines * _LINE)))
            for line in range(lines):
                place = b.add_index(next, b.index(line * _LINE))
                b.add(loop.PrefetchOp(self.weights, place))
            return [b.fma(x, y, carried[0])]

        none = b.constant(0, loop.tile((cut.rows, cut.panel), f32))
        return b.fold(zero, down, [none], step)[0]

    def _ahead(self, right: SSAValue, tile: SSAValue) -> tuple[SSAValue, int]:
        """What to fetch meanwhile: from where on, and how many lines for each channel.

        Filters that are used once a run come from memory: so each strip fetches its share of the
        next slab, and memory works as evenly as the multipliers.
        """
        b, cut = self.b, self.cut
        lines = ceil(ceil(cut.panel, _LINE), cut.strips)
        share = ceil(self.channels * lines * _LINE, cut.rows)
        next = b.add_index(right, b.index(self.channels * cut.panel))
        return b.add_index(next, b.mul_index(tile, b.index(share))), lines

    def _transform_results(self, panel: SSAValue, first: SSAValue, count: SSAValue) -> None:
        b, cut = self.b, self.cut
        filter = b.mul_index(panel, b.index(cut.panel))
        with b.loop(b.index(0), count) as tile:
            start = b.mul_index(tile, b.index(cut.panel))
            with b.loop(b.index(0), b.index(cut.panel), self.lanes) as column:
                self._transform_result(b.add_index(start, column), column)
            self._write_tile(self._place(b.add_index(first, tile)), filter)

    def _write_tile(self, place: Place, filter: SSAValue) -> None:
        """The last panel may be narrower."""
        b, width = self.b, self.cut.panel
        rest = self.filters % width
        if not rest:
            self._write(place, filter, width)
            return
        whole = b.compare("sle", filter, b.index(self.filters - width))
        wide, narrow = (b.region(lambda n=n: self._write(place, filter, n)) for n in (width, rest))
        b.add(scf.IfOp(whole, [], wide, narrow))

    def _transform_result(self, start: SSAValue, target: SSAValue) -> None:
        """A vector of a tile's results, to scratch."""
        b, type = self.b, loop.tile((1, self.lanes), f32)
        row_of = [b.index(1), b.index(1)]

        def column(number: int) -> list[SSAValue]:
            points = range(number, self.points, self.size)
            places = [b.add_index(start, b.index(p * self.product_pitch)) for p in points]
            return [b.load(self.products, place, type, row_of) for place in places]

        def row(number: int, values: Sequence[SSAValue]) -> None:
            for pixel, value in enumerate(values, number * self.results):
                place = b.add_index(target, b.index(pixel * self.cut.panel))
                b.store(value, self.tile, place, row_of)

        map_grid(b, self.matrices.output, column, self.size, row)

    def _write(self, place: Place, filter: SSAValue, width: int) -> None:
        """The epilogue on those results of a tile that there are."""
        b = self.b
        image, top, left = place
        rows, columns = (
            self._least(self._minus(self.frame.dim(self.shape[axis]), first), self.results)
            for axis, first in ((HEIGHT, top), (WIDTH, left))
        )
        with b.loop(b.index(0), rows) as row, b.loop(b.index(0), columns) as column:
            pixel = b.add_index(b.mul_index(row, b.index(self.results)), column)
            source = b.mul_index(pixel, b.index(self.cut.panel))
            total = b.load(self.tile, source, loop.tile((width,), f32), [b.index(1)])
            axes = dict.fromkeys(range(len(self.rooted.space.extents)), b.index(0))
            axes |= {BATCH: image, CHANNEL: filter}
            axes |= {HEIGHT: b.add_index(top, row), WIDTH: b.add_index(left, column)}
            registers = {self.rooted.result.attr: total}
            scope = self.frame.scope(self.rooted.space, axes, ((CHANNEL, width),), registers)
            self.rooted.write(ExpressionLowering(scope))

    def _least(self, value: SSAValue, bound: int) -> SSAValue:
        return self.b.op(arith.MinSIOp, [value, self.b.index(bound)], IndexType())

    def _minus(self, a: SSAValue, b: SSAValue) -> SSAValue:
        return self.b.op(arith.SubiOp, [a, b], IndexType())

    def _packings(self) -> dict[int, Packing]:
        """Transformed filters by panels: ``[panels, points, channels, panel]``."""
        cut, matrices = self.cut, self.matrices
        shape = (cut.panels, self.points, self.channels, cut.panel)

        def make(array: np.ndarray) -> np.ndarray:
            packed = np.zeros(shape, np.float32)
            for number in range(cut.panels):
                part = array[..., number * cut.panel :][..., : cut.panel]
                packed[number, ..., : part.shape[-1]] = transformed_kernel(part, matrices)
            return packed

        return {self.weight: Packing(("winograd", shape), shape, make)}
