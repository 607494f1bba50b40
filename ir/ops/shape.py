"""Ops that move or rename elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from xdsl.ir import SSAValue
from xdsl.irdl import operand_def, opt_operand_def, result_def, var_operand_def

from .. import scalar as s
from ..dims import Dim, Shape, ceildiv, note_mismatch, parse_dim, product
from ..op import GraphOp, graph_op, param
from ..structure import Indices, Map, View
from ..symbols import known_shape
from ..types import I64, TensorType, tensor
from .elementwise import broadcast_load


@graph_op
class ReshapeOp(GraphOp):
    """The same elements, in row-major order, in another shape.

    ``shape`` holds ints and the text of symbolic dims: ``#mlc.param<["N", 64]>``.
    """

    name = "mlc.reshape"
    x = operand_def(TensorType)
    shape = param()
    result = result_def(TensorType)

    @staticmethod
    def to(x: SSAValue, shape: Shape) -> ReshapeOp:
        """A reshape to dims."""
        return ReshapeOp(x, shape=dims_param(shape))

    def infer(self) -> TensorType:
        """The new shape; it must hold as many elements."""
        x, shape = self.operand_type(0), param_dims(self.shape)
        if product(shape) != x.size:
            raise self.fail(f"{x.size} elements do not fit shape {list(map(str, shape))}")
        return x.with_shape(shape)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Numpy's reshape."""
        return x.reshape(known_shape(param_dims(self.shape)))

    def structure(self) -> View:
        """A View: the row-major position is kept."""
        x, shape = self.operand_type(0), param_dims(self.shape)

        def body(i: Indices) -> s.Scalar:
            return s.load(0, _unravel(_ravel(i, shape), x.shape), x.dtype)

        return View(body)


@graph_op
class TransposeOp(GraphOp):
    """``result`` has dim ``perm[k]`` of x as its dim k."""

    name = "mlc.transpose"
    x = operand_def(TensorType)
    perm = param()
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """The dims in the order of ``perm``."""
        x = self.operand_type(0)
        if sorted(self.perm) != list(range(x.rank)):
            raise self.fail(f"perm {list(self.perm)} is no permutation of {x.rank} dims")
        return x.with_shape(x.shape[p] for p in self.perm)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Numpy's transpose."""
        return np.transpose(x, self.perm)

    def structure(self) -> Map:
        """A Map that permutes the index."""
        x = self.operand_type(0)

        def body(i: Indices) -> s.Scalar:
            return s.load(0, [i[self.perm.index(k)] for k in range(x.rank)], x.dtype)

        return Map(body)


@graph_op
class BroadcastOp(GraphOp):
    """Repeats dims of size 1, and adds leading ones, up to ``shape`` (as in ``reshape``)."""

    name = "mlc.broadcast"
    x = operand_def(TensorType)
    shape = param()
    result = result_def(TensorType)

    @staticmethod
    def to(x: SSAValue, shape: Shape) -> BroadcastOp:
        """A broadcast to dims."""
        return BroadcastOp(x, shape=dims_param(shape))

    def infer(self) -> TensorType:
        """The wanted shape; dims of x are 1 or equal to it."""
        x, shape = self.operand_type(0), param_dims(self.shape)
        inner = shape[len(shape) - x.rank :]
        if x.rank > len(shape) or any(a not in (1, b) for a, b in zip(x.shape, inner, strict=True)):
            raise self.fail(f"cannot be broadcast to {list(map(str, shape))}")
        return x.with_shape(shape)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Numpy's broadcast."""
        return np.broadcast_to(x, known_shape(param_dims(self.shape))).copy()

    def structure(self) -> Map:
        """A Map that drops the repeated indices."""
        return Map(lambda i: broadcast_load(self, 0, i))


