"""Ops that read a tensor on a finer or coarser regular grid: what they share, and the filter."""

from __future__ import annotations

import numpy as np
from xdsl.irdl import operand_def, result_def

from .. import scalar as s
from ..dims import Dim, dim_max, dim_min, floordiv
from ..op import GraphOp, graph_op, param
from ..structure import Indices, Reduce
from ..symbols import known_shape, known_size
from ..types import TensorType, is_float
from .coordinates import COORDINATES, Line, line, ratio
from .interpolation import (
    KERNELS,
    Kernel,
    along,
    clamped,
    weight,
    within,
)
from .reduce import accumulator
from .shape import param_dims

Tap = tuple[s.Scalar, s.Scalar | None]


class ResampleOp(GraphOp):
    """Base: x with other sizes along ``axes``.

    Every entry of ``axes`` has one of ``sizes`` (ints or the text of dims), and of ``scales``
    (results per element, which place the results; without them, the ratio of the sizes).
    ``coordinates`` is one of ONNX's transformations; ``tf_crop_and_resize`` reads the part ``roi``
    (starts…, ends…) of x, as fractions of it. Indices outside of x read its edge, or with
    ``exclude_outside`` nothing: the other weights grow.
    """

    x = operand_def(TensorType)
    axes = param()
    sizes = param()
    scales = param()
    mode = param("linear")
    coordinates = param("half_pixel")
    roi = param()
    cubic_coefficient = param(-0.75)
    exclude_outside = param(False)
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """The shape of x with the new sizes."""
        x = self.operand_type(0)
        self._check_params(x)
        shape = list(x.shape)
        for axis, size in zip(self.axes, self.new_sizes(), strict=True):
            if x.shape[axis] == 0 and size != 0:
                raise self.fail(f"axis {axis} is empty: nothing can be made {size} long")
            shape[axis] = size
        return x.with_shape(shape)

    def new_sizes(self) -> tuple[Dim, ...]:
        """The sizes of the result along ``axes``."""
        if self.sizes is not None:
            return param_dims(self.sizes)
        x = self.operand_type(0)
        return tuple(
            floordiv(x.shape[axis] * ratio(scale).numerator, ratio(scale).denominator)
            for axis, scale in zip(self.axes, self.scales, strict=True)
        )

    def line(self, k: int) -> Line:
        """Where the results along ``axes[k]`` are read."""
        scale = self.scales[k] if self.scales is not None else None
        roi = (self.roi[k], self.roi[k + len(self.axes)]) if self.roi is not None else None
        size = self.operand_type(0).shape[self.axes[k]]
        return line(self.coordinates, size, self.new_sizes()[k], scale, roi)

    def wide(self) -> np.dtype:
        """The dtype of sums: x's, at least f32."""
        dtype = self.operand_type(0).dtype
        return accumulator(dtype) if is_float(dtype) else np.dtype(np.float32)

    def squeeze(self, k: int) -> tuple[Dim, Dim]:
        """``min(scale, 1)`` along ``axes[k]``, as a numerator and a denominator."""
        size, out = self.operand_type(0).shape[self.axes[k]], self.new_sizes()[k]
        if self.scales is not None:
            size, out = ratio(self.scales[k]).denominator, ratio(self.scales[k]).numerator
        return dim_max(dim_min(size, out), 1), dim_max(size, 1)

    def matrix(self, k: int, filtered: bool) -> np.ndarray:
        """The weights ``[results, elements]`` along ``axes[k]``, of a stretched filter or not."""
        size = known_size(self.operand_type(0).shape[self.axes[k]])
        numerators, divisor = self.line(k).values(known_size(self.new_sizes()[k]))
        share, unit = known_shape(self.squeeze(k))
        squeeze = share / unit if filtered else 1.0
        kernel = Kernel(self.mode, self.cubic_coefficient, squeeze, self.exclude_outside)
        return kernel.matrix(numerators / max(divisor, 1), size)

    def _check_params(self, x: TensorType) -> None:
        rank = len(self.axes)
        if len(set(self.axes)) != rank or not set(self.axes) <= set(range(x.rank)):
            raise self.fail(f"axes {list(self.axes)} do not exist or repeat")
        if self.sizes is None and self.scales is None:
            raise self.fail("give sizes, scales or both")
        lengths = {"sizes": rank, "scales": rank, "roi": 2 * rank}
        for name, wanted in lengths.items():
            values = getattr(self, name)
            if values is not None and len(values) != wanted:
                raise self.fail(f"{name} {list(values)} need {wanted} entries")
        if self.scales is not None and any(scale <= 0 for scale in self.scales):
            raise self.fail(f"scales {list(self.scales)} must be positive")
        if self.coordinates not in COORDINATES:
            known = ", ".join(COORDINATES)
            raise self.fail(f"coordinates '{self.coordinates}' is none of {known}")


@graph_op
class ResizeFilterOp(ResampleOp):
    """The sums of an antialiased resize along one axis, before they are divided by their weights.

    ``result[…, i, …] = sum over t of kernel((t - position(i)) * min(scale, 1)) * x[…, t, …]``.
    """

    name = "mlc.resize_filter"

    def infer(self) -> TensorType:
        """As every resampling; of floats, along one axis."""
        if len(self.axes) != 1 or self.mode not in KERNELS:
            raise self.fail(f"one axis and a mode of {', '.join(KERNELS)} are needed")
        if not is_float(self.operand_type(0).dtype):
            raise self.fail("x must be of a float dtype: cast it first")
        return super().infer()

    def reference(self, x: np.ndarray) -> np.ndarray:
        """A product with the matrix of weights."""
        return along(self.matrix(0, True), x.astype(np.float64), self.axes[0]).astype(x.dtype)

    def structure(self) -> Reduce:
        """A Reduce over as many elements as the filter may reach."""
        x, at = self.operand_type(0), self.line(0)
        (axis,), size, wide = self.axes, x.shape[self.axes[0]], self.wide()
        share, unit = self.squeeze(0)
        start = floordiv(-KERNELS[self.mode] * unit, share) + 1

        def body(i: Indices, r: Indices) -> s.Scalar:
            place = at.floor(i[axis]) + r[0] + s.size(start)
            away = place * s.size(at.divisor) - at.numerator(i[axis])
            scale = s.cast(s.size(share), wide) / s.cast(s.size(at.divisor * unit), wide)
            factor = weight(self.mode, s.cast(away, wide) * scale, self.cubic_coefficient)
            if self.exclude_outside:
                factor = s.select(within(place, size), factor, 0)
            where = [*i[:axis], clamped(place, size), *i[axis + 1 :]]
            return s.cast(s.load(0, where, x.dtype), wide) * factor

        return Reduce((2 - start * 2,), "add", body, lambda total: s.cast(total, x.dtype))
