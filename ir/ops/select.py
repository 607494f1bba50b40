"""Ops whose results have a size that only the data tells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import numpy as np
from xdsl.ir import Operation
from xdsl.irdl import operand_def, result_def

from ..dims import Dim, SymDim, dim_min, symbol
from ..op import GraphOp, graph_op, param
from ..structure import Special
from ..symbols import known_shape
from ..types import BOOL, I64, TensorType, is_float, tensor
from .shape import param_dims
from .words import comparable


class LateOp(GraphOp):
    """Base: the op finds out sizes, which are symbols of names that are unique in the graph.

    Any later op may have them in its shapes, like the symbols of the inputs.
    """

    def found(self) -> dict[str, Dim]:
        """The largest value of each symbol that the op finds out; itself where there is none."""
        raise NotImplementedError(self.name)


class CountOp(LateOp):
    """Base: the symbol ``count`` is the size that the op finds out."""

    count = param()
    ALGORITHM: ClassVar[str]

    @property
    def size(self) -> SymDim:
        """The dim that is found out."""
        if not isinstance(self.count, str) or not self.count.isidentifier():
            raise self.fail(f"count {self.count!r} must be the name of a symbol")
        return symbol(self.count)

    def bound(self) -> Dim:
        """The largest value that ``count`` may have."""
        raise NotImplementedError(self.name)

    def found(self) -> dict[str, Dim]:
        """``count`` with its bound."""
        return {self.count: self.bound()}

    def structure(self) -> Special:
        """An algorithm of its own: the size follows from the data."""
        return Special(self.ALGORITHM)


def late_symbols(ops: Iterable[Operation]) -> dict[str, LateOp]:
    """The symbols that ops find out, with these ops.

    Raises:
        InferenceError: Two ops find out the same symbol.
    """
    found: dict[str, LateOp] = {}
    for op in (op for op in ops if isinstance(op, LateOp)):
        for name in op.found():
            if found.setdefault(name, op) is not op:
                raise op.fail(f"the symbol {name} is found out by another op already")
    return found


@graph_op
class NonZeroOp(CountOp):
    """Where x is not 0: ``[rank, count]`` (i64), a column for each place, in row-major order.

    ``%r = "mlc.non_zero"(%x) <{count = #mlc.param<"K">}> : … -> (!mlc.tensor<[2, K] i64>)``
    """

    name = "mlc.non_zero"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    ALGORITHM: ClassVar[str] = "non_zero"

    def infer(self) -> TensorType:
        """A row for each dim of x."""
        x = self.operand_type(0)
        if x.rank == 0:
            raise self.fail("x needs at least one dim")
        return tensor((x.rank, self.size), I64)

    def bound(self) -> Dim:
        """Every element."""
        return self.operand_type(0).size

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Numpy's nonzero."""
        return np.stack(np.nonzero(x)).astype(np.int64)


@graph_op
class CompressOp(CountOp):
    """The slices of x along ``axis`` whose entry in ``condition`` (bools, one dim) holds.

    Where the condition is shorter than the axis, the rest is left out.
    """

    name = "mlc.compress"
    x = operand_def(TensorType)
    condition = operand_def(TensorType)
    axis = param(0)
    result = result_def(TensorType)
    ALGORITHM: ClassVar[str] = "compress"

    def infer(self) -> TensorType:
        """The shape of x with ``count`` along ``axis``."""
        x, condition = self.operand_type(0), self.operand_type(1)
        if not 0 <= self.axis < x.rank:
            raise self.fail(f"axis {self.axis} does not exist in rank {x.rank}")
        if condition.rank != 1 or condition.dtype != BOOL:
            raise self.fail("the condition must be bools in one dim")
        size, entries = x.shape[self.axis], condition.shape[0]
        if isinstance(size, int) and isinstance(entries, int) and entries > size:
            raise self.fail(f"the condition has {entries} entries, axis {self.axis} has {size}")
        return x.with_shape((*x.shape[: self.axis], self.size, *x.shape[self.axis + 1 :]))

    def bound(self) -> Dim:
        """All slices."""
        return dim_min(self.operand_type(0).shape[self.axis], self.operand_type(1).shape[0])

    def reference(self, x: np.ndarray, condition: np.ndarray) -> np.ndarray:
        """Numpy's compress."""
        return np.compress(condition, x, self.axis)


@graph_op
class UniqueOp(CountOp):
    """The different slices of x along ``axis``, and (i64) where they are.

    Results are the slices; for each, the index of its first occurrence; for each index along
    ``axis``, the number of its slice; for each slice, how often it occurs. Slices are in ascending
    order, compared element by element, or with ``ordered`` false in that of their first occurrence.
    NaN is equal to NaN, and larger than every number.
    """

    name = "mlc.unique"
    x = operand_def(TensorType)
    axis = param(0)
    ordered = param(True)
    values = result_def(TensorType)
    first = result_def(TensorType)
    inverse = result_def(TensorType)
    counts = result_def(TensorType)
    ALGORITHM: ClassVar[str] = "unique"

    def infer(self) -> tuple[TensorType, ...]:
        """``count`` slices and indices; as many numbers of slices as x has along ``axis``."""
        x = self.operand_type(0)
        if not 0 <= self.axis < x.rank:
            raise self.fail(f"axis {self.axis} does not exist in rank {x.rank}")
        values = x.with_shape((*x.shape[: self.axis], self.size, *x.shape[self.axis + 1 :]))
        found = tensor((self.size,), I64)
        return values, found, tensor((x.shape[self.axis],), I64), found

    def bound(self) -> Dim:
        """All slices."""
        return self.operand_type(0).shape[self.axis]

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        """Goes through the slices in ascending order and counts those that differ from the last."""
        slices = np.moveaxis(comparable(x), self.axis, 0)
        rows = slices.reshape(len(slices), int(np.prod(slices.shape[1:])))
        # The last key decides first; an index at the end keeps equal slices in order.
        keys = [np.arange(len(rows)), *np.flip(rows.T, 0)]
        order = np.lexsort(keys) if len(rows) else np.zeros(0, np.int64)
        ordered = rows[order]
        same = (ordered[1:] == ordered[:-1]) | (_is_nan(ordered[1:]) & _is_nan(ordered[:-1]))
        number = np.concatenate([[0], np.cumsum(~same.all(1))])[: len(rows)]
        counts = np.bincount(number)
        first = order[np.searchsorted(number, np.arange(len(counts)))]
        inverse = np.empty(len(rows), np.int64)
        inverse[order] = number
        if not self.ordered:
            by_place = np.argsort(first)
            first, counts = first[by_place], counts[by_place]
            inverse = np.argsort(by_place)[inverse] if len(rows) else inverse
        indices = (a.astype(np.int64) for a in (first, inverse, counts))
        return np.take(x, first, self.axis), *indices


@graph_op
class NonMaxSuppressionOp(CountOp):
    """The best of overlapping boxes: rows (batch, class, box) in ``[count, 3]`` (i64).

    Of ``boxes[B, N, 4]`` and ``scores[B, C, N]``, for each batch and class, the box with the
    highest score above ``least_score`` is taken, and all that overlap it by more than ``overlap``
    (area of the intersection over that of the union) are dropped, again and again, at most
    ``limit`` times (an int or the text of a dim). Of equal scores the lower box is
    taken. Boxes are two opposite corners (y, x, y, x), or with ``centered`` (x, y, width, height).
    """

    name = "mlc.non_max_suppression"
    boxes = operand_def(TensorType)
    scores = operand_def(TensorType)
    limit = param()
    overlap = param(0.0)
    least_score = param()
    centered = param(False)
    result = result_def(TensorType)
    ALGORITHM: ClassVar[str] = "non_max_suppression"

    def infer(self) -> TensorType:
        """``count`` rows."""
        boxes, scores = self.operand_type(0), self.operand_type(1)
        if boxes.rank != 3 or scores.rank != 3 or boxes.shape[2] != 4:
            raise self.fail("boxes must be [B, N, 4] and scores [B, C, N]")
        if (boxes.shape[0], boxes.shape[1]) != (scores.shape[0], scores.shape[2]):
            raise self.fail("boxes and scores must have as many batches and boxes")
        if boxes.dtype != scores.dtype or not is_float(boxes.dtype):
            raise self.fail("boxes and scores must have the same float dtype")
        return tensor((self.size, 3), I64)

    def bound(self) -> Dim:
        """``limit`` boxes, or all, for each batch and class."""
        batches, classes, boxes = self.operand_type(1).shape
        return batches * classes * dim_min(boxes, self.most())

    def most(self) -> Dim:
        """``limit`` as a dim."""
        return param_dims((self.limit,))[0]

    def reference(self, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Greedily, for each batch and class."""
        (limit,) = known_shape((self.most(),))
        rows = [
            (batch, label, box)
            for batch in range(scores.shape[0])
            for label in range(scores.shape[1])
            for box in self._chosen(boxes[batch], scores[batch, label], limit)
        ]
        return np.array(rows, np.int64).reshape(-1, 3)

    def _chosen(self, boxes: np.ndarray, scores: np.ndarray, limit: int) -> list[int]:
        chosen: list[int] = []
        corners = self._corners(boxes.astype(np.float32 if boxes.itemsize < 4 else boxes.dtype))
        for box in np.argsort(-scores, kind="stable"):
            if len(chosen) == limit:
                break
            if self.least_score is not None and not scores[box] > self.least_score:
                continue
            if all(overlap(corners[box], corners[other]) <= self.overlap for other in chosen):
                chosen.append(int(box))
        return chosen

    def _corners(self, boxes: np.ndarray) -> np.ndarray:
        """The boxes as (low, low, high, high)."""
        if self.centered:
            half = boxes[:, 2:] / 2
            return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)
        pair = boxes[:, :2], boxes[:, 2:]
        return np.concatenate([np.minimum(*pair), np.maximum(*pair)], 1)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """The area of the intersection of two boxes over that of their union; 0 without an area."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (sides <= 0).any():
        return 0.0
    common = sides.prod()
    return float(common / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - common))


def _is_nan(x: np.ndarray) -> np.ndarray:
    return x != x
