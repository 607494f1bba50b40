"""The table of executors: for each op, the torch code that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from xdsl.ir import SSAValue

from ....ir.dims import Dim, Shape
from ....ir.op import GraphOp
from ....ir.ops.constant import ConstantOp
from ....ir.types import TensorType, is_float, type_of
from ..tensors import TORCH_DTYPES
from .recorder import Recorded, Recorder, Results

OpT = TypeVar("OpT", bound=GraphOp)

# Those that all of torch's functions know; the other ones it can do little more than store.
_PLAIN = frozenset(
    np.dtype(name) for name in ("bool", "i1", "i2", "i4", "i8", "u1", "f2", "bfloat16", "f4", "f8")
)


@dataclass(frozen=True)
class Call(Generic[OpT]):
    """One op while it is recorded.

    Attributes:
        op: The op.
        recorder: Where torch code on its operands goes.
    """

    op: OpT
    recorder: Recorder

    @property
    def x(self) -> Recorded:
        """The first operand."""
        return self.operand(0)

    @property
    def operands(self) -> list[Recorded]:
        """All operands."""
        return [self.recorder.value(o) for o in self.op.operands]

    def operand(self, k: int) -> Recorded:
        """One operand."""
        return self.recorder.value(self.op.operands[k])

    def type(self, k: int = 0) -> TensorType:
        """The type of an operand."""
        return self.op.operand_type(k)

    @property
    def result(self) -> TensorType:
        """The type of the first result."""
        return type_of(self.op.results[0])

    @property
    def is_plain(self) -> bool:
        """Whether torch computes with all dtypes of operands and results."""
        values = (*self.op.operands, *self.op.results)
        return all(type_of(v).dtype in _PLAIN for v in values)

    @property
    def is_float(self) -> bool:
        """Whether the first operand is of a float dtype."""
        return is_float(self.type().dtype)

    @property
    def is_empty(self) -> bool:
        """Whether an operand has no elements, which some of torch's functions refuse."""
        return any(0 in type_of(o).shape for o in self.op.operands)

    def of(self, op: GraphOp) -> Call[Any]:
        """The same for another op, which this one is fused with."""
        return Call(op, self.recorder)

    def size(self, dim: Dim) -> Any:
        """A dim as an int, or the proxy of one."""
        return self.recorder.size(dim)

    def sizes(self, shape: Shape) -> list[Any]:
        """The same for many."""
        return [self.recorder.size(d) for d in shape]


Executor = Callable[[Any], Results | None]
_TABLE: dict[type[GraphOp], Executor] = {}


def runs(*ops: type[GraphOp]) -> Callable[[Executor], Executor]:
    """Registers the torch code of ops; it gives None for what torch has no function for."""

    def register(function: Executor) -> Executor:
        for op in ops:
            _TABLE[op] = function
        return function

    return register


def executor_of(op: type[GraphOp]) -> Executor | None:
    """The torch code of an op."""
    return _TABLE.get(op)


def torch_dtype(dtype: np.dtype) -> torch.dtype:
    """The torch dtype of a numpy dtype that has one."""
    return TORCH_DTYPES[dtype]


def constant_of(value: SSAValue) -> np.ndarray | None:
    """The array of a constant; None for other values."""
    return value.owner.value.array if isinstance(value.owner, ConstantOp) else None


def number_of(value: SSAValue) -> Any:
    """The number that a constant without dims is; None for other values."""
    array = constant_of(value)
    return array.item() if array is not None and array.ndim == 0 else None


def producer(value: SSAValue, kind: type[OpT]) -> OpT | None:
    """The op that makes ``value`` for one user only, where it is of a kind."""
    return value.owner if isinstance(value.owner, kind) and value.has_one_use() else None
