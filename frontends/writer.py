"""Words to build ops with, which the nodes of every importer know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from xdsl.ir import SSAValue

from ..ir.dims import Shape
from ..ir.op import GraphOp
from ..ir.ops.constant import ConstantOp
from ..ir.ops.elementwise import CastOp
from ..ir.ops.shape import BroadcastOp, ReshapeOp, TransposeOp
from ..ir.types import type_of


class Writer(ABC):
    """Appends ops that stem from one node of a user's model."""

    @abstractmethod
    def add_all(self, op: GraphOp) -> Sequence[SSAValue]:
        """Appends an op; gives its results."""

    def add(self, op: GraphOp) -> SSAValue:
        """Appends an op; gives its first result."""
        return self.add_all(op)[0]

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
