"""Pools over a moving window, channels last: ``[N, *spatial, C]``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_, mul

import numpy as np
from xdsl.irdl import operand_def, result_def

from .. import scalar as s
from ..op import GraphOp, graph_op, param
from ..structure import Indices, Map, Reduce, neutral
from ..symbols import known_shape
from ..types import I64, TensorType, is_float
from .reduce import accumulator
from .shape import param_dims
from .window import Window, inside


class PoolOp(GraphOp):
    """Base: combines the elements of ``[N, *spatial, C]`` under a window of ``kernel`` elements.

    ``pads`` are (begins…, ends…), ints or the text of dims; what they add never counts.
    """

    x = operand_def(TensorType)
    kernel = param()
    strides = param()
    pads = param()
    dilations = param()
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """``[N, *out, C]`` with ``out = (size + begin + end - reach) // stride + 1``."""
        x = self.operand_type(0)
        if x.rank < 3:
            raise self.fail("x is [N, *spatial, C]")
        self.window().check(self)
        if any(k < 1 for k in self.kernel):
            raise self.fail(f"kernel {list(self.kernel)} must be positive")
        out = self.window().positions(self, x.shape[1:-1])
        return x.with_shape((x.shape[0], *out, x.shape[-1]))

    def window(self) -> Window:
        """How the kernel moves over x."""
        return Window(self.kernel, self.strides, param_dims(self.pads), self.dilations)

    def read(self, i: Indices, offsets: Indices, outside: float) -> tuple[s.Scalar, list[s.Scalar]]:
        """The element at ``offsets`` in the window of result ``i``, and where it is."""
        window = self.window()
        where = window.where(i[1:-1], offsets)
        guards = window.guards(where, self.operand_type(0).shape[1:-1])
        return inside(guards, self.element(i, where), outside), where

    def element(self, i: Indices, where: Sequence[s.Scalar]) -> s.Scalar:
        """The element at ``where`` in the spatial dims of x, which is inside."""
        return s.load(0, [i[0], *where, i[-1]], self.operand_type(0).dtype)

    def slices(self, x: np.ndarray, outside: float) -> list[np.ndarray]:
        """For every offset in the window, what all windows read there."""
        window, out = self.window(), known_shape(self.infer().shape)
        padded = window.padded(x, outside)
        return [padded[window.shifted(k, out[1:-1])] for k in np.ndindex(*self.kernel)]


