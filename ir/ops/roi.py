"""Ops on regions of interest: boxes in an image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import ClassVar

import numpy as np
from xdsl.irdl import operand_def, result_def

from .. import scalar as s
from ..dims import Dim
from ..op import GraphOp, graph_op, param
from ..structure import Indices, Reduce, Special
from ..types import F32, I64, TensorType, is_float, is_integer
from .index import inside_dim
from .interpolation import unless_empty
from .reduce import accumulator

# A position along one dim: the two elements around it, their weights, and whether it counts.
Corner = tuple[tuple[s.Scalar, s.Scalar], tuple[s.Scalar, s.Scalar], s.Scalar]


@graph_op
class RoiAlignOp(GraphOp):
    """The parts ``rois[R, 4]`` of x ``[N, H, W, C]`` resampled to ``size``: ``[R, h, w, C]``.

    A row of ``rois`` is (left, top, right, bottom), to be multiplied by ``scale``, in the image
    number ``batch[R]``; ``half_pixel`` moves it by half an element. Each of the h*w cells of a part
    is read at ``samples`` by ``samples`` positions (0: one for each element that a cell spans),
    linearly; of these the cell has the ``avg``, or the ``max`` of all weighted elements (He et al.,
    2017).

    ``%r = "mlc.roi_align"(%x, %rois, %batch) <{size = #mlc.param<[7, 7]>, …}> : …``
    """

    name = "mlc.roi_align"
    x = operand_def(TensorType)
    rois = operand_def(TensorType)
    batch = operand_def(TensorType)
    size = param()
    samples = param(0)
    scale = param(1.0)
    mode = param("avg")
    half_pixel = param(True)
    result = result_def(TensorType)
    MODES: ClassVar[tuple[str, ...]] = ("avg", "max")

    def infer(self) -> TensorType:
        """One part for each region."""
        x, rois, batch = (self.operand_type(k) for k in range(3))
        if x.rank != 4 or rois.rank != 2 or rois.shape[1] != 4 or batch.shape != rois.shape[:1]:
            raise self.fail("x must be [N, H, W, C], the regions [R, 4] and the batch [R]")
        if not is_float(x.dtype) or not is_float(rois.dtype) or not is_integer(batch.dtype):
            raise self.fail("x and the regions must be of float dtypes, the batch of integers")
        if self.mode not in self.MODES:
            raise self.fail(f"mode '{self.mode}' is none of {', '.join(self.MODES)}")
        if len(self.size) != 2 or min(self.size) < 1 or self.samples < 0:
            raise self.fail("size must be two positive integers, samples not negative")
        return x.with_shape((rois.shape[0], *self.size, x.shape[3]))

    def reference(self, x: np.ndarray, rois: np.ndarray, batch: np.ndarray) -> np.ndarray:
        """One cell after another."""
        result = np.zeros((len(rois), *self.size, x.shape[3]), np.float64)
        for r in range(len(rois)):
            starts, cells, counts = self._layout(rois[r].astype(self.wide()))
            for cell in np.ndindex(*self.size):
                samples = []
                for n in np.ndindex(*counts):
                    where = starts + (np.array(cell) + (np.array(n) + 0.5) / counts) * cells
                    samples.append(_corner_values(x[int(batch[r])].astype(np.float64), where))
                if samples:
                    result[r][cell] = self._combine(np.stack(samples))
        return result.astype(x.dtype)

    def structure(self) -> Reduce | Special:
        """A Reduce over the samples of a cell; Special where their number depends on the region."""
        if self.samples == 0:
            return Special("roi_align")
        dtype, wide = self.operand_type(0).dtype, self.wide()
        shares = (s.const(1 / self.samples, wide),) * 2
        extents = (self.samples, self.samples)

        def body(i: Indices, r: Indices) -> s.Scalar:
            return self.sample(i, r, shares)

        if self.mode == "max":
            return Reduce(extents, "max", body, lambda total: s.cast(total, dtype))
        share = 1 / self.samples**2
        return Reduce(extents, "add", body, lambda total: s.cast(total * share, dtype))

    def sample(self, i: Indices, r: Indices, shares: Sequence[s.Scalar]) -> s.Scalar:
        """A sample of a cell; each takes its share of the cell, along H and W."""
        x, wide = self.operand_type(0), self.wide()
        image = inside_dim(s.load(2, [i[0]], self.operand_type(2).dtype), x.shape[0])
        positions = []
        for k in range(2):
            start, extent = self._extent(k, i[0])
            offset = (s.cast(r[k], wide) + 0.5) * shares[k]
            cell = extent / float(self.size[k])
            positions.append(start + (s.cast(i[1 + k], wide) + offset) * cell)
        rows, columns = (_around(p, size) for p, size in zip(positions, x.shape[1:3], strict=True))
        terms = []
        for row, by_row in zip(*rows[:2], strict=True):
            for column, by_column in zip(*columns[:2], strict=True):
                value = s.load(0, [image, row, column, i[3]], x.dtype)
                terms.append(s.cast(value, wide) * (by_row * by_column))
        value = reduce(s.maximum if self.mode == "max" else add, terms)
        return unless_empty(s.select(rows[2] & columns[2], value, 0), x.shape[:3])

    def count(self, k: int, region: s.Scalar) -> s.Scalar:
        """How many elements a cell of a region spans along H (0) or W (1)."""
        extent = self._extent(k, region)[1]
        return s.maximum(s.cast(s.unary("ceil", extent / float(self.size[k])), I64), 0)

    def wide(self) -> np.dtype:
        """The dtype that is computed in: at least f32."""
        types = (accumulator(self.operand_type(k).dtype) for k in range(2))
        return np.promote_types(np.promote_types(*types), F32)

    def _extent(self, k: int, region: s.Scalar) -> tuple[s.Scalar, s.Scalar]:
        """Where a region begins along H (0) or W (1), and its size."""
        start, end = self._edge(region, 1 - k), self._edge(region, 3 - k)
        extent = end - start
        return start, extent if self.half_pixel else s.maximum(extent, 1)

    def _edge(self, region: s.Scalar, number: int) -> s.Scalar:
        rois = self.operand_type(1)
        value = s.cast(s.load(1, [region, s.const(number, I64)], rois.dtype), self.wide())
        return value * self.scale - (0.5 if self.half_pixel else 0.0)

    def _layout(self, roi: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        """Start, cell size and number of samples a cell, for H and W."""
        left, top, right, bottom = roi * self.scale - (0.5 if self.half_pixel else 0.0)
        extent = np.array([bottom - top, right - left])
        extent = extent if self.half_pixel else np.maximum(extent, 1)
        cells = extent / np.array(self.size)
        counts = np.maximum(np.ceil(cells), 0).astype(int)
        chosen = (self.samples, self.samples) if self.samples else tuple(map(int, counts))
        return np.array([top, left]), cells, chosen

    def _combine(self, samples: np.ndarray) -> np.ndarray:
        return samples.sum(1).mean(0) if self.mode == "avg" else samples.max((0, 1))


def _around(position: s.Scalar, size: Dim) -> Corner:
    """The elements around a position; it counts up to one element outside."""
    end = s.cast(s.size(size), position.dtype)
    counts = (position >= -1.0) & (position <= end)
    # Where it does not count, NaN included, the position is replaced: no index comes from it.
    position = s.select(counts, position, 0)
    inner = s.minimum(s.maximum(position, 0), end - 1)
    low = s.cast(s.unary("floor", inner), I64)
    part = inner - s.unary("floor", inner)
    high = s.minimum(low + 1, s.size(size) - 1)
    return (low, high), (1 - part, part), counts


def _corner_values(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The four elements around a position in ``image[H, W, C]``, weighted: ``[4, C]``."""
    sizes = np.array(image.shape[:2])
    if (where < -1).any() or (where > sizes).any():
        return np.zeros((4, image.shape[2]))
    inner = np.clip(where, 0, sizes - 1)
    low = np.floor(inner).astype(int)
    high, part = np.minimum(low + 1, sizes - 1), inner - low
    rows, columns = ((low[k], 1 - part[k], high[k], part[k]) for k in range(2))
    return np.stack(
        [
            image[int(row), int(column)] * by_row * by_column
            for row, by_row in (rows[:2], rows[2:])
            for column, by_column in (columns[:2], columns[2:])
        ]
    )
