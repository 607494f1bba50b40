"""Questions about values that rules ask: which number, which constant, how many uses."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from xdsl.ir import SSAValue

from ..ir.dims import static_size
from ..ir.op import GraphOp
from ..ir.ops import elementwise as e
from ..ir.ops.constant import ConstantOp
from ..ir.types import is_float, type_of

OpT = TypeVar("OpT", bound=GraphOp)

# Larger constants are weights.
_SPLAT_LIMIT = 1 << 16

COMMUTATIVE: tuple[type[GraphOp], ...] = (
    *(e.AddOp, e.MulOp, e.MaxOp, e.MinOp),
    *(e.AndOp, e.OrOp, e.XorOp, e.EqOp, e.NeOp),
)


def producer(value: SSAValue, kind: type[OpT]) -> OpT | None:
    """The op that makes ``value``, if it is one of ``kind``."""
    return value.owner if isinstance(value.owner, kind) else None


def is_constant(value: SSAValue) -> bool:
    """Whether ``value`` is a constant; its data is not read."""
    return isinstance(value.owner, ConstantOp)


def constant(value: SSAValue) -> np.ndarray | None:
    """The data of a constant; reading it computes it if it is lazy."""
    return value.owner.value.array if isinstance(value.owner, ConstantOp) else None


def number(value: SSAValue) -> float | None:
    """The number that a constant of one element holds, of whatever rank."""
    if not isinstance(value.owner, ConstantOp) or type_of(value).size != 1:
        return None
    return _plain(value.owner.value.array.reshape(-1)[0])


def is_number(value: SSAValue, wanted: float) -> bool:
    """Whether ``value`` is a constant of one element, which is ``wanted``."""
    return number(value) == wanted


def same(a: SSAValue, b: SSAValue) -> bool:
    """Whether two values are one, or small constants of equal data."""
    if isinstance(a.owner, ConstantOp) and isinstance(b.owner, ConstantOp):
        return a.owner.value == b.owner.value
    return a is b


def used_once(value: SSAValue) -> bool:
    """Whether exactly one operand in the program reads ``value``."""
    return value.has_one_use()


def splat(value: SSAValue) -> float | None:
    """The number that all elements of a constant are; large ones are not looked at."""
    if not isinstance(value.owner, ConstantOp):
        return None
    size = static_size(type_of(value).shape)
    if not size or size > _SPLAT_LIMIT:
        return None
    array = value.owner.value.array
    first = array.reshape(-1)[0]
    return _plain(first) if (array == first).all() else None


def _plain(value: np.generic) -> float:
    return float(value) if is_float(value.dtype) else int(value)
