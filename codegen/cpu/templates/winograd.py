"""Winograd's convolution: 3x3 filters with 1.4 to 4 times fewer products.

A tile is of ``m`` x ``m`` results::

    V[p, t, :] = input @ x[tile t] @ input.T
    y[tile t] = output @ M[:, t] @ output.T

All vectors run along channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import BlockArgument, SSAValue

from ....ir import loop
from ....ir.kernel import KernelOp
from ....ir.ops.conv import ConvOp
from ....ir.types import type_of
from ..expression import ExpressionLowering
from ..target import CpuTarget
from .blocking import Problem, blocking, ceil
from .frame import Code, Frame, static
from .linear_map import map_grid
from .pointwise import PointwiseProducts
from .rooted import Rooted
from .winograd_input import BATCH, CHANNEL, HEIGHT, WIDTH, InputTransform, Target
from .winograd_transforms import TAPS, size_of, transforms_of

Place = tuple[SSAValue, SSAValue, SSAValue]


def winograd_kernel(kernel: KernelOp, name: str, target: CpuTarget, results: int) -> Code:
    """Code for a kernel around a 3x3 convolution, by tiles of ``results`` x ``results``."""
    return _Winograd(Rooted(Frame(kernel, name, target)), results).build()


def problem_of(conv: ConvOp, results: int) -> Problem:
    """The sizes of a convolution by tiles of ``results`` x ``results``."""
    images, *sides, filters = type_of(conv.result).shape
    down, across = (ceil(static((side,)), results) for side in sides)
    points, channels = size_of(results, conv.strides[0]) ** 2, static(type_of(conv.w).shape[2:3])
    return Problem(images, down * across, points, channels, static((filters,)))


class _Winograd(PointwiseProducts):
    def __init__(self, rooted: Rooted, results: int):
        assert isinstance(rooted.root, ConvOp)
        assert isinstance(rooted.root.w, BlockArgument)
        self.rooted, self.conv, self.results = rooted, rooted.root, results
        problem = problem_of(self.conv, results)
        cut = blocking(problem, rooted.frame.target)
        self.matrices = transforms_of(results, self.conv.strides[0])
        both = np.kron(self.matrices.kernel, self.matrices.kernel)
        super().__init__(rooted.frame, problem, cut, rooted.root.w.index, both)
        self.size = len(self.matrices.input)
        self.shape, (self.filters,) = rooted.type.shape, type_of(self.conv.w).shape[3:]
        self.down, self.across = (ceil(static((d,)), results) for d in self.shape[1:3])
        self.tile = self.scratch(results**2 * self.cut.panel)
        self.transform = InputTransform(self.frame, self.conv, self.matrices.input)

    def build(self) -> Code:
        """The whole function."""
        return self.finish("taps", self.parts)

    def weight_parts(self, array: np.ndarray) -> np.ndarray:
        """The filter's taps."""
        return array.reshape(TAPS**2, self.channels, -1)

    def _place(self, tile: SSAValue) -> Place:
        """The image of a tile, and its first row and column in the result."""
        sizes = [self.shape[BATCH], self.down, self.across]
        image, down, across = self.frame.unflatten(tile, sizes)
        step = self.b.index(self.results)
        return image, self.b.mul_index(down, step), self.b.mul_index(across, step)

    def transform_inputs(self, first: SSAValue, count: SSAValue) -> None:
        b = self.b
        with b.loop(b.index(0), count) as tile:
            start = b.mul_index(tile, b.index(self.channels))
            place = self._place(b.add_index(first, tile))
            self.transform.tile(*place, Target(self.inputs, start, self.input_pitch))

    def transform_results(self, panel: SSAValue, first: SSAValue, count: SSAValue) -> None:
        b, cut = self.b, self.cut
        filter = b.mul_index(panel, b.index(cut.panel))
        with b.loop(b.index(0), count) as tile:
            start = b.mul_index(tile, b.index(cut.panel))
            with b.loop(b.index(0), b.index(cut.panel), self.lanes) as column:
                self._transform_result(b.add_index(start, column), column)
            place = self._place(b.add_index(first, tile))
            self.by_width(filter, static((self.filters,)), lambda n: self._write(place, filter, n))

    def _transform_result(self, start: SSAValue, target: SSAValue) -> None:
        """A vector of a tile's results, to scratch."""
        b, row_of = self.b, [self.b.index(1), self.b.index(1)]

        def column(number: int) -> list[SSAValue]:
            return self.load_points(start, self.lanes, range(number, self.points, self.size))

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
            self.least(self.minus(self.frame.dim(self.shape[axis]), first), self.results)
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
