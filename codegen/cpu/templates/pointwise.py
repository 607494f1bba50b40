"""Products of what is transformed: what fast algorithms have in common.

They map inputs and weights linearly to points, multiply at each point, and map the products to
results. A task is a block of tiles, for some panels of columns. Its transformed inputs and a panel
of products are scratch that stays in the second-level cache::

    V[p, t, :] = transform of input tile t             once for a block
    for each panel:
        M[p, t, :] = V[p, t, :] @ U[panel, p]          for each of the points p
        result tile t = transform of M[:, t]           and the epilogue

The transformed weights ``U`` are made when the model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IndexType, f32
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir.dims import Dim, ceildiv
from ..expansion import Expansion, matrix_of
from .blocking import NEAR, Blocking, Problem, ceil
from .frame import Code, Frame, Packing, grain_of

# The bytes of an element; the elements of a cache line.
_WORD, _LINE = 4, 16


class PointwiseProducts:
    """The code of such an algorithm; its transforms are left to those who derive from it.

    ``weight`` is the number of the buffer that holds ``[panels, points, channels, panel]``; points
    are ``matrix``, ``[points, parts]``, times what ``weight_parts`` gives.
    """

    def __init__(
        self, frame: Frame, problem: Problem, cut: Blocking, weight: int, matrix: np.ndarray
    ):
        self.frame, self.b = frame, frame.b
        self.lanes = frame.target.lanes(32)
        self.points, self.channels = problem.points, problem.channels
        self.parts, self.part = problem.parts, problem.part
        self.cut = cut
        # Points are a vector more than a tile apart: powers of two would meet in a few cache sets.
        self.input_pitch = cut.tiles * self.channels + self.lanes
        self.product_pitch = cut.tiles * cut.panel + self.lanes
        self.inputs = self.scratch(self.points * self.input_pitch)
        self.products = self.scratch(self.points * self.product_pitch)
        self.weight, self.weights = weight, frame.buffers[weight].memory
        self.expansion = Expansion(matrix_of(matrix), cut.panels, self.channels, cut.panel)

    def weight_parts(self, array: np.ndarray) -> np.ndarray:
        """The weights as ``[parts, channels, columns]``."""
        raise NotImplementedError

    def transform_inputs(self, first: SSAValue, count: SSAValue) -> None:
        """Fills ``inputs`` with ``count`` tiles from number ``first`` on."""
        raise NotImplementedError

    def transform_results(self, panel: SSAValue, first: SSAValue, count: SSAValue) -> None:
        """Makes results of a panel's ``products``."""
        raise NotImplementedError

    def look_ahead(self, panel: SSAValue, tile: SSAValue, point: SSAValue) -> None:
        """May ask for memory, before a panel's products at a point with the tiles from one on."""

    def scratch(self, count: int) -> SSAValue:
        """Memory of the function's own."""
        return self.b.add(loop.AllocaOp(count, f32)).results[0]

    def finish(self, layout: Hashable, samples: Dim, together: bool = False) -> Code:
        """A task finds its block's inputs transformed if the task before it had the same block.

        Equal ``layout`` means equal ``weight_parts``. ``together`` has a thread take whole blocks
        where there are enough of them.
        """
        b, cut = self.b, self.cut
        blocks = ceildiv(self.part, cut.tiles)

        def task(number: SSAValue, carried: Sequence[SSAValue]) -> Sequence[SSAValue]:
            part, block, group = self.frame.unflatten(number, [self.parts, blocks, cut.groups])
            size, inner = self.frame.dim(self.part), b.mul_index(block, b.index(cut.tiles))
            first = b.add_index(b.mul_index(part, size), inner)
            count = self.least(self.minus(size, inner), cut.tiles)
            fresh = b.compare("ne", first, carried[0])
            b.when(fresh, lambda: self.transform_inputs(first, count))
            begin = b.mul_index(group, b.index(cut.share))
            end = self.least(b.add_index(begin, b.index(cut.share)), cut.panels)
            with b.loop(begin, end) as panel:
                self._multiply(panel, first, count)
                self.transform_results(panel, first, count)
            return [first]

        b.fold(self.frame.begin, self.frame.end, [b.index(-1)], task)
        cost = self.points * cut.tiles * self.channels * cut.share * cut.panel
        tasks = self.parts * blocks * cut.groups
        grain = -cut.groups if together else grain_of(cost // 16)
        return self.frame.finish(tasks, grain, {self.weight: self._packing(layout)}, samples)

    def _packing(self, layout: Hashable) -> Packing:
        expansion = self.expansion

        def pack(array: np.ndarray) -> np.ndarray:
            return expansion.by_panels(self.weight_parts(array))

        return Packing((expansion, layout), expansion.stored, pack, expansion)

    def _multiply(self, panel: SSAValue, first: SSAValue, count: SSAValue) -> None:
        """A matrix product for each point, by register tiles."""
        b, cut = self.b, self.cut
        with b.loop(b.index(0), b.index(self.points)) as point:
            slab = b.add_index(b.mul_index(panel, b.index(self.points)), point)
            right = b.mul_index(slab, b.index(self.channels * cut.panel))
            left = b.mul_index(point, b.index(self.input_pitch))
            place = b.mul_index(point, b.index(self.product_pitch))
            with b.loop(b.index(0), count, cut.rows) as tile:
                here = b.add_index(left, b.mul_index(tile, b.index(self.channels)))
                self.look_ahead(panel, b.add_index(first, tile), point)
                total = self._product(here, right, tile)
                target = b.add_index(place, b.mul_index(tile, b.index(cut.panel)))
                b.store(total, self.products, target, [b.index(cut.panel), b.index(1)])

    def _product(self, left: SSAValue, right: SSAValue, tile: SSAValue) -> SSAValue:
        """``rows`` x ``panel`` sums over the channels."""
        b, cut = self.b, self.cut
        down, zero, one = b.index(self.channels), b.index(0), b.index(1)
        ahead, lines = self._ahead(right, tile)
        near = _WORD * self.channels * cut.panel <= NEAR

        def step(channel: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            here = b.add_index(left, channel)
            there = b.add_index(right, b.mul_index(channel, b.index(cut.panel)))
            x = b.load(self.inputs, here, loop.tile((cut.rows, 1), f32), [down, one])
            y = b.load(self.weights, there, loop.tile((1, cut.panel), f32), [zero, one])
            next = b.add_index(ahead, b.mul_index(channel, b.index(lines * _LINE)))
            for line in range(lines):
                place = b.add_index(next, b.index(line * _LINE))
                b.add(loop.PrefetchOp(self.weights, place, near=near))
            return [b.fma(x, y, carried[0])]

        none = b.constant(0, loop.tile((cut.rows, cut.panel), f32))
        return b.fold(zero, down, [none], step)[0]

    def _ahead(self, right: SSAValue, tile: SSAValue) -> tuple[SSAValue, int]:
        """What to fetch meanwhile: from where on, and how many lines for each channel.

        Weights that are used once a run come from memory: so each strip fetches its share of the
        next slab, and memory works as evenly as the multipliers.
        """
        b, cut = self.b, self.cut
        lines = ceil(ceil(cut.panel, _LINE), cut.strips)
        share = ceil(self.channels * lines * _LINE, cut.rows)
        next = b.add_index(right, b.index(self.channels * cut.panel))
        return b.add_index(next, b.mul_index(tile, b.index(share))), lines

    def load_points(self, start: SSAValue, width: int, points: Sequence[int]) -> list[SSAValue]:
        """Products at some points, ``width`` columns from position ``start`` of a point on."""
        b, type = self.b, loop.tile((1, width), f32)
        places = [b.add_index(start, b.index(p * self.product_pitch)) for p in points]
        return [b.load(self.products, place, type, [b.index(1)] * 2) for place in places]

    def by_width(self, first: SSAValue, size: int, body: Callable[[int], None]) -> None:
        """Calls ``body(width)`` for the panel from ``first`` on: the last may be narrower."""
        b, width = self.b, self.cut.panel
        rest = size % width
        if not rest:
            body(width)
            return
        whole = b.compare("sle", first, b.index(size - width))
        wide, narrow = (b.region(lambda n=n: body(n)) for n in (width, rest))
        b.add(scf.IfOp(whole, [], wide, narrow))

    def least(self, value: SSAValue, bound: int) -> SSAValue:
        """The smaller one."""
        return self.b.op(arith.MinSIOp, [value, self.b.index(bound)], IndexType())

    def minus(self, a: SSAValue, b: SSAValue) -> SSAValue:
        """``a - b``."""
        return self.b.op(arith.SubiOp, [a, b], IndexType())
