"""The transformed inputs of Winograd's algorithm: vectors of channels, tile by tile.

    V[p, t, c] = (input @ x[rows of tile t, columns of tile t, c] @ input.T)[p]

The input is read where it is. A tile that crosses its border is read from a patch of scratch
instead, which holds zeros outside of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IndexType, f32, i1
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.ops.conv import ConvOp
from ....ir.types import type_of
from ..elements import storage_type, to_memory, to_register
from .columns import for_columns
from .frame import Frame, static
from .linear_map import map_grid

BATCH, HEIGHT, WIDTH, CHANNEL = range(4)


@dataclass(frozen=True)
class Target:
    """Where a tile's points go: the first one, and how far they are apart."""

    memory: SSAValue
    start: SSAValue
    pitch: int


@dataclass(frozen=True)
class _Window:
    """The elements that a tile reads.

    Attributes:
        start: The position of the first one, which may be outside of the input.
        first: Its row and column.
        inside: Whether all are elements of the input.
    """

    start: SSAValue
    first: tuple[SSAValue, SSAValue]
    inside: SSAValue


class InputTransform:
    """Code that transforms one tile of a convolution's input; ``matrix`` is that of one dim."""

    def __init__(self, frame: Frame, conv: ConvOp, matrix: np.ndarray):
        self.frame, self.b = frame, frame.b
        self.matrix, self.size = matrix, len(matrix)
        self.lanes = frame.target.lanes(32)
        self.shape = type_of(conv.x).shape
        self.pads, self.stride = conv.pads[:2], conv.strides[0]
        load = frame.fused.element(conv.x, [s.axis(n) for n in range(4)])
        load = load.args[0] if load.op == "cast" else load
        self.dtype = load.dtype
        buffer = frame.buffers[load.attr]
        self.memory = buffer.memory
        self.form = IndexSpace(self.shape).position(load.args, buffer.shape)
        self.steps = [frame.dim(self.form.coefficient(n)) for n in range(4)]
        self.element = storage_type(load.dtype)
        patch = loop.AllocaOp(self.size**2 * self.lanes, self.element)
        self.patch = self.b.add(patch).results[0]

    def tile(self, image: SSAValue, row: SSAValue, column: SSAValue, target: Target) -> None:
        """Transforms the tile of the results from (``row``, ``column``) on."""
        window = self._window(image, row, column)
        self._unless(window.inside, self._clear_patch)
        channels = self.b.index(static(self.shape[CHANNEL:]))
        for_columns(
            self.b,
            self.b.index(0),
            channels,
            self.lanes,
            lambda channel, width: self._vectors(window, channel, width, target),
        )

    def _window(self, image: SSAValue, row: SSAValue, column: SSAValue) -> _Window:
        b = self.b
        top, left = (
            b.add_index(b.mul_index(x, b.index(self.stride)), b.index(-pad))
            for x, pad in zip((row, column), self.pads, strict=True)
        )
        start = self.frame.dim(self.form.constant)
        for index, step in zip((image, top, left), self.steps, strict=False):
            start = b.add_index(start, b.mul_index(index, step))
        straight = b.constant(self.form.coefficient(CHANNEL) == 1, i1)
        tests = [straight, self._within(top, HEIGHT), self._within(left, WIDTH)]
        return _Window(start, (top, left), reduce(self._and, tests))

    def _within(self, first: SSAValue, axis: int) -> SSAValue:
        """Whether a tile from ``first`` on lies between the borders."""
        last = self.b.index(static((self.shape[axis],)) - self.size)
        begins = self.b.compare("sge", first, self.b.index(0))
        return self._and(begins, self.b.compare("sle", first, last))

    def _and(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.op(arith.AndIOp, [x, y], i1)

    def _unless(self, condition: SSAValue, code) -> None:
        b = self.b
        b.add(scf.IfOp(condition, [], b.region(lambda: None), b.region(code)))

    def _clear_patch(self) -> None:
        b, zero = self.b, self.b.constant(0, loop.tile((1, self.lanes), f32))
        zero = to_memory(b, zero, self.dtype)
        with b.loop(b.index(0), b.index(self.size**2 * self.lanes), self.lanes) as place:
            b.store(zero, self.patch, place, self._row())

    def _row(self) -> list[SSAValue]:
        return [self.b.index(1), self.b.index(1)]

    def _vectors(self, window: _Window, channel: SSAValue, width: int, target: Target) -> None:
        """Transforms ``width`` channels."""
        b, type = self.b, loop.tile((1, width), self.element)
        here = b.add_index(window.start, b.mul_index(channel, self.steps[CHANNEL]))
        self._unless(window.inside, lambda: self._fill_patch(window, here, width))
        memory = b.select(window.inside, self.memory, self.patch)
        start = b.select(window.inside, here, b.index(0))
        sides = (b.index(self.size * self.lanes), b.index(self.lanes))
        down, across = (
            b.select(window.inside, step, side)
            for step, side in zip(self.steps[HEIGHT:CHANNEL], sides, strict=True)
        )

        def column(number: int) -> list[SSAValue]:
            top = b.add_index(start, b.mul_index(across, b.index(number)))
            rows = [b.add_index(top, b.mul_index(down, b.index(k))) for k in range(self.size)]
            loaded = [b.load(memory, place, type, self._row()) for place in rows]
            return [to_register(b, value, self.dtype) for value in loaded]

        first = b.add_index(target.start, channel)

        def row(number: int, values: Sequence[SSAValue]) -> None:
            for point, value in enumerate(values, number * self.size):
                place = b.add_index(first, b.index(point * target.pitch))
                b.store(value, target.memory, place, self._row())

        map_grid(b, self.matrix, column, self.size, row)

    def _fill_patch(self, window: _Window, start: SSAValue, width: int) -> None:
        """Copies what there is of a tile."""
        b = self.b
        (top, bottom), (left, right) = (
            self._range(first, axis) for first, axis in zip(window.first, (1, 2), strict=True)
        )
        down, across, step = self.steps[HEIGHT:]
        with b.loop(top, bottom) as row, b.loop(left, right) as column:
            source = b.add_index(start, b.mul_index(row, down))
            source = b.add_index(source, b.mul_index(column, across))
            type = loop.tile((1, width), self.element)
            value = b.load(self.memory, source, type, [step, step])
            place = b.add_index(b.mul_index(row, b.index(self.size)), column)
            b.store(value, self.patch, b.mul_index(place, b.index(self.lanes)), self._row())

    def _range(self, first: SSAValue, axis: int) -> tuple[SSAValue, SSAValue]:
        """The elements of a tile that are elements of the input."""
        b, zero = self.b, self.b.index(0)
        before = b.op(arith.SubiOp, [zero, first], IndexType())
        after = b.op(arith.SubiOp, [b.index(static((self.shape[axis],))), first], IndexType())
        begin = b.op(arith.MaxSIOp, [before, zero], IndexType())
        return begin, b.op(arith.MinSIOp, [after, b.index(self.size)], IndexType())
