"""Constants."""

from __future__ import annotations

import numpy as np
from xdsl.irdl import prop_def, result_def

from ..data import DataAttr
from ..op import GraphOp, graph_op
from ..structure import Special
from ..types import TensorType


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
