"""Elements in memory and in registers: their types, and conversions between dtypes.

In a register f16 and bf16 are held in f32, and i64 is ``index``. Every function takes scalars and
register tiles alike.
"""

from __future__ import annotations

import numpy as np
from xdsl.dialects import arith
from xdsl.dialects.builtin import (
    IndexType,
    IntegerType,
    VectorType,
    bf16,
    f16,
    f32,
    f64,
    i1,
)
from xdsl.ir import Attribute, SSAValue

from ...ir.errors import TargetError
from ...ir.types import BOOL, DTYPE_NAMES, I64, bit_width, is_float, is_signed
from .builder import LoopBuilder, element_of, like

_FLOATS: dict[str, Attribute] = {"f16": f16, "bf16": bf16, "f32": f32, "f64": f64}
_WORD = IntegerType(64)


def storage_type(dtype: np.dtype) -> Attribute:
    """The type of an element in memory.

    Raises:
        TargetError: CPU code does not compute on ``dtype``.
    """
    name = DTYPE_NAMES[dtype]
    if is_float(dtype):
        if name not in _FLOATS:
            raise TargetError(f"CPU code does not compute on {name} yet: cast it to f32 first")
        return _FLOATS[name]
    if bit_width(dtype) in (2, 4):
        raise TargetError(f"CPU code does not compute on {name} yet: cast it to i8 first")
    return i1 if dtype == BOOL else IntegerType(bit_width(dtype))


def compute_type(dtype: np.dtype) -> Attribute:
    """The type of an element in a register: half floats widen, i64 is ``index``."""
    if dtype == I64:
        return IndexType()
    type = storage_type(dtype)
    return f32 if type in (f16, bf16) else type


def to_register(b: LoopBuilder, value: SSAValue, dtype: np.dtype) -> SSAValue:
    """A value as read from memory, in its register type."""
    wide = like(value.type, compute_type(dtype))
    if value.type == wide:
        return value
    return b.op(arith.IndexCastOp if dtype == I64 else arith.ExtFOp, [value], wide)


def to_memory(b: LoopBuilder, value: SSAValue, dtype: np.dtype) -> SSAValue:
    """A register value as it is written to memory."""
    narrow = like(value.type, storage_type(dtype))
    if value.type == narrow:
        return value
    return b.op(arith.IndexCastOp if dtype == I64 else arith.TruncFOp, [value], narrow)


def convert(b: LoopBuilder, value: SSAValue, source: np.dtype, target: np.dtype) -> SSAValue:
    """Numpy's ``astype`` on a register value."""
    if isinstance(element_of(value.type), IndexType):
        value = b.op(arith.IndexCastOp, [value], like(value.type, _WORD))
    if target == BOOL:
        return _to_bool(b, value, source)
    if is_float(source):
        return _from_float(b, value, target)
    type = like(value.type, compute_type(target))
    if is_float(target):
        kind = arith.SIToFPOp if is_signed(source) else arith.UIToFPOp
        return round_to(b, b.op(kind, [value], type), target)
    return _resize(b, value, is_signed(source), type)


def round_to(b: LoopBuilder, value: SSAValue, dtype: np.dtype) -> SSAValue:
    """A register value rounded to a narrow float dtype."""
    narrow = like(value.type, storage_type(dtype))
    if narrow == value.type:
        return value
    return b.op(arith.ExtFOp, [b.op(arith.TruncFOp, [value], narrow)], value.type)


def _to_bool(b: LoopBuilder, value: SSAValue, source: np.dtype) -> SSAValue:
    if source == BOOL:
        return value
    return b.compare("une" if is_float(source) else "ne", value, b.constant(0, value.type))


def _from_float(b: LoopBuilder, value: SSAValue, target: np.dtype) -> SSAValue:
    type = like(value.type, compute_type(target))
    if is_float(target):
        if type != value.type:
            kind = arith.ExtFOp if element_of(type) == f64 else arith.TruncFOp
            value = b.op(kind, [value], type)
        return round_to(b, value, target)
    kind = arith.FPToSIOp if is_signed(target) else arith.FPToUIOp
    plain = like(value.type, storage_type(target))
    return _resize(b, b.op(kind, [value], plain), is_signed(target), type)


def _resize(b: LoopBuilder, value: SSAValue, signed: bool, type: Attribute) -> SSAValue:
    plain = like(type, _WORD) if isinstance(element_of(type), IndexType) else type
    old, new = (_width(t) for t in (value.type, plain))
    if new < old:
        value = b.op(arith.TruncIOp, [value], plain)
    elif new > old:
        value = b.op(arith.ExtSIOp if signed else arith.ExtUIOp, [value], plain)
    return value if plain == type else b.op(arith.IndexCastOp, [value], type)


def _width(type: Attribute) -> int:
    element = element_of(type)
    assert isinstance(element, IntegerType), f"{type} is no integer"
    return element.width.data


def is_tile(value: SSAValue) -> bool:
    """Whether a value is a register tile."""
    return isinstance(value.type, VectorType)
