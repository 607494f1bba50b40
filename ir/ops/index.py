"""Ops that pick elements by index: Maps whose loads have computed positions."""

from __future__ import annotations

import numpy as np
from xdsl.irdl import operand_def, result_def

from .. import scalar as s
from ..dims import Dim, Shape
from ..op import GraphOp, graph_op, param
from ..structure import Indices, Map
from ..symbols import known_shape
from ..types import I64, TensorType, is_integer
from .shape import param_dims


class IndexedOp(GraphOp):
    """Base of gathers: negative indices count from the end; those out of range are an error.

    The reference raises IndexError; native code stays inside the buffer and does not.
    """

    x = operand_def(TensorType)
    indices = operand_def(TensorType)
    result = result_def(TensorType)

    def check(self, axis: int = 0) -> None:
        """What holds for every gather."""
        x, indices = self.operand_type(0), self.operand_type(1)
        if not is_integer(indices.dtype):
            raise self.fail("indices must be integers")
        if not 0 <= axis < max(x.rank, 1):
            raise self.fail(f"axis {axis} does not exist in rank {x.rank}")

    def read(self, where: list[s.Scalar]) -> s.Scalar:
        """The element of x; 0 where x has none."""
        x = self.operand_type(0)
        result = s.load(0, where, x.dtype)
        for d in x.shape:
            if not isinstance(d, int) or d == 0:
                result = s.select(s.size(d) > 0, result, 0)
        return result

    def index(self, where: list[s.Scalar] | Indices, size: Dim) -> s.Scalar:
        """The index at a position of ``indices``, for a dim of ``size``."""
        dtype = self.operand_type(1).dtype
        index = s.load(1, where, dtype)
        bytes = dtype == np.uint8 and isinstance(size, int) and size >= 256
        return s.cast(index, I64) if bytes else inside_dim(index, size)


