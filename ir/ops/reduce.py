"""Reductions over given axes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from xdsl.irdl import operand_def, result_def

from .. import scalar as s
from ..dims import Shape, product
from ..op import GraphOp, graph_op, param
from ..structure import Indices, Reduce, neutral
from ..types import TensorType, is_float


class ReduceOp(GraphOp):
    """Base: combines the elements along ``axes`` (sorted, not negative), kept as 1 or dropped.

    ``%r = "mlc.reduce_sum"(%x) <{axes = #mlc.param<[1]>, keepdims = #mlc.param<true>}> : …``
    """

    x = operand_def(TensorType)
    axes = param()
    keepdims = param(False)
    result = result_def(TensorType)
    COMBINE: ClassVar[str]

    def infer(self) -> TensorType:
        """The shape without ``axes``, or with 1 in their place."""
        x = self.operand_type(0)
        if list(self.axes) != sorted({a for a in self.axes if 0 <= a < x.rank}):
            raise self.fail(f"axes {list(self.axes)} are not sorted axes of rank {x.rank}")
        if self.keepdims:
            return x.with_shape(1 if k in self.axes else d for k, d in enumerate(x.shape))
        return x.with_shape(d for k, d in enumerate(x.shape) if k not in self.axes)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Combines in the accumulator's dtype."""
        wide = self.operand_type(0).dtype if self._exact() else accumulator(x.dtype)
        ufunc = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
        start = np.asarray(neutral(self.COMBINE, wide)).astype(wide)
        total = x.astype(wide)
        for axis in sorted(self.axes, reverse=True):
            total = ufunc[self.COMBINE].reduce(total, axis=axis, initial=start, dtype=wide)
        shape = np.expand_dims(x, 0).shape[1:]
        kept = [1 if k in self.axes else d for k, d in enumerate(shape)]
        return (
            self.finish_values(total, x)
            .astype(x.dtype)
            .reshape(kept if self.keepdims else total.shape)
        )

    def finish_values(self, total: np.ndarray, x: np.ndarray) -> np.ndarray:
        """What is done with the combined values."""
        return total

    def finish(self, total: s.Scalar) -> s.Scalar:
        """The same as an expression."""
        return total

    def structure(self) -> Reduce:
        """A Reduce over the sizes of ``axes``."""
        x = self.operand_type(0)
        wide = x.dtype if self._exact() else accumulator(x.dtype)

        def body(i: Indices, r: Indices) -> s.Scalar:
            return s.cast(s.load(0, self._where(x.rank, i, r), x.dtype), wide)

        def finish(total: s.Scalar) -> s.Scalar:
            return s.cast(self.finish(total), x.dtype)

        return Reduce(self._extents(), self.COMBINE, body, finish)

    def _exact(self) -> bool:
        return self.COMBINE in ("max", "min")

    def _extents(self) -> Shape:
        return tuple(self.operand_type(0).shape[a] for a in self.axes)

    def _where(self, rank: int, outer: Indices, inner: Indices) -> list[s.Scalar]:
        kept = [i for k, i in enumerate(outer) if k not in self.axes] if self.keepdims else outer
        outside, inside = iter(kept), iter(inner)
        return [next(inside) if k in self.axes else next(outside) for k in range(rank)]


@graph_op
class ReduceSumOp(ReduceOp):
    """The sum; 0 of nothing."""

    name = "mlc.reduce_sum"
    COMBINE: ClassVar[str] = "add"


@graph_op
class ReduceProdOp(ReduceOp):
    """The product; 1 of nothing."""

    name = "mlc.reduce_prod"
    COMBINE: ClassVar[str] = "mul"


@graph_op
class ReduceMaxOp(ReduceOp):
    """The largest; NaN where any is; the least value of the dtype of nothing."""

    name = "mlc.reduce_max"
    COMBINE: ClassVar[str] = "max"


@graph_op
class ReduceMinOp(ReduceOp):
    """The smallest; NaN where any is; the largest value of the dtype of nothing."""

    name = "mlc.reduce_min"
    COMBINE: ClassVar[str] = "min"


@graph_op
class ReduceMeanOp(ReduceOp):
    """The mean; of floats only."""

    name = "mlc.reduce_mean"
    COMBINE: ClassVar[str] = "add"

    def infer(self) -> TensorType:
        """As every reduction; integers are refused."""
        if not is_float(self.operand_type(0).dtype):
            raise self.fail("the mean of integers is not defined: cast to a float first")
        return super().infer()

    def finish_values(self, total: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The sum over the count."""
        with np.errstate(all="ignore"):
            return total / np.asarray(np.prod([x.shape[a] for a in self.axes]), total.dtype)

    def finish(self, total: s.Scalar) -> s.Scalar:
        """The sum over the count."""
        return total / s.cast(s.size(product(self._extents())), total.dtype)


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype in which values of ``dtype`` are summed: floats at least f32."""
    return np.dtype(np.float32) if is_float(dtype) and dtype.itemsize < 4 else dtype