@graph_op
class SliceOp(GraphOp):
    """Every ``steps[k]``-th element from ``starts[k]`` to before ``stops[k]``, steps positive.

    Bounds are ints or the text of symbolic dims, already clipped to ``0 … size``.
    """

    name = "mlc.slice"
    x = operand_def(TensorType)
    starts = param()
    stops = param()
    steps = param()
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """``ceil((stop - start) / step)`` along each dim."""
        x = self.operand_type(0)
        if {len(self.starts), len(self.stops), len(self.steps)} != {x.rank}:
            raise self.fail(f"starts, stops and steps need {x.rank} entries each")
        if any(step < 1 for step in self.steps):
            raise self.fail(f"steps {list(self.steps)} must be positive")
        bounds = zip(param_dims(self.starts), param_dims(self.stops), self.steps, strict=True)
        return x.with_shape(ceildiv(stop - start, step) for start, stop, step in bounds)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Numpy's slicing."""
        starts, stops = (known_shape(param_dims(b)) for b in (self.starts, self.stops))
        return x[tuple(slice(*b) for b in zip(starts, stops, self.steps, strict=True))]

    def structure(self) -> Map:
        """A Map that scales and shifts the index."""
        x, starts = self.operand_type(0), param_dims(self.starts)

        def body(i: Indices) -> s.Scalar:
            where = zip(i, starts, self.steps, strict=True)
            return s.load(0, [k * step + s.size(start) for k, start, step in where], x.dtype)

        return Map(body)


@graph_op
class ConcatOp(GraphOp):
    """The operands one after another along ``axis``."""

    name = "mlc.concat"
    operands_ = var_operand_def(TensorType)
    axis = param()
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """The sizes along ``axis`` add up; all other dims agree."""
        types = [self.operand_type(k) for k in range(len(self.operands))]
        if not types or not 0 <= self.axis < types[0].rank:
            raise self.fail(f"axis {self.axis} does not exist")
        self._check_others(types)
        total = sum((t.shape[self.axis] for t in types[1:]), types[0].shape[self.axis])
        shape = types[0].shape
        return types[0].with_shape((*shape[: self.axis], total, *shape[self.axis + 1 :]))

    def reference(self, *operands: np.ndarray) -> np.ndarray:
        """Numpy's concatenation."""
        return np.concatenate(operands, axis=self.axis)

    def structure(self) -> Map:
        """A Map that picks the operand by the index along ``axis``."""

        def body(i: Indices) -> s.Scalar:
            types = [self.operand_type(k) for k in range(len(self.operands))]
            start, pieces = s.const(0, i[self.axis].dtype), []
            for k, t in enumerate(types):
                where = [*i[: self.axis], i[self.axis] - start, *i[self.axis + 1 :]]
                start = start + s.size(t.shape[self.axis])
                pieces.append((start, s.load(k, where, t.dtype)))
            result = pieces[-1][1]
            for end, piece in reversed(pieces[:-1]):
                result = s.select(i[self.axis] < end, piece, result)
            return result

        return Map(body)

    def _check_others(self, types: Sequence[TensorType]) -> None:
        others = {(t.dtype, t.shape[: self.axis], t.shape[self.axis + 1 :]) for t in types}
        if len(others) == 1:
            return
        for axis, dims in enumerate(zip(*(t.shape for t in types), strict=False)):
            if axis != self.axis:
                note_mismatch(dims)
        raise self.fail(f"dtypes and all dims but {self.axis} must agree")


