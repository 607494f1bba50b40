"""Elements in memory and in registers: their types, and conversions between dtypes.

In memory a value of fewer than 8 bits takes a byte; above an integer's bits numpy leaves anything.
In a register narrow floats are held in f32, and i64 is ``index``. There f16 and bf16 may have the
precision of f32 until they are written; smaller types are exact. Every function takes scalars and
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
    i32,
)
from xdsl.ir import Attribute, SSAValue

from ...ir.types import BOOL, DTYPE_NAMES, I64, bit_width, is_float, is_signed
from .builder import LoopBuilder, element_of, like
from .minifloat import CODE, FORMATS, decode, encode

_FLOATS: dict[str, Attribute] = {"f16": f16, "bf16": bf16, "f32": f32, "f64": f64}
_WORD = IntegerType(64)


def storage_type(dtype: np.dtype) -> Attribute:
    """The type of an element in memory."""
    if dtype in FORMATS:
        return CODE
    if is_float(dtype):
        return _FLOATS[DTYPE_NAMES[dtype]]
    return i1 if dtype == BOOL else IntegerType(max(8, bit_width(dtype)))


def compute_type(dtype: np.dtype) -> Attribute:
    """The type of an element in a register: narrow floats widen, i64 is ``index``."""
    if dtype == I64:
        return IndexType()
    if is_float(dtype):
        return f64 if bit_width(dtype) == 64 else f32
    return storage_type(dtype)


def constant(b: LoopBuilder, value: float, dtype: np.dtype) -> SSAValue:
    """A constant as a scalar register value of ``dtype``."""
    if _is_narrow(dtype):
        value = float(np.asarray(value).astype(dtype))
    return b.constant(value, compute_type(dtype))


def to_register(b: LoopBuilder, value: SSAValue, dtype: np.dtype) -> SSAValue:
    """A value as read from memory, in its register type."""
    if dtype in FORMATS:
        return decode(b, value, FORMATS[dtype])
    if _is_narrow(dtype):
        return _wrap(b, value, dtype)
    wide = like(value.type, compute_type(dtype))
    if value.type == wide:
        return value
    return b.op(arith.IndexCastOp if dtype == I64 else arith.ExtFOp, [value], wide)


def to_memory(b: LoopBuilder, value: SSAValue, dtype: np.dtype) -> SSAValue:
    """A register value as it is written to memory."""
    if dtype in FORMATS:
        return encode(b, value, FORMATS[dtype])
    narrow = like(value.type, storage_type(dtype))
    if value.type == narrow:
        return value
    return b.op(arith.IndexCastOp if dtype == I64 else arith.TruncFOp, [value], narrow)


def settle(b: LoopBuilder, value: SSAValue, dtype: np.dtype) -> SSAValue:
    """The result of arithmetic as ``dtype`` has it: minifloats round, narrow integers wrap."""
    if not _is_narrow(dtype):
        return value
    return round_to(b, value, dtype) if is_float(dtype) else _wrap(b, value, dtype)


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
    return settle(b, _resize(b, value, is_signed(source), type), target)


def round_to(b: LoopBuilder, value: SSAValue, dtype: np.dtype) -> SSAValue:
    """A register value rounded to a narrow float dtype."""
    if element_of(value.type) == storage_type(dtype):
        return value
    return to_register(b, to_memory(b, value, dtype), dtype)


def _is_narrow(dtype: np.dtype) -> bool:
    return dtype in FORMATS or 1 < bit_width(dtype) < 8


def _wrap(b: LoopBuilder, value: SSAValue, dtype: np.dtype) -> SSAValue:
    """A byte with its low bits repeated in the others: the sign, or zeros."""
    unused = b.constant(8 - bit_width(dtype), value.type)
    high = b.op(arith.ShLIOp, [value, unused], value.type)
    return b.op(arith.ShRSIOp if is_signed(dtype) else arith.ShRUIOp, [high, unused], value.type)


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
    if _is_narrow(target):
        whole = b.op(arith.FPToSIOp, [value], like(value.type, i32))
        return _wrap(b, _resize(b, whole, True, type), target)
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
