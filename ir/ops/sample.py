"""Ops that read a tensor at given positions between its elements."""

from __future__ import annotations

from functools import reduce
from itertools import product
from operator import and_
from typing import ClassVar

import numpy as np
from xdsl.irdl import operand_def, result_def

from .. import scalar as s
from ..dims import Dim
from ..op import GraphOp, graph_op, param
from ..structure import Indices, Map
from ..types import I64, TensorType, is_float
from .interpolation import KERNELS, Kernel, clamped, tap_weight, taps, unless_empty, within
from .reduce import accumulator

_CUBIC = -0.75
_FAR = 2.0**30


@graph_op
class GridSampleOp(GraphOp):
    """``x[N, *spatial, C]`` read at positions ``grid[N, *out, d]``: ``[N, *out, C]``.

    A position has one number for each of the d spatial dims, the last dim first: -1 and 1 are the
    first and last element's centers with ``align_corners``, else the outer edges. Elements outside
    of x are by ``padding``: ``zeros``, ``border`` (the nearest) or ``reflection`` (mirrored).

    ``%r = "mlc.grid_sample"(%x, %grid) <{mode = #mlc.param<"linear">, …}> : …``
    """

    name = "mlc.grid_sample"
    x = operand_def(TensorType)
    grid = operand_def(TensorType)
    mode = param("linear")
    padding = param("zeros")
    align_corners = param(False)
    result = result_def(TensorType)
    MODES: ClassVar[tuple[str, ...]] = ("nearest", *KERNELS)
    PADDINGS: ClassVar[tuple[str, ...]] = ("zeros", "border", "reflection")

    def infer(self) -> TensorType:
        """The shape of the grid with channels instead of positions."""
        x, grid = self.operand_type(0), self.operand_type(1)
        if self.mode not in self.MODES or self.padding not in self.PADDINGS:
            known = ", ".join((*self.MODES, *self.PADDINGS))
            raise self.fail(f"mode '{self.mode}' or padding '{self.padding}' is none of {known}")
        if x.rank < 3 or grid.rank != x.rank or grid.shape[-1] != x.rank - 2:
            raise self.fail("x must be [N, *spatial, C] and the grid [N, *out, number of spatial]")
        if x.shape[0] != grid.shape[0]:
            raise self.fail("x and the grid must have the same first dim")
        if not is_float(x.dtype) or not is_float(grid.dtype):
            raise self.fail("x and the grid must be of float dtypes")
        return x.with_shape((*grid.shape[:-1], x.shape[-1]))

    def reference(self, x: np.ndarray, grid: np.ndarray) -> np.ndarray:
        """The sum over all combinations of taps."""
        axes = []
        for k, size in enumerate(x.shape[1:-1]):
            position = self._place(grid[..., -1 - k].astype(np.float64), size)
            with np.errstate(invalid="ignore"):
                position = np.where(position > -_FAR, np.minimum(position, _FAR), -_FAR)
            axes.append([self._tap(position, offset, size) for offset in self._offsets()])
        batch = np.arange(x.shape[0]).reshape(-1, *[1] * (grid.ndim - 2))
        total = np.zeros((*grid.shape[:-1], x.shape[-1]))
        for combination in product(*axes) if x.size else ():
            weights = reduce(np.multiply, (w for _, w in combination))
            total += weights[..., None] * x[(batch, *(p for p, _ in combination))]
        return total.astype(x.dtype)

    def structure(self) -> Map:
        """A Map over all taps, unrolled."""

        def body(i: Indices) -> s.Scalar:
            x, grid = self.operand_type(0), self.operand_type(1)
            low, parts = [], []
            for k, size in enumerate(x.shape[1:-1]):
                number = s.const(x.rank - 3 - k, I64)
                at = s.cast(s.load(1, [*i[:-1], number], grid.dtype), self._wide())
                position = _limited(self._position(at, size))
                whole = s.unary("round" if self.mode == "nearest" else "floor", position)
                low.append(s.cast(whole, I64))
                parts.append(position - whole)
            value = s.cast(self._blend(i, low, parts, []), x.dtype)
            return unless_empty(value, x.shape[1:-1])

        return Map(body)

    def _blend(
        self, i: Indices, low: list[s.Scalar], parts: list[s.Scalar], chosen: list[s.Scalar]
    ) -> s.Scalar:
        """The weighted sum over the taps of the spatial dims that are not ``chosen`` yet."""
        k = len(chosen)
        if k == len(low):
            return self._read(i, chosen)
        terms = []
        for offset in self._offsets():
            value = self._blend(i, low, parts, [*chosen, low[k] + offset])
            if self.mode != "nearest":
                value = value * tap_weight(self.mode, offset, parts[k], _CUBIC)
            terms.append(value)
        return reduce(lambda a, b: a + b, terms)

    def _read(self, i: Indices, places: list[s.Scalar]) -> s.Scalar:
        x = self.operand_type(0)
        sizes = x.shape[1:-1]
        where = [self._inner(p, size) for p, size in zip(places, sizes, strict=True)]
        value = s.cast(s.load(0, [i[0], *where, i[-1]], x.dtype), self._wide())
        if self.padding != "zeros":
            return value
        tests = [within(p, size) for p, size in zip(places, sizes, strict=True)]
        return s.select(reduce(and_, tests), value, 0)

    def _offsets(self) -> range:
        return range(1) if self.mode == "nearest" else taps(self.mode)

    def _wide(self) -> np.dtype:
        return np.promote_types(*(accumulator(self.operand_type(k).dtype) for k in range(2)))

    def _position(self, at: s.Scalar, size: Dim) -> s.Scalar:
        if self.align_corners:
            return (at + 1) * (s.cast(s.size(size - 1), at.dtype) * 0.5)
        return (at + 1) * (s.cast(s.size(size), at.dtype) * 0.5) - 0.5

    def _place(self, at: np.ndarray, size: int) -> np.ndarray:
        return (at + 1) / 2 * (size - 1) if self.align_corners else ((at + 1) * size - 1) / 2

    def _inner(self, place: s.Scalar, size: Dim) -> s.Scalar:
        """The element that stands for one that may be outside."""
        if self.padding != "reflection":
            return clamped(place, size)
        last = size - 1
        period = last * 2 if self.align_corners else size * 2
        phase = place % s.maximum(s.size(period), 1)
        return s.minimum(phase, s.size(last * 2 if self.align_corners else last + size) - phase)

    def _tap(self, position: np.ndarray, offset: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Which element a tap reads, and its weight."""
        whole = np.rint(position) if self.mode == "nearest" else np.floor(position)
        place = whole.astype(np.int64) + offset
        weight = np.ones(position.shape)
        if self.mode != "nearest":
            weight = Kernel(self.mode, _CUBIC, 1.0, False).weights(place - position)
        if self.padding == "zeros":
            weight = np.where((place >= 0) & (place < size), weight, 0)
        if self.padding != "reflection":
            return np.clip(place, 0, size - 1), weight
        mirrored = [*range(size), *range(size - 1, -1, -1)]
        if self.align_corners:
            mirrored = [*range(size), *range(size - 2, 0, -1)]
        return np.asarray(mirrored)[place % len(mirrored)], weight


def _limited(position: s.Scalar) -> s.Scalar:
    """A position whose floor is an index; NaN and what is far outside are far outside."""
    above = s.select(position > -_FAR, position, -_FAR)
    return s.select(above < _FAR, above, _FAR)
