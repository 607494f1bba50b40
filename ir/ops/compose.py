"""Small words for writing ops, for ``decompose`` and for importers: nothing is placed in vain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from xdsl.ir import SSAValue

from ..dims import Shape
from ..op import Add, GraphOp
from ..types import type_of
from .constant import ConstantOp
from .elementwise import CastOp
from .reduce import ReduceOp
from .shape import BroadcastOp, ReshapeOp, TransposeOp


class Writer(ABC):
    """Places ops one after another; every method gives the value of what it placed."""

    @abstractmethod
    def add(self, op: GraphOp) -> SSAValue:
        """Places an op; gives its first result."""

    def constant(self, value: Any, dtype: np.dtype) -> SSAValue:
        """A constant."""
        return self.add(ConstantOp.of(np.asarray(value).astype(dtype)))

    def cast(self, value: SSAValue, dtype: np.dtype) -> SSAValue:
        """The value in another dtype; itself where it has it."""
        return value if type_of(value).dtype == dtype else self.add(CastOp(value, to=dtype))

    def reshape(self, value: SSAValue, shape: Shape) -> SSAValue:
        """The value in another shape; itself where it has it."""
        return value if type_of(value).shape == shape else self.add(ReshapeOp.to(value, shape))

    def transpose(self, value: SSAValue, perm: Sequence[int]) -> SSAValue:
        """The value with its dims permuted; itself where nothing moves."""
        if list(perm) == list(range(len(perm))):
            return value
        return self.add(TransposeOp(value, perm=tuple(perm)))

    def broadcast(self, value: SSAValue, shape: Shape) -> SSAValue:
        """The value repeated to a shape; itself where it has it."""
        return value if type_of(value).shape == shape else self.add(BroadcastOp.to(value, shape))


class Composer(Writer):
    """Writes by means of what places an op."""

    def __init__(self, add: Add):
        self._add = add

    def add(self, op: GraphOp) -> SSAValue:
        """Places an op; gives its first result."""
        return self._add(op)

    def reduce(self, kind: type[ReduceOp], x: SSAValue, axes: Sequence[int]) -> SSAValue:
        """A reduction that keeps the axes as 1."""
        return self.add(kind(x, axes=tuple(axes), keepdims=True))
