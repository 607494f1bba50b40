"""Constants, and tensors of sizes."""

from __future__ import annotations

import numpy as np
from xdsl.irdl import prop_def, result_def

from .. import scalar as s
from ..data import DataAttr
from ..dims import Shape, product
from ..op import GraphOp, graph_op, param
from ..structure import Indices, Map, Special
from ..symbols import known_shape
from ..types import I64, TensorType, tensor
from .shape import dims_param, param_dims


@graph_op
class ConstantOp(GraphOp):
    """A tensor that is known at compile time.

    ``%w = "mlc.constant"() <{value = #mlc.data<[768, 768] f32 "w17">}> : …``
    """

    name = "mlc.constant"
    value = prop_def(DataAttr)
    result = result_def(TensorType)

    @staticmethod
    def of(array: np.ndarray) -> ConstantOp:
        """The constant of an array that nobody will change."""
        return ConstantOp(value=DataAttr.of(array))

    def infer(self) -> TensorType:
        """The type of the data."""
        return self.value.type

    def reference(self) -> np.ndarray:
        """The data."""
        return self.value.array

    def structure(self) -> Special:
        """A constant is no computation: its data is placed among the weights."""
        return Special("constant")


@graph_op
class DimsOp(GraphOp):
    """A tensor of sizes: ``elements`` (ints and the text of dims) in row-major order.

    ``%r = "mlc.dims"() <{elements = #mlc.param<["N", 64]>, shape = #mlc.param<[2]>, …}> : …``
    """

    name = "mlc.dims"
    elements = param()
    shape = param()
    dtype = param(I64)
    result = result_def(TensorType)

    @staticmethod
    def of(elements: Shape, shape: tuple[int, ...], dtype: np.dtype = I64) -> DimsOp:
        """The tensor of dims in a static shape."""
        return DimsOp(elements=dims_param(elements), shape=shape, dtype=dtype)

    def infer(self) -> TensorType:
        """The static shape that holds the elements."""
        if product(self.shape) != len(self.elements):
            raise self.fail(f"{len(self.elements)} sizes do not fit shape {list(self.shape)}")
        return tensor(self.shape, self.dtype)

    def reference(self) -> np.ndarray:
        """The values of the dims."""
        values = known_shape(param_dims(self.elements))
        return np.array(values, np.int64).astype(self.dtype).reshape(self.shape)

    def structure(self) -> Map:
        """A Map that picks the dim by the position."""

        def body(i: Indices) -> s.Scalar:
            position = s.const(0, I64)
            for index, size in zip(i, self.shape, strict=True):
                position = position * size + index
            dims = param_dims(self.elements)
            value = s.size(dims[-1]) if dims else s.const(0, I64)
            for k, dim in enumerate(dims[:-1]):
                value = s.select(s.compare("eq", position, k), s.size(dim), value)
            return s.cast(value, self.dtype)

        return Map(body)
