"""Lowers a scalar expression to loop-level arithmetic.

Values of f16 and bf16 are held in f32 and rounded where they are cast or stored. Both sides of a
``select`` that reads memory become branches, so that a guarded load never leaves its buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from xdsl.dialects import arith, math
from xdsl.dialects.builtin import (
    IndexType,
    IntegerType,
    bf16,
    f16,
    f32,
    f64,
    i1,
)
from xdsl.ir import Attribute, Operation, SSAValue

from ...ir import loop
from ...ir.dims import Dim, Shape, SymDim
from ...ir.errors import TargetError
from ...ir.scalar import COMPARE, Scalar
from ...ir.types import BOOL, DTYPE_NAMES, I64, bit_width, is_float, is_signed
from .builder import LoopBuilder

_FLOATS: dict[str, Attribute] = {"f16": f16, "bf16": bf16, "f32": f32, "f64": f64}
_FLOAT_BINARY: dict[str, type[Operation]] = {
    "add": arith.AddfOp,
    "sub": arith.SubfOp,
    "mul": arith.MulfOp,
    "div": arith.DivfOp,
    "max": arith.MaximumfOp,
    "min": arith.MinimumfOp,
    "pow": math.PowFOp,
    "atan2": math.Atan2Op,
}
_INTEGER_BINARY: dict[str, type[Operation]] = {
    "add": arith.AddiOp,
    "sub": arith.SubiOp,
    "mul": arith.MuliOp,
    "and": arith.AndIOp,
    "or": arith.OrIOp,
    "xor": arith.XOrIOp,
}
_SIGNED_BINARY: dict[str, type[Operation]] = {
    "max": arith.MaxSIOp,
    "min": arith.MinSIOp,
    "div": arith.DivSIOp,
    "rem": arith.RemSIOp,
}
_UNSIGNED_BINARY: dict[str, type[Operation]] = {
    "max": arith.MaxUIOp,
    "min": arith.MinUIOp,
    "div": arith.DivUIOp,
    "rem": arith.RemUIOp,
}
_FLOAT_UNARY: dict[str, type[Operation]] = {
    "neg": arith.NegfOp,
    "abs": math.AbsFOp,
    "round": math.RoundEvenOp,
    **{name: getattr(math, f"{name.title()}Op") for name in ("exp", "log", "sqrt", "erf")},
    **{name: getattr(math, f"{name.title()}Op") for name in ("floor", "ceil", "trunc", "tanh")},
    **{name: getattr(math, f"{name.title()}Op") for name in ("sin", "cos", "tan", "sinh", "cosh")},
    **{name: getattr(math, f"{name.title()}Op") for name in ("asin", "acos", "atan")},
    **{name: getattr(math, f"{name.title()}Op") for name in ("asinh", "acosh", "atanh")},
}


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


class ExpressionLowering:
    """Lowers expressions over given axes; a node used twice is computed once."""

    def __init__(
        self,
        builder: LoopBuilder,
        axes: Sequence[SSAValue],
        buffers: Sequence[SSAValue],
        shapes: Sequence[Shape],
        symbols: Mapping[str, SSAValue],
    ):
        self.b = builder
        self.axes = axes
        self.buffers = buffers
        self.shapes = shapes
        self.symbols = symbols
        self._known: dict[int, SSAValue] = {}
        self._kept: list[Scalar] = []

    def bind(self, node: Scalar, value: SSAValue) -> None:
        """Says what the value of a leaf is."""
        self._known[id(node)] = value
        self._kept.append(node)

    def lower(self, node: Scalar) -> SSAValue:
        """The value of ``node``."""
        if id(node) not in self._known:
            self.bind(node, self._lower(node))
        return self._known[id(node)]

    def dim(self, dim: Dim) -> SSAValue:
        """The value of a dimension."""
        return lower_dim(self.b, dim, self.symbols)

    def offset(self, indices: Sequence[SSAValue], shape: Shape) -> SSAValue:
        """The row-major position of ``indices``."""
        position = self.b.index(0)
        for index, size in zip(indices, shape, strict=True):
            scaled = self.b.mul_index(position, self.dim(size))
            position = self.b.add_index(scaled, index)
        return position

    def _lower(self, node: Scalar) -> SSAValue:
        match node.op:
            case "const":
                return self.b.constant(node.attr, compute_type(node.dtype))
            case "axis":
                return self.axes[node.attr]
            case "size":
                return self.dim(node.attr)
            case "load":
                return self._load(node)
            case "select":
                return self._select(node)
            case "cast":
                return self._cast(node)
            case op if op in COMPARE:
                return self._compare(node)
            case _:
                return self._arithmetic(node)

    def _load(self, node: Scalar) -> SSAValue:
        indices = [self.lower(a) for a in node.args]
        offset = self.offset(indices, self.shapes[node.attr])
        value = self.b.load(self.buffers[node.attr], offset, storage_type(node.dtype))
        return to_register(self.b, value, node.dtype)

    def _select(self, node: Scalar) -> SSAValue:
        condition, then, other = node.args
        test = self.lower(condition)
        if not (_reads(then) or _reads(other)):
            operands = [test, self.lower(then), self.lower(other)]
            return self.b.op(arith.SelectOp, operands, operands[1].type)
        return self.b.branch(
            test, compute_type(then.dtype), lambda: self._scoped(then), lambda: self._scoped(other)
        )

    def _scoped(self, node: Scalar) -> SSAValue:
        outside = self._known
        self._known = dict(outside)
        value = self.lower(node)
        self._known = outside
        return value

    def _compare(self, node: Scalar) -> SSAValue:
        a, b = (self.lower(x) for x in node.args)
        dtype = node.args[0].dtype
        if is_float(dtype):
            prefix = "u" if node.op == "ne" else "o"
            return self.b.add(arith.CmpfOp(a, b, prefix + node.op)).results[0]
        plain = node.op in ("eq", "ne")
        prefix = "" if plain else "s" if is_signed(dtype) else "u"
        return self.b.add(arith.CmpiOp(a, b, prefix + node.op)).results[0]

    def _arithmetic(self, node: Scalar) -> SSAValue:
        operands = [self.lower(a) for a in node.args]
        if is_float(node.args[0].dtype):
            return self._float(node, operands)
        return self._integer(node, operands)

    def _float(self, node: Scalar, operands: list[SSAValue]) -> SSAValue:
        b, type = self.b, operands[0].type
        kind = _FLOAT_BINARY.get(node.op) or _FLOAT_UNARY.get(node.op)
        if kind is not None:
            return b.op(kind, operands, type)
        special: dict[str, Callable[[], SSAValue]] = {
            "isnan": lambda: b.add(arith.CmpfOp(operands[0], operands[0], "uno")).results[0],
            "isinf": lambda: self._is_infinite(operands[0]),
            "rsqrt": lambda: b.op(
                arith.DivfOp, [b.constant(1, type), b.op(math.SqrtOp, operands, type)], type
            ),
            "sign": lambda: self._float_sign(operands[0]),
            "rem": lambda: self._float_remainder(operands, floored=False),
            "mod": lambda: self._float_remainder(operands, floored=True),
        }
        if node.op not in special:
            raise TargetError(f"CPU code has no float form of '{node.op}'")
        return special[node.op]()

    def _is_infinite(self, x: SSAValue) -> SSAValue:
        size = self.b.op(math.AbsFOp, [x], x.type)
        infinity = self.b.constant(np.inf, x.type)
        return self.b.add(arith.CmpfOp(size, infinity, "oeq")).results[0]

    def _float_sign(self, x: SSAValue) -> SSAValue:
        b, zero, one = self.b, self.b.constant(0, x.type), self.b.constant(1, x.type)
        moved = b.add(arith.CmpfOp(x, zero, "one")).results[0]
        unit = b.op(math.CopySignOp, [one, x], x.type)
        return b.op(arith.SelectOp, [moved, unit, x], x.type)

    def _float_remainder(self, operands: list[SSAValue], floored: bool) -> SSAValue:
        b, (x, y) = self.b, operands
        rest = b.op(loop.RemfOp, [x, y], x.type)
        if not floored:
            return rest
        zero = b.constant(0, x.type)
        is_rest = b.add(arith.CmpfOp(rest, zero, "une")).results[0]
        signs = [b.add(arith.CmpfOp(v, zero, "olt")).results[0] for v in (rest, y)]
        differ = b.op(arith.XOrIOp, signs, i1)
        moved = b.op(arith.AddfOp, [rest, y], x.type)
        move = b.op(arith.AndIOp, [is_rest, differ], i1)
        nothing = b.op(math.CopySignOp, [zero, y], x.type)
        kept = b.op(arith.SelectOp, [is_rest, rest, nothing], x.type)
        return b.op(arith.SelectOp, [move, moved, kept], x.type)

    def _integer(self, node: Scalar, operands: list[SSAValue]) -> SSAValue:
        b, type, signed = self.b, operands[0].type, is_signed(node.dtype)
        by_sign = _SIGNED_BINARY if signed else _UNSIGNED_BINARY
        kind = _INTEGER_BINARY.get(node.op) or by_sign.get(node.op)
        if node.op in ("shl", "shr"):
            return self._shift(node, operands, signed)
        if node.op in ("div", "rem", "mod", "floordiv"):
            return self._division(node.op, operands, signed)
        if kind is not None:
            return b.op(kind, operands, type)
        (x,) = operands
        zero = b.constant(0, type)
        special: dict[str, Callable[[], SSAValue]] = {
            "neg": lambda: b.op(arith.SubiOp, [zero, x], type),
            "not": lambda: b.op(arith.XOrIOp, [x, b.constant(-1, type)], type),
            "abs": lambda: self._integer_abs(x, zero) if signed else x,
            "sign": lambda: self._integer_sign(x, signed),
        }
        if node.op not in special:
            raise TargetError(f"CPU code has no integer form of '{node.op}'")
        return special[node.op]()

    def _integer_abs(self, x: SSAValue, zero: SSAValue) -> SSAValue:
        return self.b.op(arith.MaxSIOp, [x, self.b.op(arith.SubiOp, [zero, x], x.type)], x.type)

    def _integer_sign(self, x: SSAValue, signed: bool) -> SSAValue:
        b, one = self.b, self.b.constant(1, x.type)
        if not signed:
            return b.op(arith.MinUIOp, [x, one], x.type)
        capped = b.op(arith.MinSIOp, [x, one], x.type)
        return b.op(arith.MaxSIOp, [capped, b.constant(-1, x.type)], x.type)

    def _shift(self, node: Scalar, operands: list[SSAValue], signed: bool) -> SSAValue:
        """A shift by the width or more leaves nothing but the sign."""
        b, (x, y), type, width = self.b, operands, operands[0].type, bit_width(node.dtype)
        fits = b.add(arith.CmpiOp(y, b.constant(width, type), "ult")).results[0]
        amount = b.op(arith.SelectOp, [fits, y, b.constant(width - 1, type)], type)
        if node.op == "shr" and signed:
            return b.op(arith.ShRSIOp, [x, amount], type)
        kind = arith.ShLIOp if node.op == "shl" else arith.ShRUIOp
        shifted = b.op(kind, [x, amount], type)
        return b.op(arith.SelectOp, [fits, shifted, b.constant(0, type)], type)

    def _division(self, op: str, operands: list[SSAValue], signed: bool) -> SSAValue:
        """Division that never traps: x / 0 is 0, and the least value over -1 wraps."""
        b, (x, y), type = self.b, operands, operands[0].type
        zero, one = b.constant(0, type), b.constant(1, type)
        is_zero = b.add(arith.CmpiOp(y, zero, "eq")).results[0]
        unsafe = is_zero
        if signed:
            minus = b.add(arith.CmpiOp(y, b.constant(-1, type), "eq")).results[0]
            unsafe = b.op(arith.OrIOp, [is_zero, minus], i1)
        safe = b.op(arith.SelectOp, [unsafe, one, y], type)
        table = _SIGNED_BINARY if signed else _UNSIGNED_BINARY
        rest = b.op(table["rem"], [x, safe], type)
        if op in ("rem", "mod"):
            return self._floored(rest, y) if op == "mod" and signed else rest
        if op == "floordiv" and signed:
            x = b.op(arith.SubiOp, [x, self._floored(rest, y)], type)
        quotient = b.op(table["div"], [x, safe], type)
        if signed:
            negated = b.op(arith.SubiOp, [zero, x], type)
            quotient = b.op(arith.SelectOp, [minus, negated, quotient], type)
        return b.op(arith.SelectOp, [is_zero, zero, quotient], type)

    def _floored(self, rest: SSAValue, y: SSAValue) -> SSAValue:
        b, type = self.b, rest.type
        zero = b.constant(0, type)
        is_rest = b.add(arith.CmpiOp(rest, zero, "ne")).results[0]
        mixed = b.op(arith.XOrIOp, [rest, y], type)
        differ = b.add(arith.CmpiOp(mixed, zero, "slt")).results[0]
        move = b.op(arith.AndIOp, [is_rest, differ], i1)
        moved = b.op(arith.AddiOp, [rest, y], type)
        return b.op(arith.SelectOp, [move, moved, rest], type)

    def _cast(self, node: Scalar) -> SSAValue:
        (source,) = node.args
        return convert(self.b, self.lower(source), source.dtype, node.dtype)


def to_register(b: LoopBuilder, value: SSAValue, dtype: np.dtype) -> SSAValue:
    """A value as read from memory, in its register type."""
    wide = compute_type(dtype)
    if value.type == wide:
        return value
    return b.op(arith.IndexCastOp if dtype == I64 else arith.ExtFOp, [value], wide)


def to_memory(b: LoopBuilder, value: SSAValue, dtype: np.dtype) -> SSAValue:
    """A register value as it is written to memory."""
    narrow = storage_type(dtype)
    if value.type == narrow:
        return value
    return b.op(arith.IndexCastOp if dtype == I64 else arith.TruncFOp, [value], narrow)


def convert(b: LoopBuilder, value: SSAValue, source: np.dtype, target: np.dtype) -> SSAValue:
    """Numpy's ``astype`` on a register value."""
    if isinstance(value.type, IndexType):
        value = b.op(arith.IndexCastOp, [value], IntegerType(64))
    if target == BOOL:
        return _to_bool(b, value, source)
    if is_float(source):
        return _from_float(b, value, target)
    type = compute_type(target)
    if is_float(target):
        kind = arith.SIToFPOp if is_signed(source) else arith.UIToFPOp
        return round_to(b, b.op(kind, [value], type), target)
    return _resize(b, value, is_signed(source), type)