@graph_op
class MaxPoolOp(PoolOp):
    """The largest element; NaN where any is.

    ``%r = "mlc.max_pool"(%x) <{kernel = #mlc.param<[2, 2]>, strides = #mlc.param<[2, 2]>, …``
    """

    name = "mlc.max_pool"

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The maximum over all offsets."""
        return reduce(np.maximum, self.slices(x, neutral("max", x.dtype)))

    def structure(self) -> Reduce:
        """A Reduce over the window."""
        outside = neutral("max", self.operand_type(0).dtype)
        return Reduce(self.kernel, "max", lambda i, r: self.read(i, r, outside)[0])


@graph_op
class AvgPoolOp(PoolOp):
    """The mean over the elements that count.

    These are the elements of x, and with ``count_include_pad`` the pads (as zeros) too, but never
    the last ``overhang`` elements of the end pads, which are there to complete the last window.
    """

    name = "mlc.avg_pool"
    count_include_pad = param(False)
    overhang = param()

    def infer(self) -> TensorType:
        """As every pool; of floats only."""
        if not is_float(self.operand_type(0).dtype):
            raise self.fail("the mean of integers is not defined: cast to a float first")
        if len(self._overhang()) != len(self.kernel):
            raise self.fail(f"overhang needs {len(self.kernel)} entries")
        return super().infer()

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The sum of what counts over the number of elements that count."""
        wide = accumulator(x.dtype)
        counted = self._counted(x.shape[1:-1])
        total = sum(self.slices(x.astype(wide), 0))
        out, window = known_shape(self.infer().shape), self.window()
        places = [counted[window.shifted(k, out[1:-1])] for k in np.ndindex(*self.kernel)]
        with np.errstate(all="ignore"):
            return np.asarray(total / sum(places).astype(wide)).astype(x.dtype)

    def structure(self) -> Reduce:
        """A Reduce over the window; the division is inside, since the count may vary."""
        x = self.operand_type(0)
        wide = accumulator(x.dtype)

        def body(i: Indices, r: Indices) -> s.Scalar:
            return s.cast(self.read(i, r, 0)[0], wide) * self.weight(i)

        return Reduce(self.kernel, "add", body, lambda total: s.cast(total, x.dtype))

    def weight(self, i: Indices) -> s.Scalar:
        """The share of each element in result ``i``."""
        return 1 / s.cast(self._count(i), accumulator(self.operand_type(0).dtype))

    def _overhang(self) -> tuple[int, ...]:
        return self.overhang or (0,) * len(self.kernel)

    def _counted(self, spatial: tuple[int, ...]) -> np.ndarray:
        """1 where an element of padded x counts; shape ``[1, *padded, 1]``."""
        window = self.window()
        ones = window.padded(np.ones((1, *spatial, 1), np.int64), int(self.count_include_pad))
        for k, extra in enumerate(self._overhang()):
            rows = np.arange(ones.shape[k + 1]) < ones.shape[k + 1] - extra
            ones = ones * np.expand_dims(rows, [a for a in range(ones.ndim) if a != k + 1])
        return ones

    def _count(self, i: Indices) -> s.Scalar:
        """How many elements under the window of result ``i`` count: a product over the dims."""
        window, spatial = self.window(), self.operand_type(0).shape[1:-1]
        zeros = [s.const(0, I64)] * len(spatial)
        counts = []
        for k, start in enumerate(window.where(i[1:-1], zeros)):
            begin, end = window.pads_of(k)
            low = -begin if self.count_include_pad else 0
            high = spatial[k] + (end - self._overhang()[k] if self.count_include_pad else 0)
            step = self.dilations[k]
            first = s.maximum((s.size(low) - start + (step - 1)) // step, 0)
            last = s.minimum((s.size(high) - start + (step - 1)) // step, self.kernel[k])
            counts.append(s.maximum(last - first, 0))
        return reduce(mul, counts)


@graph_op
class ArgMaxPoolOp(PoolOp):
    """Where the largest element is: its row-major position among the spatial dims of x (i64).

    The first of equal ones; a NaN is larger than every number; 0 for a window without elements.
    """

    name = "mlc.arg_max_pool"

    def infer(self) -> TensorType:
        """The shape of a pool, i64."""
        return super().infer().with_dtype(I64)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Goes through the offsets and keeps the position of the largest so far."""
        lost = neutral("max", x.dtype)
        position = np.arange(np.prod(x.shape[1:-1])).reshape(1, *x.shape[1:-1], 1)
        places = self.slices(np.broadcast_to(position, x.shape), -1)
        best, where = np.full(places[0].shape, lost, x.dtype), np.full(places[0].shape, -1)
        for value, place in zip(self.slices(x, lost), places, strict=True):
            larger = (value > best) | (_is_nan(value) & ~_is_nan(best)) | (where < 0)
            best = np.where(larger & (place >= 0), value, best)
            where = np.where(larger & (place >= 0), place, where)
        return np.maximum(where, 0)

    def structure(self) -> Map:
        """A Map that compares the elements of the window, which is unrolled, one by one."""
        return Map(self._body)

    def _body(self, i: Indices) -> s.Scalar:
        x, window = self.operand_type(0), self.window()
        lost = neutral("max", x.dtype)
        best, where = s.const(lost, x.dtype), s.const(-1, I64)
        for k in np.ndindex(*self.kernel):
            value, index = self.read(i, tuple(s.const(int(n), I64) for n in k), lost)
            larger = _larger(value, best) | (where < 0)
            larger = reduce(and_, window.guards(index, x.shape[1:-1]), larger)
            place = s.const(0, I64)
            for n, size in zip(index, x.shape[1:-1], strict=True):
                place = place * s.size(size) + n
            best, where = s.select(larger, value, best), s.select(larger, place, where)
        return s.maximum(where, 0)


def _larger(value: s.Scalar, best: s.Scalar) -> s.Scalar:
    if not is_float(value.dtype):
        return value > best
    both = s.unary("isnan", value) & s.unary("not", s.unary("isnan", best))
    return (value > best) | both


def _is_nan(x: np.ndarray) -> np.ndarray:
    return x != x