@graph_op
class PadOp(GraphOp):
    """x with more elements before and after each dim; ``pads`` are (begins…, ends…), not negative.

    What is added is by ``mode``: ``constant`` the scalar operand ``value`` (0 without it), ``edge``
    the nearest element, ``reflect`` the elements mirrored at the edge, ``wrap`` x repeated.
    """

    name = "mlc.pad"
    x = operand_def(TensorType)
    value = opt_operand_def(TensorType)
    pads = param()
    mode = param("constant")
    result = result_def(TensorType)
    MODES: ClassVar[tuple[str, ...]] = ("constant", "reflect", "edge", "wrap")

    def infer(self) -> TensorType:
        """``begin + size + end`` along each dim."""
        x, pads = self.operand_type(0), param_dims(self.pads)
        if self.mode not in self.MODES:
            raise self.fail(f"mode '{self.mode}' is none of {', '.join(self.MODES)}")
        if len(pads) != 2 * x.rank or any(isinstance(n, int) and n < 0 for n in pads):
            raise self.fail(f"pads {list(self.pads)} must be {2 * x.rank} sizes, none negative")
        if len(self.operands) > 1 and self.operand_type(1) != x.with_shape(()):
            raise self.fail(f"the value must be a scalar of {x.dtype}")
        if self.mode != "constant" and 0 in x.shape and any(n != 0 for n in pads):
            raise self.fail(f"mode '{self.mode}' has nothing to repeat in an empty tensor")
        return x.with_shape(self._begin(k) + d + pads[k + x.rank] for k, d in enumerate(x.shape))

    def reference(self, x: np.ndarray, value: np.ndarray | None = None) -> np.ndarray:
        """Numpy's pad."""
        if x.ndim == 0:
            return x
        widths = np.array(known_shape(param_dims(self.pads))).reshape(2, x.ndim).T
        if self.mode == "constant":
            return np.pad(x, widths, constant_values=0 if value is None else value)
        return np.pad(x, widths, mode=self.mode)

    def structure(self) -> Map:
        """A Map that guards the load, or computes where the element is repeated from."""
        x, pads = self.operand_type(0), param_dims(self.pads)

        def body(i: Indices) -> s.Scalar:
            where = [n - s.size(self._begin(k)) for k, n in enumerate(i)]
            if self.mode != "constant":
                source = [self._repeated(n, d) for n, d in zip(where, x.shape, strict=True)]
                return s.load(0, source, x.dtype)
            result, outside = s.load(0, where, x.dtype), self._outside()
            for k, (n, d) in enumerate(zip(where, x.shape, strict=True)):
                if pads[k] != 0 or pads[k + x.rank] != 0:
                    result = s.select((n >= 0) & (n < s.size(d)), result, outside)
            return result

        return Map(body)

    def _begin(self, k: int) -> Dim:
        return param_dims(self.pads)[k]

    def _outside(self) -> s.Scalar:
        dtype = self.operand_type(0).dtype
        return s.load(1, (), dtype) if len(self.operands) > 1 else s.const(0, dtype)

    def _repeated(self, index: s.Scalar, dim: Dim) -> s.Scalar:
        last = s.size(dim - 1)
        if self.mode == "edge":
            return s.maximum(s.minimum(index, last), 0)
        if self.mode == "wrap":
            return index % s.size(dim)
        phase = index % s.maximum(last * 2, 1)
        return s.minimum(phase, last * 2 - phase)


@graph_op
class ReverseOp(GraphOp):
    """x with the order of elements along ``axes`` reversed."""

    name = "mlc.reverse"
    x = operand_def(TensorType)
    axes = param()
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """The type of x."""
        x = self.operand_type(0)
        if not set(self.axes) <= set(range(x.rank)):
            raise self.fail(f"axes {list(self.axes)} do not exist")
        return x

    def reference(self, x: np.ndarray) -> np.ndarray:
        """Numpy's flip."""
        return np.flip(x, self.axes)

    def structure(self) -> Map:
        """A Map that counts the index from the end."""
        x = self.operand_type(0)

        def body(i: Indices) -> s.Scalar:
            ends = [s.size(d - 1) for d in x.shape]
            where = [ends[k] - n if k in self.axes else n for k, n in enumerate(i)]
            return s.load(0, where, x.dtype)

        return Map(body)


@graph_op
class IotaOp(GraphOp):
    """The numbers from 0 to before ``shape[0]``; ``shape`` has one entry, an int or a dim's text.

    ``%r = "mlc.iota"() <{shape = #mlc.param<["N"]>, dtype = #mlc.param<i64>}> : …``
    """

    name = "mlc.iota"
    shape = param()
    dtype = param(I64)
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """One dim."""
        if len(self.shape) != 1:
            raise self.fail(f"shape {list(self.shape)} must have one entry")
        return tensor(param_dims(self.shape), self.dtype)

    def reference(self) -> np.ndarray:
        """Numpy's arange."""
        return np.arange(*known_shape(param_dims(self.shape))).astype(self.dtype)

    def structure(self) -> Map:
        """The index itself."""
        return Map(lambda i: s.cast(i[0], self.dtype))


def dims_param(shape: Shape) -> tuple[int | str, ...]:
    """Dims as a parameter holds them: ints, and text for what is symbolic."""
    return tuple(d if isinstance(d, int) else str(d) for d in shape)


def param_dims(values: tuple[int | str, ...]) -> Shape:
    """The dims that a parameter holds."""
    return tuple(v if isinstance(v, int) else parse_dim(v) for v in values)


def _ravel(indices: Indices, shape: Shape) -> s.Scalar:
    position = s.const(0, s.I64)
    for index, dim in zip(indices, shape, strict=True):
        position = position * s.size(dim) + index
    return position


def _unravel(position: s.Scalar, shape: Shape) -> list[s.Scalar]:
    indices: list[s.Scalar] = []
    for dim in reversed(shape[1:]):
        indices.insert(0, position % s.size(dim))
        position = position // s.size(dim)
    return [position, *indices] if shape else []