@graph_op
class GatherOp(IndexedOp):
    """``result[a…, i…, b…] = x[a…, indices[i…], b…]``: slices of x along ``axis``.

    ``%r = "mlc.gather"(%x, %indices) <{axis = #mlc.param<0>}> : …``
    """

    name = "mlc.gather"
    axis = param(0)

    def infer(self) -> TensorType:
        """The shape of x with the shape of the indices in the place of ``axis``."""
        x, indices = self.operand_type(0), self.operand_type(1)
        self.check(self.axis)
        if x.rank == 0:
            raise self.fail("x needs at least one dim")
        return x.with_shape((*x.shape[: self.axis], *indices.shape, *x.shape[self.axis + 1 :]))

    def reference(self, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Numpy's take."""
        return np.take(x, indices.astype(np.int64), self.axis)

    def structure(self) -> Map:
        """A Map that loads the index first."""
        x, indices = self.operand_type(0), self.operand_type(1)

        def body(i: Indices) -> s.Scalar:
            end = self.axis + indices.rank
            index = self.index(i[self.axis : end], x.shape[self.axis])
            return self.read([*i[: self.axis], index, *i[end:]])

        return Map(body)


@graph_op
class GatherElementsOp(IndexedOp):
    """``result[…, i, …] = x[…, indices[…, i, …], …]``: one element of x for every index."""

    name = "mlc.gather_elements"
    axis = param(0)

    def infer(self) -> TensorType:
        """The shape of the indices, which is no larger than that of x beside ``axis``."""
        x, indices = self.operand_type(0), self.operand_type(1)
        self.check(self.axis)
        if x.rank != indices.rank or x.rank == 0:
            raise self.fail("x and indices must have the same rank, at least 1")
        for k, (a, b) in enumerate(zip(indices.shape, x.shape, strict=True)):
            if k != self.axis and isinstance(a, int) and isinstance(b, int) and a > b:
                raise self.fail(f"indices have {a} entries along dim {k}, x has {b}")
        return x.with_shape(indices.shape)

    def reference(self, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Numpy's take_along_axis, on the part of x beside ``axis`` that is asked for."""
        part = [slice(n) for n in indices.shape]
        part[self.axis] = slice(None)
        return np.take_along_axis(x[tuple(part)], indices.astype(np.int64), self.axis)

    def structure(self) -> Map:
        """A Map that loads the index first."""
        x, indices = self.operand_type(0), self.operand_type(1)

        def body(i: Indices) -> s.Scalar:
            rows = zip(i, indices.shape, x.shape, strict=True)
            where = [_at_most(n, a, b) for n, a, b in rows]
            where[self.axis] = self.index(i, x.shape[self.axis])
            return self.read(where)

        return Map(body)


@graph_op
class GatherNdOp(IndexedOp):
    """``result[b…, i…, c…] = x[b…, indices[b…, i…, :]…, c…]``: slices of x by vectors of indices.

    The first ``batch_dims`` dims are common to both.
    """

    name = "mlc.gather_nd"
    batch_dims = param(0)

    def infer(self) -> TensorType:
        """``indices.shape[:-1]`` and what of x is not indexed."""
        x, indices = self.operand_type(0), self.operand_type(1)
        self.check()
        depth, batch = self._depth(), self.batch_dims
        if not 0 <= batch < indices.rank or x.shape[:batch] != indices.shape[:batch]:
            raise self.fail(f"the first {batch} dims of x and indices must agree")
        if batch + depth > x.rank:
            raise self.fail(f"{depth} indices and {batch} batch dims are too many")
        return x.with_shape((*indices.shape[:-1], *x.shape[batch + depth :]))

    def reference(self, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Numpy's indexing by arrays; the batch dims index themselves."""
        batch = indices.shape[: self.batch_dims]
        spread = [1] * (indices.ndim - 1 - self.batch_dims)
        own = [n.reshape(*n.shape, *spread) for n in np.indices(batch, sparse=True)]
        columns = np.moveaxis(indices.astype(np.int64), -1, 0)
        shape = known_shape(self.infer().shape)
        return x[(*own, *columns)].reshape(shape) if own or len(columns) else _repeat(x, shape)

    def structure(self) -> Map:
        """A Map that loads the vector of indices first."""
        x, indices = self.operand_type(0), self.operand_type(1)
        depth, batch = self._depth(), self.batch_dims

        def body(i: Indices) -> s.Scalar:
            outer = i[: indices.rank - 1]
            picked = [
                self.index([*outer, s.const(n, I64)], x.shape[batch + n]) for n in range(depth)
            ]
            return self.read([*i[:batch], *picked, *i[indices.rank - 1 :]])

        return Map(body)

    def _depth(self) -> int:
        indices = self.operand_type(1)
        depth = indices.shape[-1] if indices.rank else None
        if not isinstance(depth, int):
            raise self.fail("the last dim of the indices must be known")
        return depth


@graph_op
class TriluOp(GraphOp):
    """The upper (else lower) triangle of the last two dims, 0 elsewhere.

    ``k`` (an int or the text of a dim) moves the diagonal, which is part of both, to the right.
    """

    name = "mlc.trilu"
    x = operand_def(TensorType)
    upper = param(True)
    k = param(0)
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """The type of x."""
        x = self.operand_type(0)
        if x.rank < 2:
            raise self.fail("x needs at least two dims")
        return x

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Numpy's triu or tril."""
        (k,) = known_shape(self._diagonal())
        return np.triu(x, k) if self.upper else np.tril(x, k)

    def structure(self) -> Map:
        """A Map that compares row and column."""
        x = self.operand_type(0)

        def body(i: Indices) -> s.Scalar:
            diagonal = i[-2] + s.size(self._diagonal()[0])
            kept = i[-1] >= diagonal if self.upper else i[-1] <= diagonal
            return s.select(kept, s.load(0, i, x.dtype), 0)

        return Map(body)

    def _diagonal(self) -> Shape:
        return param_dims((self.k,))


def inside_dim(index: s.Scalar, size: Dim) -> s.Scalar:
    """An index of a dim: counted from the end where negative, and never outside."""
    index, end = s.cast(index, I64), s.size(size)
    counted = s.select(index < 0, index + end, index)
    return s.maximum(s.minimum(counted, end - 1), 0)


def _at_most(index: s.Scalar, extent: Dim, size: Dim) -> s.Scalar:
    """``index``, which runs to ``extent``, kept inside a dim whose size may be smaller."""
    known = isinstance(extent, int) and isinstance(size, int)
    return index if known or extent == size else s.minimum(index, s.size(size - 1))


def _repeat(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(x, shape).copy()
