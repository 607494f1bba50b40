"""Softmax and normalisations: each a few reductions and elementwise ops over the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue
from xdsl.irdl import operand_def, result_def, var_operand_def

from ..op import Add, GraphOp, graph_op, param
from ..structure import Composite
from ..types import TensorType, is_float
from .compose import Composer
from .elementwise import AddOp, DivOp, ExpOp, LogOp, MulOp, RsqrtOp, SubOp
from .reduce import ReduceMaxOp, ReduceMeanOp, ReduceSumOp, accumulator


class NormOp(GraphOp):
    """Base: x of a float dtype, with an axis; computed in f32 or wider."""

    axis = param()
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """The type of x."""
        x = self.operand_type(0)
        if not is_float(x.dtype):
            raise self.fail("x must be of a float dtype")
        if not 0 <= self.axis < x.rank:
            raise self.fail(f"axis {self.axis} does not exist in rank {x.rank}")
        return x

    def structure(self) -> Composite:
        """Composite: see ``decompose``."""
        return Composite()

    def wide(self) -> np.dtype:
        """The dtype of the computation."""
        return accumulator(self.operand_type(0).dtype)


@graph_op
class SoftmaxOp(NormOp):
    """``exp(x - m) / sum(exp(x - m))`` along ``axis``, with m the maximum along it."""

    name = "mlc.softmax"
    x = operand_def(TensorType)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The definition."""
        with np.errstate(all="ignore"):
            shifted = _shifted(x.astype(self.wide()), self.axis)
            powers = np.exp(shifted)
            return (powers / powers.sum(self.axis, keepdims=True)).astype(x.dtype)

    def decompose(self, add: Add) -> Sequence[SSAValue]:
        """The definition."""
        make, dtype = Composer(add), self.operand_type(0).dtype
        shifted = _subtract_maximum(make, self)
        powers = add(ExpOp(shifted))
        total = make.reduce(ReduceSumOp, powers, [self.axis])
        return [make.cast(add(DivOp(powers, total)), dtype)]


@graph_op
class LogSoftmaxOp(NormOp):
    """``(x - m) - log(sum(exp(x - m)))`` along ``axis``, with m the maximum along it."""

    name = "mlc.log_softmax"
    x = operand_def(TensorType)

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The definition."""
        with np.errstate(all="ignore"):
            shifted = _shifted(x.astype(self.wide()), self.axis)
            return (shifted - np.log(np.exp(shifted).sum(self.axis, keepdims=True))).astype(x.dtype)

    def decompose(self, add: Add) -> Sequence[SSAValue]:
        """The definition."""
        make, dtype = Composer(add), self.operand_type(0).dtype
        shifted = _subtract_maximum(make, self)
        total = make.reduce(ReduceSumOp, add(ExpOp(shifted)), [self.axis])
        return [make.cast(add(SubOp(shifted, add(LogOp(total)))), dtype)]


class AffineNormOp(NormOp):
    """Base: a normalisation over the dims from ``axis`` on, then scale and bias of these dims."""

    x = operand_def(TensorType)
    weights = var_operand_def(TensorType)
    epsilon = param(1e-5)

    def infer(self) -> TensorType:
        """The type of x; scale and bias have the shape of the normalised dims."""
        x = super().infer()
        for k in range(1, len(self.operands)):
            if self.operand_type(k) != x.with_shape(x.shape[self.axis :]):
                raise self.fail(f"operand {k} must have the dtype of x and its dims from the axis")
        return x

    def axes(self) -> list[int]:
        """The dims that are normalised."""
        return list(range(self.axis, self.operand_type(0).rank))


@graph_op
class LayerNormOp(AffineNormOp):
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias`` (Ba et al., 2016).

    Mean and (biased) variance are over the dims from ``axis`` on; scale, or bias, or both may be
    left out from the end.

    ``%r = "mlc.layer_norm"(%x, %scale, %bias) <{axis = #mlc.param<2>, epsilon = …}> : …``
    """

    name = "mlc.layer_norm"

    def infer(self) -> TensorType:
        """As both norms."""
        if len(self.operands) > 3:
            raise self.fail("takes x, scale and bias")
        return super().infer()

    def reference(self, x: np.ndarray, *weights: np.ndarray) -> np.ndarray:
        """The definition."""
        wide, axes = x.astype(self.wide()), tuple(self.axes())
        with np.errstate(all="ignore"):
            centred = wide - wide.mean(axes, keepdims=True)
            variance = (centred**2).mean(axes, keepdims=True)
            result = centred / np.sqrt(variance + wide.dtype.type(self.epsilon))
        scale, bias = [*weights, *(1, 0)[len(weights) :]]
        return (result * scale + bias).astype(x.dtype)

    def decompose(self, add: Add) -> Sequence[SSAValue]:
        """Two means and elementwise ops."""
        make, wide = Composer(add), self.wide()
        x, *weights = (make.cast(o, wide) for o in self.operands)
        centred = add(SubOp(x, make.reduce(ReduceMeanOp, x, self.axes())))
        result = add(MulOp(centred, _inverse_root(make, centred, self)))
        for combine, weight in zip((MulOp, AddOp), weights, strict=False):
            result = add(combine(result, weight))
        return [make.cast(result, self.operand_type(0).dtype)]


@graph_op
class RmsNormOp(AffineNormOp):
    """``x / sqrt(mean(x * x) + epsilon) * scale`` (Zhang and Sennrich, 2019).

    The mean is over the dims from ``axis`` on; scale may be left out.
    """

    name = "mlc.rms_norm"

    def infer(self) -> TensorType:
        """As both norms."""
        if len(self.operands) > 2:
            raise self.fail("takes x and scale")
        return super().infer()

    def reference(self, x: np.ndarray, scale: np.ndarray | None = None) -> np.ndarray:
        """The definition."""
        wide = x.astype(self.wide())
        with np.errstate(all="ignore"):
            square = (wide**2).mean(tuple(self.axes()), keepdims=True)
            result = wide / np.sqrt(square + wide.dtype.type(self.epsilon))
        return (result if scale is None else result * scale).astype(x.dtype)

    def decompose(self, add: Add) -> Sequence[SSAValue]:
        """A mean and elementwise ops."""
        make, wide = Composer(add), self.wide()
        x, *weights = (make.cast(o, wide) for o in self.operands)
        result = add(MulOp(x, _inverse_root(make, x, self)))
        for scale in weights:
            result = add(MulOp(result, scale))
        return [make.cast(result, self.operand_type(0).dtype)]


def _shifted(x: np.ndarray, axis: int) -> np.ndarray:
    return x - x.max(axis, keepdims=True, initial=-np.inf)


def _subtract_maximum(make: Composer, op: NormOp) -> SSAValue:
    x = make.cast(op.operands[0], op.wide())
    return make.add(SubOp(x, make.reduce(ReduceMaxOp, x, [op.axis])))


def _inverse_root(make: Composer, x: SSAValue, op: AffineNormOp) -> SSAValue:
    square = make.reduce(ReduceMeanOp, make.add(MulOp(x, x)), op.axes())
    shifted = make.add(AddOp(square, make.constant(op.epsilon, op.wide())))
    return make.add(RsqrtOp(shifted))
