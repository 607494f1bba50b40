"""Resizing."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any, ClassVar

import numpy as np
from xdsl.ir import SSAValue

from .. import scalar as s
from ..dims import Dim
from ..op import Add, graph_op, param
from ..structure import Composite, Indices, Map
from ..symbols import known_size
from ..types import TensorType, is_float, type_of
from .compose import Composer
from .coordinates import NEAREST
from .elementwise import DivOp, MaxOp, MinOp, RoundOp
from .interpolation import (
    KERNELS,
    along,
    clamped,
    excluding,
    limits,
    rounded,
    rounded_values,
    tap_weight,
    taps,
    unless_empty,
)
from .resample import ResampleOp, ResizeFilterOp
from .shape import dims_param

Tap = tuple[s.Scalar, s.Scalar | None]


@graph_op
class ResizeOp(ResampleOp):
    """x resized along ``axes``: ONNX's Resize.

    ``mode`` is ``nearest`` (which one: ``rounding``), ``linear`` or ``cubic``; with ``antialias``
    the filter is as wide as a result's share of x. Integers are rounded, halves to even, and
    limited to their range. With ``tf_crop_and_resize``, positions outside of x read ``outside``.

    ``%r = "mlc.resize"(%x) <{axes = #mlc.param<[1, 2]>, sizes = #mlc.param<["2*H", "2*W"]>, …``
    """

    name = "mlc.resize"
    rounding = param("round_prefer_floor")
    antialias = param(False)
    outside = param(0.0)
    MODES: ClassVar[tuple[str, ...]] = ("nearest", *KERNELS)

    def infer(self) -> TensorType:
        """As every resampling."""
        if self.mode not in self.MODES:
            raise self.fail(f"mode '{self.mode}' is none of {', '.join(self.MODES)}")
        if self.rounding not in NEAREST:
            raise self.fail(f"rounding '{self.rounding}' is none of {', '.join(NEAREST)}")
        if self.antialias and self.mode == "nearest":
            raise self.fail("the nearest element has no filter: antialias needs linear or cubic")
        if self.antialias and self.coordinates == "tf_crop_and_resize":
            raise self.fail("antialias is not defined for tf_crop_and_resize")
        return super().infer()

    def reference(self, x: np.ndarray) -> np.ndarray:
        """One axis after another: a choice of elements, or a product with a matrix of weights."""
        if self.mode == "nearest":
            return self._nearest_values(x)
        value = x.astype(np.float64)
        for k, axis in enumerate(self.axes):
            matrix = self.matrix(k, self.antialias)
            value = along(matrix / matrix.sum(1, keepdims=True), value, axis)
            value = self._without_outside(value, k)
        return rounded_values(value, x.dtype)

    def structure(self) -> Map | Composite:
        """A Map; Composite where doing one axis after another saves work."""
        moving = self._moving()
        if self.antialias and moving:
            return Composite()
        if self.mode == "cubic" and len(moving) > 1:
            return Composite()
        return Map(self._body)

    def decompose(self, add: Add) -> list[SSAValue]:
        """One axis after another; filters are followed by a division by the sum of weights."""
        c = Composer(add)
        value = c.cast(self.operands[0], self.wide())
        for k in self._moving():
            value = self._filtered(c, value, k) if self.antialias else self._resized(c, value, k)
        return [_rounded(c, value, self.operand_type(0).dtype)]

    def _moving(self) -> list[int]:
        return [k for k in range(len(self.axes)) if not self.line(k).is_identity]

    def _one_axis(self, k: int) -> dict[str, Any]:
        rank = len(self.axes)
        return {
            "sizes": dims_param((self.new_sizes()[k],)),
            "scales": (self.scales[k],) if self.scales is not None else None,
            "mode": self.mode,
            "coordinates": self.coordinates,
            "roi": (self.roi[k], self.roi[k + rank]) if self.roi is not None else None,
            "cubic_coefficient": self.cubic_coefficient,
            "exclude_outside": self.exclude_outside,
        }

    def _resized(self, c: Composer, value: SSAValue, k: int) -> SSAValue:
        return c.add(
            ResizeOp(value, axes=(self.axes[k],), outside=self.outside, **self._one_axis(k))
        )

    def _filtered(self, c: Composer, value: SSAValue, k: int) -> SSAValue:
        axis, given = self.axes[k], self._one_axis(k)
        type = type_of(value)
        ones = c.broadcast(c.constant(1, type.dtype), (type.shape[axis],))
        weights = c.add(ResizeFilterOp(ones, axes=(0,), **given))
        spread: list[Dim] = [1] * type.rank
        spread[axis] = self.new_sizes()[k]
        total = c.add(ResizeFilterOp(value, axes=(axis,), **given))
        return c.add(DivOp(total, c.reshape(weights, tuple(spread))))

    def _body(self, i: Indices) -> s.Scalar:
        x = self.operand_type(0)
        chosen = [self._taps(k, i[axis]) for k, axis in enumerate(self.axes)]
        value = self._blend(list(i), chosen)
        value = value if self.mode == "nearest" else rounded(value, x.dtype)
        for k, axis in enumerate(self.axes):
            if self.coordinates == "tf_crop_and_resize":
                inside = self._inside(k, i[axis])
                value = s.select(
                    inside, value, self.outside if is_float(x.dtype) else int(self.outside)
                )
        return unless_empty(value, tuple(x.shape[axis] for axis in self.axes))

    def _blend(self, where: list[s.Scalar], chosen: list[list[Tap]]) -> s.Scalar:
        """The weighted sum over the taps of the axes from the last ``len(chosen)`` on."""
        x = self.operand_type(0)
        if not chosen:
            value = s.load(0, where, x.dtype)
            return value if self.mode == "nearest" else s.cast(value, self.wide())
        axis, terms = self.axes[-len(chosen)], []
        for index, factor in chosen[0]:
            value = self._blend([*where[:axis], index, *where[axis + 1 :]], chosen[1:])
            terms.append(value if factor is None else value * factor)
        return reduce(add, terms)

    def _taps(self, k: int, index: s.Scalar) -> list[Tap]:
        """The elements that a result reads along ``axes[k]``, with their weights."""
        at, size = self.line(k), self.operand_type(0).shape[self.axes[k]]
        if at.is_identity:
            return [(index, None)]
        if self.mode == "nearest":
            return [(clamped(at.nearest(index, self.rounding), size), None)]
        low, part = at.split(index, self.wide())
        places = [low + offset for offset in taps(self.mode)]
        factors = [
            tap_weight(self.mode, offset, part, self.cubic_coefficient)
            for offset in taps(self.mode)
        ]
        if self.exclude_outside:
            factors = excluding(factors, places, size)
        return [(clamped(p, size), f) for p, f in zip(places, factors, strict=True)]

    def _inside(self, k: int, index: s.Scalar) -> s.Scalar:
        at, size = self.line(k), self.operand_type(0).shape[self.axes[k]]
        position = at.numerator(index)
        return (position >= 0) & (position <= s.size((size - 1) * at.divisor))

    def _nearest_values(self, x: np.ndarray) -> np.ndarray:
        for k, axis in enumerate(self.axes):
            size, count = x.shape[axis], known_size(self.new_sizes()[k])
            index = self.line(k).nearest_values(count, self.rounding)
            x = np.take(x, np.clip(index, 0, size - 1) if size else index, axis)
            x = self._without_outside(x, k)
        return x

    def _without_outside(self, value: np.ndarray, k: int) -> np.ndarray:
        if self.coordinates != "tf_crop_and_resize":
            return value
        axis = self.axes[k]
        size, count = known_size(self.operand_type(0).shape[axis]), value.shape[axis]
        numerators, divisor = self.line(k).values(count)
        inside = (numerators >= 0) & (numerators <= (size - 1) * divisor)
        spread = [1] * value.ndim
        spread[axis] = count
        return np.where(inside.reshape(spread), value, value.dtype.type(self.outside))


def _rounded(c: Composer, value: SSAValue, dtype: np.dtype) -> SSAValue:
    if is_float(dtype):
        return c.cast(value, dtype)
    wide = type_of(value).dtype
    low, high = (c.constant(limit, wide) for limit in limits(dtype))
    return c.cast(c.add(MaxOp(c.add(MinOp(c.add(RoundOp(value)), high)), low)), dtype)