def round_to(b: LoopBuilder, value: SSAValue, dtype: np.dtype) -> SSAValue:
    """A register value rounded to a narrow float dtype."""
    narrow = storage_type(dtype)
    if narrow == value.type:
        return value
    return b.op(arith.ExtFOp, [b.op(arith.TruncFOp, [value], narrow)], value.type)


def lower_dim(b: LoopBuilder, dim: Dim, symbols: Mapping[str, SSAValue]) -> SSAValue:
    """The value of a dimension whose symbols are known."""
    if not isinstance(dim, SymDim):
        return b.index(dim)
    total = b.index(0)
    for monomial, coefficient in dim.terms:
        term = b.index(coefficient)
        for atom in monomial:
            if not isinstance(atom, str):
                raise TargetError(f"the size {dim} is not a polynomial: not supported yet")
            term = b.mul_index(term, symbols[atom])
        total = b.add_index(total, term)
    return total


def _to_bool(b: LoopBuilder, value: SSAValue, source: np.dtype) -> SSAValue:
    if source == BOOL:
        return value
    zero = b.constant(0, value.type)
    if is_float(source):
        return b.add(arith.CmpfOp(value, zero, "une")).results[0]
    return b.add(arith.CmpiOp(value, zero, "ne")).results[0]


def _from_float(b: LoopBuilder, value: SSAValue, target: np.dtype) -> SSAValue:
    type = compute_type(target)
    if is_float(target):
        if type != value.type:
            kind = arith.ExtFOp if type == f64 else arith.TruncFOp
            value = b.op(kind, [value], type)
        return round_to(b, value, target)
    kind = arith.FPToSIOp if is_signed(target) else arith.FPToUIOp
    plain = storage_type(target)
    return _resize(b, b.op(kind, [value], plain), is_signed(target), type)


def _resize(b: LoopBuilder, value: SSAValue, signed: bool, type: Attribute) -> SSAValue:
    plain = IntegerType(64) if isinstance(type, IndexType) else type
    old, new = (t.width.data for t in (value.type, plain) if isinstance(t, IntegerType))
    if new < old:
        value = b.op(arith.TruncIOp, [value], plain)
    elif new > old:
        value = b.op(arith.ExtSIOp if signed else arith.ExtUIOp, [value], plain)
    return value if plain == type else b.op(arith.IndexCastOp, [value], type)


def _reads(node: Scalar) -> bool:
    return node.op == "load" or any(_reads(a) for a in node.args)
