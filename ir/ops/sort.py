"""Ops that go along one axis in order: top-k, arg-max, cumulative sums."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from xdsl.ir import SSAValue
from xdsl.irdl import operand_def, result_def

from .. import scalar as s
from ..op import Add, GraphOp, graph_op, param
from ..structure import Composite, Indices, Reduce, Special
from ..symbols import known_shape
from ..types import BOOL, I64, TensorType, is_float
from .compose import Composer
from .elementwise import EqOp, IsnanOp, OrOp, SelectOp
from .reduce import ReduceMaxOp, ReduceMinOp, ReduceOp, accumulator
from .shape import IotaOp, dims_param, param_dims
from .words import comparable, fits_word, index_of, word


class AxisOp(GraphOp):
    """Base: x with an axis along which elements are compared or combined in order."""

    x = operand_def(TensorType)
    axis = param()

    def check(self) -> TensorType:
        """The type of x, whose axis exists."""
        x = self.operand_type(0)
        if not 0 <= self.axis < x.rank:
            raise self.fail(f"axis {self.axis} does not exist in rank {x.rank}")
        return x


@graph_op
class TopKOp(AxisOp):
    """The ``k`` largest (else smallest) elements along ``axis``, sorted, and their indices (i64).

    Of equal elements the one with the lowest index comes first; NaN is larger than every number.
    ``k`` is an int or the text of a dim; with the size of the axis this sorts.

    ``%values, %indices = "mlc.top_k"(%x) <{k = #mlc.param<5>, axis = …, largest = …}> : …``
    """

    name = "mlc.top_k"
    k = param()
    largest = param(True)
    values = result_def(TensorType)
    indices = result_def(TensorType)

    def infer(self) -> tuple[TensorType, TensorType]:
        """The shape of x with ``k`` elements along ``axis``."""
        x = self.check()
        (k,), size = param_dims((self.k,)), x.shape[self.axis]
        if isinstance(k, int) and (k < 0 or (isinstance(size, int) and k > size)):
            raise self.fail(f"k = {k}, but axis {self.axis} has {size} elements")
        values = x.with_shape((*x.shape[: self.axis], k, *x.shape[self.axis + 1 :]))
        return values, values.with_dtype(I64)

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A stable sort; the largest first are the smallest first of x seen backwards."""
        (k,) = known_shape(param_dims((self.k,)))
        keys = comparable(x)
        if self.largest:
            last = x.shape[self.axis] - 1
            backwards = np.argsort(np.flip(keys, self.axis), self.axis, kind="stable")
            order = last - np.flip(backwards, self.axis)
        else:
            order = np.argsort(keys, self.axis, kind="stable")
        indices = np.take(order, np.arange(k), self.axis)
        return np.take_along_axis(x, indices, self.axis), indices.astype(np.int64)

    def structure(self) -> Special:
        """An algorithm of its own: a sort."""
        return Special("top_k")


class ArgReduceOp(AxisOp):
    """Base: the index (i64) of an extreme element along ``axis``, kept as 1 or dropped.

    Of equal elements the first, or with ``select_last`` the last; a NaN wins over every number.
    """

    keepdims = param(False)
    select_last = param(False)
    result = result_def(TensorType)
    REDUCE: ClassVar[type[ReduceOp]]

    def infer(self) -> TensorType:
        """The shape without ``axis``, or with 1 in its place."""
        x = self.check()
        if x.shape[self.axis] == 0:
            raise self.fail(f"axis {self.axis} is empty")
        kept = (1,) if self.keepdims else ()
        shape = (*x.shape[: self.axis], *kept, *x.shape[self.axis + 1 :])
        return x.with_shape(shape).with_dtype(I64)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The index of the first, or last, element that is the extreme one."""
        x = comparable(x)
        choose = np.maximum if self.REDUCE.COMBINE == "max" else np.minimum
        extreme = choose.reduce(x, axis=self.axis, keepdims=True)
        hits = (x == extreme) | ((x != x) & (extreme != extreme))
        found = np.argmax(np.flip(hits, self.axis) if self.select_last else hits, self.axis)
        index = x.shape[self.axis] - 1 - found if self.select_last else found
        return np.expand_dims(index, self.axis) if self.keepdims else np.asarray(index)

    def structure(self) -> Reduce | Composite:
        """A Reduce of words that hold element and index; Composite where these need 128 bits."""
        x, combine = self.operand_type(0), self.REDUCE.COMBINE
        if not fits_word(x.dtype):
            return Composite()
        size = x.shape[self.axis]
        turned = self.select_last != (combine == "max")

        def body(i: Indices, r: Indices) -> s.Scalar:
            rest = i[self.axis + 1 :] if self.keepdims else i[self.axis :]
            value = s.load(0, [*i[: self.axis], r[0], *rest], x.dtype)
            index = s.size(size) - 1 - r[0] if turned else r[0]
            return word(value, index, nan_is_largest=combine == "max")

        def finish(best: s.Scalar) -> s.Scalar:
            index = index_of(best)
            return s.size(size) - 1 - index if turned else index

        return Reduce((size,), combine, body, finish)

    def decompose(self, add: Add) -> list[SSAValue]:
        """The extreme element first, then the lowest or highest index that has it."""
        c, x = Composer(add), self.operand_type(0)
        extreme = add(self.REDUCE(self.operands[0], axes=(self.axis,), keepdims=True))
        hits = add(EqOp(self.operands[0], extreme))
        if is_float(x.dtype):
            hits = add(OrOp(hits, add(IsnanOp(self.operands[0]))))
        size = x.shape[self.axis]
        spread = (size, *[1] * (x.rank - self.axis - 1))
        indices = c.reshape(add(IotaOp(shape=dims_param((size,)))), spread)
        lost = c.constant(-1 if self.select_last else np.iinfo(np.int64).max, I64)
        kind = ReduceMaxOp if self.select_last else ReduceMinOp
        found = add(SelectOp(hits, indices, lost))
        return [add(kind(found, axes=(self.axis,), keepdims=self.keepdims))]


@graph_op
class ArgMaxOp(ArgReduceOp):
    """Where the largest element is.

    ``%r = "mlc.arg_max"(%x) <{axis = #mlc.param<1>, keepdims = #mlc.param<true>}> : …``
    """

    name = "mlc.arg_max"
    REDUCE: ClassVar[type[ReduceOp]] = ReduceMaxOp


@graph_op
class ArgMinOp(ArgReduceOp):
    """Where the smallest element is."""

    name = "mlc.arg_min"
    REDUCE: ClassVar[type[ReduceOp]] = ReduceMinOp


class CumulativeOp(AxisOp):
    """Base: each element combined with all before it along ``axis``.

    ``exclusive`` leaves the element itself out; ``reverse`` goes from the end. Floats narrower
    than f32 are combined in f32.
    """

    exclusive = param(False)
    reverse = param(False)
    result = result_def(TensorType)
    COMBINE: ClassVar[str]

    def infer(self) -> TensorType:
        """The type of x; bools are refused."""
        x = self.check()
        if x.dtype == BOOL:
            raise self.fail("bools cannot be accumulated: cast first")
        return x

    def accumulate(self, x: np.ndarray, combine: np.ufunc, start: int) -> np.ndarray:
        """Numpy's accumulation, turned round and shifted as asked."""
        wide = np.moveaxis(x.astype(accumulator(x.dtype)), self.axis, 0)
        ordered = np.flip(wide, 0) if self.reverse else wide
        if self.exclusive:
            first = np.full_like(ordered[:1], start)
            ordered = np.concatenate([first, ordered[:-1]])
        total = combine.accumulate(ordered, 0, dtype=wide.dtype)
        total = np.flip(total, 0) if self.reverse else total
        return np.moveaxis(total, 0, self.axis).astype(x.dtype)

    def structure(self) -> Special:
        """An algorithm of its own: every result needs the one before it."""
        return Special("scan")


@graph_op
class CumSumOp(CumulativeOp):
    """The sum of the elements so far."""

    name = "mlc.cum_sum"
    COMBINE: ClassVar[str] = "add"

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Numpy's cumulative sum."""
        return self.accumulate(x, np.add, 0)


@graph_op
class CumProdOp(CumulativeOp):
    """The product of the elements so far."""

    name = "mlc.cum_prod"
    COMBINE: ClassVar[str] = "mul"

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Numpy's cumulative product."""
        return self.accumulate(x, np.multiply, 1)
