"""Small words for writing ``decompose``: values as operands, constants by number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from ..dims import Shape
from ..op import Add
from ..types import type_of
from .constant import ConstantOp
from .elementwise import CastOp
from .reduce import ReduceOp
from .shape import BroadcastOp, ReshapeOp


class Composer:
    """Places ops one after another; every method gives the value of what it placed."""

    def __init__(self, add: Add):
        self.add = add

    def number(self, value: float, dtype: np.dtype) -> SSAValue:
        """A scalar constant."""
        return self.add(ConstantOp.of(np.asarray(value).astype(dtype)))

    def cast(self, x: SSAValue, dtype: np.dtype) -> SSAValue:
        """``x`` in another dtype; nothing is placed where it has it."""
        return x if type_of(x).dtype == dtype else self.add(CastOp(x, to=dtype))

    def reshape(self, x: SSAValue, shape: Shape) -> SSAValue:
        """``x`` in another shape; nothing is placed where it has it."""
        return x if type_of(x).shape == shape else self.add(ReshapeOp.to(x, shape))

    def broadcast(self, x: SSAValue, shape: Shape) -> SSAValue:
        """``x`` repeated to a shape; nothing is placed where it has it."""
        return x if type_of(x).shape == shape else self.add(BroadcastOp.to(x, shape))

    def reduce(self, kind: type[ReduceOp], x: SSAValue, axes: Sequence[int]) -> SSAValue:
        """A reduction that keeps the axes as 1."""
        return self.add(kind(x, axes=tuple(axes), keepdims=True))
