"""Convolutions, channels last: ``[N, *spatial, C]``."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from xdsl.irdl import operand_def, result_def

from .. import scalar as s
from ..dims import Dim
from ..op import GraphOp, graph_op, param
from ..structure import Contraction, Indices
from ..symbols import known_shape
from ..types import TensorType, tensor
from .matmul import product_dtype, sum_dtype
from .shape import param_dims
from .window import Window, inside


class ConvolutionOp(GraphOp):
    """Base: what both convolutions hold.

    ``pads`` are (begins…, ends…), ints or the text of dims, never negative; the number of spatial
    dims is free. C and O are split into ``groups`` that do not mix. There is no bias: add one.
    ``to`` is that of a matrix product: with it, x and w may be different narrow integers.
    """

    x = operand_def(TensorType)
    w = operand_def(TensorType)
    strides = param()
    pads = param()
    dilations = param()
    groups = param(1)
    to = param()
    result = result_def(TensorType)

    def window(self) -> Window:
        """How the kernel moves over x."""
        kernel = self.operand_type(1).shape[:-2]
        return Window(kernel, self.strides, param_dims(self.pads), self.dilations)

    def check(self) -> None:
        """What holds for both."""
        x, w = self.operand_type(0), self.operand_type(1)
        if x.rank < 3 or w.rank != x.rank:
            raise self.fail("x is [N, *spatial, C] and w has as many dims")
        product_dtype(self, x.dtype, w.dtype, self.to)
        if self.groups < 1:
            raise self.fail(f"groups {self.groups} must be positive")
        self.window().check(self)

    def wide(self) -> np.dtype:
        """The dtype of the sum."""
        return self.to or sum_dtype(self.operand_type(0).dtype)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the result."""
        return self.to or self.operand_type(0).dtype

    def product(self, x: s.Scalar, w: s.Scalar) -> s.Scalar:
        """A product in the dtype of the sum."""
        return s.cast(x, self.wide()) * s.cast(w, self.wide())

    def narrow(self, total: s.Scalar) -> s.Scalar:
        """The sum in the dtype of the result."""
        return s.cast(total, self.dtype)


