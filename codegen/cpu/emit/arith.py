"""Arithmetic: tables from op to LLVM instruction or intrinsic, applied register by register."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xdsl.dialects import arith, math
from xdsl.dialects.builtin import IntegerType, VectorType, bf16, f64
from xdsl.ir import Attribute, Operation, SSAValue

from ....ir import loop
from ..builder import element_of
from .bfloat import like, narrow, widen
from .function import FunctionEmitter, Handler, literal

_INSTRUCTIONS: dict[type[Operation], str] = {
    arith.AddiOp: "add",
    arith.SubiOp: "sub",
    arith.MuliOp: "mul",
    arith.DivSIOp: "sdiv",
    arith.DivUIOp: "udiv",
    arith.RemSIOp: "srem",
    arith.RemUIOp: "urem",
    arith.AndIOp: "and",
    arith.OrIOp: "or",
    arith.XOrIOp: "xor",
    arith.ShLIOp: "shl",
    arith.ShRSIOp: "ashr",
    arith.ShRUIOp: "lshr",
    arith.AddfOp: "fadd",
    arith.SubfOp: "fsub",
    arith.MulfOp: "fmul",
    arith.DivfOp: "fdiv",
    arith.NegfOp: "fneg",
}
_INTRINSICS: dict[type[Operation], str] = {
    arith.MaxSIOp: "smax",
    arith.MinSIOp: "smin",
    arith.MaxUIOp: "umax",
    arith.MinUIOp: "umin",
    arith.MaximumfOp: "maximum",
    arith.MinimumfOp: "minimum",
    math.AbsFOp: "fabs",
    math.RoundEvenOp: "roundeven",
    math.FloorOp: "floor",
    math.CeilOp: "ceil",
    math.TruncOp: "trunc",
    math.SqrtOp: "sqrt",
    math.ExpOp: "exp",
    math.LogOp: "log",
    math.SinOp: "sin",
    math.CosOp: "cos",
    math.PowFOp: "pow",
    math.CopySignOp: "copysign",
    math.CtPopOp: "ctpop",
    math.FmaOp: "fma",
}
_LIBRARY: dict[type[Operation], str] = {
    math.ExpM1Op: "expm1",
    math.Log1pOp: "log1p",
    math.ErfOp: "erf",
    math.TanhOp: "tanh",
    math.TanOp: "tan",
    math.AsinOp: "asin",
    math.AcosOp: "acos",
    math.AtanOp: "atan",
    math.SinhOp: "sinh",
    math.CoshOp: "cosh",
    math.AsinhOp: "asinh",
    math.AcoshOp: "acosh",
    math.AtanhOp: "atanh",
    math.Atan2Op: "atan2",
    loop.RemfOp: "fmod",
}
_CASTS: dict[type[Operation], str] = {
    arith.SIToFPOp: "sitofp",
    arith.UIToFPOp: "uitofp",
    arith.ExtSIOp: "sext",
    arith.ExtUIOp: "zext",
    arith.TruncIOp: "trunc",
}
_INTEGER_PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
_FLOAT_PREDICATES = (
    *("false", "oeq", "ogt", "oge", "olt", "ole", "one", "ord"),
    *("ueq", "ugt", "uge", "ult", "ule", "une", "uno", "true"),
)


def emit_constant(e: FunctionEmitter, op: Any) -> None:
    """A scalar constant stands where it is used."""
    e.bind(op.result, [literal(op.value)])


def emit_instruction(e: FunctionEmitter, op: Operation) -> None:
    """One instruction a register."""
    _each(e, op, _INSTRUCTIONS[type(op)])


def emit_intrinsic(e: FunctionEmitter, op: Operation) -> None:
    """One intrinsic call a register."""
    name = _INTRINSICS[type(op)]
    _call_each(e, op, lambda type: f"llvm.{name}.{_suffix(type)}")


def emit_library(e: FunctionEmitter, op: Operation) -> None:
    """Calls of the C library, lane by lane."""
    name = _LIBRARY[type(op)]
    results: list[str] = []
    columns = zip(*(e.registers(o) for o in op.operands), strict=True)
    for piece, values in zip(e.pieces(op.results[0].type), columns, strict=True):
        results.append(_by_lane(e, name, piece, list(values)))
    e.bind(op.results[0], results)


def _by_lane(e: FunctionEmitter, name: str, piece: str, values: list[str]) -> str:
    lanes, _, element = piece.strip("<>").rpartition(" x ")
    function = name + ("f" if element == "float" else "")
    if not lanes:
        return e.intrinsic(function, element, [(element, v) for v in values])
    whole = "poison"
    for k in range(int(lanes)):
        parts = [e.define(f"extractelement {piece} {v}, i64 {k}") for v in values]
        value = e.intrinsic(function, element, [(element, p) for p in parts])
        whole = e.define(f"insertelement {piece} {whole}, {element} {value}, i64 {k}")
    return whole


def emit_cast(e: FunctionEmitter, op: Operation) -> None:
    """A conversion."""
    _convert(e, op, _CASTS[type(op)])


def emit_extend(e: FunctionEmitter, op: Any) -> None:
    """A conversion to wider floats."""
    if element_of(op.input.type) != bf16:
        _convert(e, op, "fpext")
        return
    values = [widen(e, v, lanes) for v, lanes in _lanes(e, op.input)]
    if element_of(op.result.type) == f64:
        types = zip(values, _lanes(e, op.result), strict=True)
        values = [
            e.define(f"fpext {like(n, 'float')} {v} to {like(n, 'double')}") for v, (_, n) in types
        ]
    e.bind(op.result, values)


def emit_truncate(e: FunctionEmitter, op: Any) -> None:
    """A conversion to narrower floats."""
    if element_of(op.result.type) != bf16:
        _convert(e, op, "fptrunc")
        return
    results: list[str] = []
    for value, lanes in _lanes(e, op.input):
        if element_of(op.input.type) == f64:
            text = f"fptrunc {like(lanes, 'double')} {value} to {like(lanes, 'float')}"
            value = e.define(text)
        results.append(narrow(e, value, lanes))
    e.bind(op.result, results)


def emit_float_to_integer(e: FunctionEmitter, op: Operation) -> None:
    """Saturates instead of being undefined; NaN becomes 0."""
    sign = "s" if isinstance(op, arith.FPToSIOp) else "u"
    sources, targets = e.pieces(op.operands[0].type), e.pieces(op.results[0].type)
    rows = zip(sources, e.registers(op.operands[0]), targets, strict=True)
    values = [
        e.intrinsic(f"llvm.fpto{sign}i.sat.{_suffix(b)}.{_suffix(a)}", b, [(a, v)])
        for a, v, b in rows
    ]
    e.bind(op.results[0], values)


def emit_nearest(e: FunctionEmitter, op: Any) -> None:
    """In the current rounding mode, which is to nearest."""
    sources, targets = e.pieces(op.source.type), e.pieces(op.result.type)
    rows = zip(sources, e.registers(op.source), targets, strict=True)
    values = [e.intrinsic(f"llvm.lrint.{_suffix(b)}.{_suffix(a)}", b, [(a, v)]) for a, v, b in rows]
    e.bind(op.result, values)


def emit_index_cast(e: FunctionEmitter, op: Any) -> None:
    """``index`` is i64: other widths are extended or cut."""
    old, new = (_width(v.type) for v in (op.operands[0], op.results[0]))
    if old == new:
        e.bind(op.results[0], e.registers(op.operands[0]))
    else:
        _convert(e, op, "sext" if new > old else "trunc")


def emit_compare(e: FunctionEmitter, op: Any) -> None:
    """A comparison."""
    is_float = isinstance(op, arith.CmpfOp)
    names = _FLOAT_PREDICATES if is_float else _INTEGER_PREDICATES
    _each(e, op, f"{'f' if is_float else 'i'}cmp {names[op.predicate.value.data]}")


def emit_bitcast(e: FunctionEmitter, op: Any) -> None:
    """The same bits as another type."""
    _convert(e, op, "bitcast")


def emit_select(e: FunctionEmitter, op: Any) -> None:
    """A choice between values that both exist."""
    condition, then, other = (e.registers(o) for o in op.operands)
    tests = e.pieces(op.operands[0].type)
    pieces = e.pieces(op.result.type)
    if len(condition) != len(pieces):
        condition, tests = condition * len(pieces), tests * len(pieces)
    rows = zip(tests, condition, pieces, then, other, strict=True)
    e.bind(op.result, [e.define(f"select {t} {c}, {p} {a}, {p} {b}") for t, c, p, a, b in rows])


def _lanes(e: FunctionEmitter, value: SSAValue) -> list[tuple[str, int]]:
    """The registers of a value with their lanes."""
    shape = value.type.get_shape() if isinstance(value.type, VectorType) else (1,)
    lanes = e.split(shape[-1])
    registers = e.registers(value)
    return list(zip(registers, lanes * (len(registers) // len(lanes)), strict=True))


def _each(e: FunctionEmitter, op: Operation, instruction: str) -> None:
    pieces = e.pieces(op.operands[0].type)
    columns = zip(*(e.registers(o) for o in op.operands), strict=True)
    texts = [
        f"{instruction} {piece} {', '.join(column)}"
        for piece, column in zip(pieces, columns, strict=True)
    ]
    e.bind(op.results[0], [e.define(text) for text in texts])


def _call_each(e: FunctionEmitter, op: Operation, name: Callable[[str], str]) -> None:
    pieces = e.pieces(op.results[0].type)
    columns = zip(*(e.registers(o) for o in op.operands), strict=True)
    calls = zip(pieces, columns, strict=True)
    e.bind(
        op.results[0],
        [e.intrinsic(name(piece), piece, [(piece, v) for v in column]) for piece, column in calls],
    )


def _convert(e: FunctionEmitter, op: Operation, instruction: str) -> None:
    sources, targets = e.pieces(op.operands[0].type), e.pieces(op.results[0].type)
    rows = zip(sources, e.registers(op.operands[0]), targets, strict=True)
    e.bind(op.results[0], [e.define(f"{instruction} {a} {v} to {b}") for a, v, b in rows])


def _suffix(type: str) -> str:
    names = {"float": "f32", "double": "f64", "half": "f16"}
    if type.startswith("<"):
        lanes, _, element = type[1:-1].partition(" x ")
        return f"v{lanes}{names.get(element, element)}"
    return names.get(type, type)


def _width(type: Attribute) -> int:
    if isinstance(type, VectorType):
        type = type.get_element_type()
    return type.width.data if isinstance(type, IntegerType) else 64


HANDLERS: dict[type[Operation], Handler] = {
    arith.ConstantOp: emit_constant,
    arith.ExtFOp: emit_extend,
    arith.TruncFOp: emit_truncate,
    arith.FPToSIOp: emit_float_to_integer,
    arith.FPToUIOp: emit_float_to_integer,
    arith.IndexCastOp: emit_index_cast,
    loop.NearestOp: emit_nearest,
    arith.CmpiOp: emit_compare,
    arith.CmpfOp: emit_compare,
    arith.SelectOp: emit_select,
    arith.BitcastOp: emit_bitcast,
    **dict.fromkeys(_INSTRUCTIONS, emit_instruction),
    **dict.fromkeys(_INTRINSICS, emit_intrinsic),
    **dict.fromkeys(_LIBRARY, emit_library),
    **dict.fromkeys(_CASTS, emit_cast),
}