@graph_op
class ConvOp(ConvolutionOp):
    """Convolution of x ``[N, *spatial, C]`` with w ``[*kernel, C / groups, O]``.

    ``result[n, p, o] = sum over k, c of x[n, p * stride + k * dilation - begin, c] * w[k, c, o]``
    where elements outside of x are 0.

    ``%r = "mlc.conv"(%x, %w) <{strides = #mlc.param<[1, 1]>, pads = #mlc.param<[1, 1, 1, 1]>, …``
    """

    name = "mlc.conv"

    @property
    def by_channel(self) -> bool:
        """Whether every channel is convolved on its own, with one filter of known size."""
        shape = self.operand_type(1).shape
        known = all(isinstance(k, int) for k in shape)
        return known and self.groups > 1 and shape[-2:] == (1, self.groups)

    def infer(self) -> TensorType:
        """``[N, *out, O]`` with ``out = (size + begin + end - reach) // stride + 1``."""
        self.check()
        x, w = self.operand_type(0), self.operand_type(1)
        if w.shape[-2] * self.groups != x.shape[-1]:
            raise self.fail(f"{x.shape[-1]} channels are not {self.groups} groups of {w.shape[-2]}")
        if w.shape[-1] % self.groups != 0:
            raise self.fail(f"{w.shape[-1]} filters are not a multiple of {self.groups} groups")
        out = self.window().positions(self, x.shape[1:-1])
        return tensor((x.shape[0], *out, w.shape[-1]), self.dtype)

    def reference(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """For every offset of the kernel, a product of shifted x with that slice of w."""
        window = self.window()
        x, w = window.padded(x.astype(self.wide()), 0), w.astype(self.wide())
        out = known_shape(self.infer().shape)
        result = np.zeros(out, self.wide())
        inputs, outputs = _blocks(x.shape[-1], self.groups), _blocks(w.shape[-1], self.groups)
        for k in np.ndindex(*w.shape[:-2]):
            shifted = x[window.shifted(k, out[1:-1])]
            for a, b in zip(inputs, outputs, strict=True):
                result[..., b] += shifted[..., a] @ w[k][:, b]
        return result.astype(self.dtype)

    def structure(self) -> Contraction:
        """A sum over the kernel and the channels of a group."""
        x, w = self.operand_type(0), self.operand_type(1)
        window = self.window()

        def body(i: Indices, r: Indices) -> s.Scalar:
            where = window.where(i[1:-1], r[:-1])
            c = _grouped(i[-1], r[-1], self.groups, w.shape[-1], w.shape[-2])
            value = s.load(0, [i[0], *where, c], x.dtype)
            value = inside(window.guards(where, x.shape[1:-1]), value, 0)
            return self.product(value, s.load(1, [*r, i[-1]], w.dtype))

        return Contraction(w.shape[:-1], "add", body, self.narrow)


@graph_op
class GroupedConvOp(GraphOp):
    """A convolution without pads for each of G groups.

    x is ``[N, *spatial, G, C]``, w ``[*kernel, G, C, O]``, and the result ``[N, *out, G, O]``.
    It is a ``ConvOp`` with groups whose channels lie by groups, so that what a result reads is a
    linear function of its place. ``to`` is that of a matrix product.

    ``%r = "mlc.grouped_conv"(%x, %w) <{strides = #mlc.param<[1, 1]>, dilations = …``
    """

    name = "mlc.grouped_conv"
    x = operand_def(TensorType)
    w = operand_def(TensorType)
    strides = param()
    dilations = param()
    to = param()
    result = result_def(TensorType)

    def window(self) -> Window:
        """How the kernel moves over x."""
        kernel = self.operand_type(1).shape[:-3]
        return Window(kernel, self.strides, (0,) * 2 * len(kernel), self.dilations)

    def infer(self) -> TensorType:
        """``[N, *out, G, O]`` with ``out`` as that of a ``ConvOp``."""
        x, w = self.operand_type(0), self.operand_type(1)
        if x.rank < 4 or w.rank != x.rank:
            raise self.fail("x is [N, *spatial, G, C] and w has as many dims")
        if x.shape[-2:] != w.shape[-3:-1]:
            raise self.fail(f"{list(x.shape[-2:])} groups and channels are not {w.shape[-3:-1]}")
        product_dtype(self, x.dtype, w.dtype, self.to)
        out = self.window().positions(self, x.shape[1:-2])
        groups, filters = w.shape[-3], w.shape[-1]
        return tensor((x.shape[0], *out, groups, filters), self.to or x.dtype)

    def reference(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """For every offset of the kernel, the products of shifted x with that slice of w."""
        window, wide = self.window(), self.to or sum_dtype(x.dtype)
        out = known_shape(self.infer().shape)
        result = np.zeros(out, wide)
        for k in np.ndindex(*w.shape[:-3]):
            shifted = x[window.shifted(k, out[1:-2])].astype(wide)
            result += np.einsum("...gc,gco->...go", shifted, w[k].astype(wide))
        return result.astype(self.to or x.dtype)

    def structure(self) -> Contraction:
        """A sum over the kernel and the channels of a group."""
        x, w = self.operand_type(0), self.operand_type(1)
        window, wide = self.window(), self.to or sum_dtype(x.dtype)

        def body(i: Indices, r: Indices) -> s.Scalar:
            where = window.where(i[1:-2], r[:-1])
            value = s.load(0, [i[0], *where, i[-2], r[-1]], x.dtype)
            factor = s.load(1, [*r[:-1], i[-2], r[-1], i[-1]], w.dtype)
            return s.cast(value, wide) * s.cast(factor, wide)

        def narrow(total: s.Scalar) -> s.Scalar:
            return s.cast(total, self.to or x.dtype)

        return Contraction((*w.shape[:-3], w.shape[-2]), "add", body, narrow)


@graph_op
class ConvTransposeOp(ConvolutionOp):
    """Transposed convolution of x ``[N, *spatial, C]`` with w ``[*kernel, C, O / groups]``.

    ``result[n, p * stride + k * dilation - begin, o] += x[n, p, c] * w[k, c, o]``; the result is
    ``output_padding`` longer at the end.
    """

    name = "mlc.conv_transpose"
    output_padding = param()

    def infer(self) -> TensorType:
        """``out = (size - 1) * stride + reach + output_padding - begin - end``."""
        self.check()
        x, w = self.operand_type(0), self.operand_type(1)
        if w.shape[-2] != x.shape[-1]:
            raise self.fail(f"x has {x.shape[-1]} channels, w {w.shape[-2]}")
        if x.shape[-1] % self.groups != 0:
            raise self.fail(f"{x.shape[-1]} channels are not a multiple of {self.groups} groups")
        if len(self.output_padding) != x.rank - 2:
            raise self.fail(f"output_padding needs {x.rank - 2} entries")
        out = tuple(self._length(d, k) for k, d in enumerate(x.shape[1:-1]))
        if any(isinstance(d, int) and d < 0 for d in out):
            raise self.fail(f"pads {list(self.pads)} take more than there is: {list(out)}")
        return tensor((x.shape[0], *out, w.shape[-1] * self.groups), self.dtype)

    def reference(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Every element of x adds its multiple of the kernel to the result; pads are cut off."""
        window = self.window()
        x, w = x.astype(self.wide()), w.astype(self.wide())
        out = known_shape(self.infer().shape)
        whole = np.zeros((out[0], *window.unpadded(out[1:-1]), out[-1]), self.wide())
        inputs, outputs = _blocks(x.shape[-1], self.groups), _blocks(out[-1], self.groups)
        for k in np.ndindex(*w.shape[:-2]):
            target = whole[window.shifted(k, x.shape[1:-1])]
            for a, b in zip(inputs, outputs, strict=True):
                target[..., b] += x[..., a] @ w[k][a]
        return whole[window.cropped(out[1:-1])].astype(self.dtype)

    def structure(self) -> Contraction:
        """A sum over the kernel; where the stride does not hit x, nothing is added."""
        x, w = self.operand_type(0), self.operand_type(1)
        window, channels = self.window(), x.shape[-1] // self.groups

        def body(i: Indices, r: Indices) -> s.Scalar:
            where, guards = window.sources(i[1:-1], r[:-1], x.shape[1:-1])
            c = _grouped(i[-1], r[-1], self.groups, w.shape[-1] * self.groups, channels)
            value = inside(guards, s.load(0, [i[0], *where, c], x.dtype), 0)
            o = i[-1] if self.groups == 1 else i[-1] % s.size(w.shape[-1])
            return self.product(value, s.load(1, [*r[:-1], c, o], w.dtype))

        return Contraction((*w.shape[:-2], channels), "add", body, self.narrow)

    def _length(self, size: Dim, k: int) -> Dim:
        window = self.window()
        begin, end = window.pads_of(k)
        return (size - 1) * self.strides[k] + window.reach(k) + self.output_padding[k] - begin - end


def _blocks(channels: int, groups: int) -> list[slice]:
    """The channels of each group."""
    bounds = [k * (channels // groups) for k in range(groups + 1)]
    return [slice(a, b) for a, b in pairwise(bounds)]


def _grouped(o: s.Scalar, c: s.Scalar, groups: int, filters: Dim, channels: Dim) -> s.Scalar:
    """The channel of x that is number ``c`` in the group of output channel ``o``."""
    if groups == 1:
        return c
    return o // s.size(filters // groups) * s.size(channels) + c
