"""Tiles from scalars and back: broadcast, iota, gather, reduction, scratch memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from xdsl.dialects.builtin import AnyFloat, IntegerType, VectorType
from xdsl.ir import Attribute, Operation

from ....ir import loop
from .function import FunctionEmitter, Handler, Registers, element_bits, llvm_type
from .memory import from_byte, splat

_INTEGER = {"add": "add", "mul": "mul", "max": "smax", "min": "smin"}
_INTEGER |= {"umax": "umax", "umin": "umin"}
_INTEGER |= {"and": "and", "or": "or", "xor": "xor"}
_FLOAT = {"add": "fadd", "mul": "fmul", "max": "fmaximum", "min": "fminimum"}
_JOIN = {"add": "fadd", "mul": "fmul"}


def emit_broadcast(e: FunctionEmitter, op: Any) -> None:
    """A splat a register; rows of a tile are the same registers again."""
    shape, element = op.result.type.get_shape(), llvm_type(op.result.type.get_element_type())
    lanes = e.split(shape[-1])
    if not isinstance(op.source.type, VectorType):
        distinct = {n: splat(e, e.register(op.source), element, n) for n in lanes}
        e.bind(op.result, [distinct[n] for n in lanes] * _count(shape[:-1]))
        return
    rows = _rows(e, op.source, shape)
    if op.source.type.get_shape()[-1] != shape[-1]:
        rows = [[splat(e, row[0], element, n) for n in lanes] for row in rows]
    e.bind(op.result, [register for row in rows for register in row])


def _rows(e: FunctionEmitter, source: Any, shape: tuple[int, ...]) -> list[Registers]:
    """The registers of each row of the result, as they are in the source."""
    own = source.type.get_shape()
    registers, width = e.registers(source), len(e.split(own[-1]))
    rows: list[Registers] = []
    for index in itertools.product(*(range(n) for n in shape[:-1])):
        position = 0
        for n, size in zip(index, own[:-1], strict=True):
            position = position * size + (n if size > 1 else 0)
        rows.append(registers[position * width : (position + 1) * width])
    return rows


def emit_iota(e: FunctionEmitter, op: Any) -> None:
    """Constants."""
    *outer, inner = op.result.type.get_shape()
    axis, registers = op.axis.value.data, []
    for index in itertools.product(*(range(n) for n in outer)):
        first = 0
        for lanes in e.split(inner):
            along = axis == len(outer)
            values = [first + k if along else index[axis] for k in range(lanes)]
            registers.append(_vector_literal(values))
            first += lanes
    e.bind(op.result, registers)


def emit_gather(e: FunctionEmitter, op: Any) -> None:
    """An element a lane: extract the position, load, insert."""
    element = op.result.type.get_element_type()
    is_bool = element == IntegerType(1)
    stored = "i8" if is_bool else llvm_type(element)
    base, results = e.register(op.source), []
    for offsets, lanes in zip(e.registers(op.offsets), _lanes(e, op.result.type), strict=True):
        whole = f"<{lanes} x {stored}>"
        value = "poison"
        for k in range(lanes):
            at = (
                offsets
                if lanes == 1
                else e.define(f"extractelement <{lanes} x i64> {offsets}, i64 {k}")
            )
            address = e.define(f"getelementptr inbounds {stored}, ptr {base}, i64 {at}")
            loaded = e.define(f"load {stored}, ptr {address}, align {element_bits(element) // 8}")
            value = (
                loaded
                if lanes == 1
                else e.define(f"insertelement {whole} {value}, {stored} {loaded}, i64 {k}")
            )
        results.append(from_byte(e, value, lanes) if is_bool else value)
    e.bind(op.result, results)


def emit_stack(e: FunctionEmitter, op: Any) -> None:
    """The registers of all rows."""
    e.bind(op.result, [register for row in op.rows for register in e.registers(row)])


def emit_alternate(e: FunctionEmitter, op: Any) -> None:
    """Registers below each other are joined, their lanes mixed, and cut to registers again."""
    element, rows = llvm_type(op.result.type.get_element_type()), len(op.rows)
    columns = zip(*(e.registers(row) for row in op.rows), strict=True)
    registers: list[str] = []
    for lanes, column in zip(_lanes(e, op.rows[0].type), columns, strict=True):
        joined, size = _joined(e, column, lanes, element)
        order = [row * lanes + lane for lane in range(lanes) for row in range(rows)]
        mixed, first = _choose(e, joined, size, element, order), 0
        for count in e.split(len(order)):
            piece = list(range(first, first + count))
            registers.append(_choose(e, mixed, len(order), element, piece))
            first += count
    e.bind(op.result, registers)


def _joined(e: FunctionEmitter, parts: Sequence[str], lanes: int, element: str) -> tuple[str, int]:
    """Registers side by side in one vector of a power of two times ``lanes``, and its size."""
    parts = list(parts)
    if lanes == 1:
        type = f"<1 x {element}>"
        parts = [e.define(f"insertelement {type} poison, {element} {p}, i64 0") for p in parts]
    while len(parts) > 1:
        type, order = f"<{lanes} x {element}>", list(range(2 * lanes))
        parts += ["poison"] * (len(parts) % 2)
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [_shuffle(e, type, pair, order) for pair in pairs]
        lanes *= 2
    return parts[0], lanes


def _choose(e: FunctionEmitter, value: str, size: int, element: str, order: list[int]) -> str:
    """Some lanes of a vector of ``size``."""
    type = f"<{size} x {element}>"
    if len(order) == 1:
        return e.define(f"extractelement {type} {value}, i64 {order[0]}")
    return _shuffle(e, type, (value, "poison"), order)


def emit_transpose(e: FunctionEmitter, op: Any) -> None:
    """Exchanges ever larger blocks between pairs of rows: log2(side) steps of a shuffle a row."""
    side, _ = op.source.type.get_shape()
    if side == 1:
        return e.bind(op.result, e.registers(op.source))
    type = f"<{side} x {llvm_type(op.source.type.get_element_type())}>"
    rows, distance = list(e.registers(op.source)), 1
    while distance < side:
        for low in (k for k in range(side) if not k & distance):
            high, pair = low + distance, (rows[low], rows[low + distance])
            rows[low] = _shuffle(e, type, pair, [_pick(j, distance, side, 0) for j in range(side)])
            rows[high] = _shuffle(e, type, pair, [_pick(j, distance, side, 1) for j in range(side)])
        distance *= 2
    e.bind(op.result, rows)


def _pick(lane: int, distance: int, side: int, high: int) -> int:
    """Which lane of (low row, high row) goes to a lane of the new low or high row."""
    from_high = bool(lane & distance)
    moved = lane + distance * (high - from_high)
    return moved + side * from_high


def _shuffle(e: FunctionEmitter, type: str, pair: tuple[str, str], lanes: list[int]) -> str:
    mask = ", ".join(f"i32 {n}" for n in lanes)
    low, high = pair
    return e.define(f"shufflevector {type} {low}, {type} {high}, <{len(lanes)} x i32> <{mask}>")


def emit_reduce(e: FunctionEmitter, op: Any) -> None:
    """Registers are combined pairwise while they are equally wide, then lane by lane."""
    element, combine = op.source.type.get_element_type(), op.combine.data
    parts = list(zip(e.registers(op.source), _lanes(e, op.source.type), strict=True))
    parts = _pairwise(e, parts, combine, element)
    total, *others = [_across(e, r, n, combine, element) for r, n in parts]
    for other in others:
        total = _combine(e, total, other, 1, combine, element)
    e.bind(op.result, [total])


def _pairwise(
    e: FunctionEmitter, parts: list[tuple[str, int]], combine: str, element: Attribute
) -> list[tuple[str, int]]:
    widest = parts[0][1]
    full, rest = [p for p in parts if p[1] == widest], [p for p in parts if p[1] != widest]
    while len(full) > 1:
        pairs = [
            (_combine(e, a, b, widest, combine, element), widest)
            for (a, _), (b, _) in zip(full[::2], full[1::2], strict=False)
        ]
        full = pairs + full[len(full) - len(full) % 2 :]
    return full + rest


def _across(e: FunctionEmitter, value: str, lanes: int, combine: str, element: Attribute) -> str:
    if lanes == 1:
        return value
    is_float = isinstance(element, AnyFloat)
    name = (_FLOAT if is_float else _INTEGER)[combine]
    type = llvm_type(element)
    suffix = f"v{lanes}{'f' if is_float else 'i'}{_bits(element)}"
    arguments = [(f"<{lanes} x {type}>", value)]
    if name in ("fadd", "fmul"):
        start = "0x8000000000000000" if name == "fadd" else "1.0"
        call = f"call reassoc {type} @llvm.vector.reduce.{name}.{suffix}"
        e.intrinsics.add(
            f"declare {type} @llvm.vector.reduce.{name}.{suffix}({type}, {arguments[0][0]})"
        )
        return e.define(f"{call}({type} {start}, {arguments[0][0]} {value})")
    return e.intrinsic(f"llvm.vector.reduce.{name}.{suffix}", type, arguments)


def _combine(
    e: FunctionEmitter, a: str, b: str, lanes: int, combine: str, element: Attribute
) -> str:
    scalar = llvm_type(element)
    type = scalar if lanes == 1 else f"<{lanes} x {scalar}>"
    if isinstance(element, AnyFloat) and combine in _JOIN:
        return e.define(f"{_JOIN[combine]} {type} {a}, {b}")
    if not isinstance(element, AnyFloat) and combine in ("add", "mul", "and", "or", "xor"):
        return e.define(f"{combine} {type} {a}, {b}")
    is_float = isinstance(element, AnyFloat)
    name = {"max": "maximum", "min": "minimum"}[combine] if is_float else _INTEGER[combine]
    suffix = f"{'' if lanes == 1 else f'v{lanes}'}{'f' if is_float else 'i'}{_bits(element)}"
    return e.intrinsic(f"llvm.{name}.{suffix}", type, [(type, a), (type, b)])


def emit_sum_rows(e: FunctionEmitter, op: Any) -> None:
    """A step adds neighbours in two rows, and puts the sums of both into one: half as many rows."""
    side, _ = op.source.type.get_shape()
    type = f"<{side} x {llvm_type(op.source.type.get_element_type())}>"
    even, odd = (list(range(first, 2 * side, 2)) for first in (0, 1))
    rows = list(e.registers(op.source))
    while len(rows) > 1:
        pairs = zip(rows[::2], rows[1::2], strict=True)
        halves = [(_shuffle(e, type, p, even), _shuffle(e, type, p, odd)) for p in pairs]
        rows = [e.define(f"fadd {type} {first}, {second}") for first, second in halves]
    e.bind(op.result, rows)


def emit_alloca(e: FunctionEmitter, op: Any) -> None:
    """Where the function begins, so that a loop does not eat the stack."""
    element = llvm_type(op.result.type.element_type)
    e.bind(op.result, [e.allocate(op.count.value.data, element)])


def _lanes(e: FunctionEmitter, type: Any) -> list[int]:
    *outer, inner = type.get_shape()
    return e.split(inner) * _count(outer)


def _count(shape: Any) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _bits(element: Attribute) -> int:
    return 1 if element == IntegerType(1) else element_bits(element)


def _vector_literal(values: list[int]) -> str:
    if len(values) == 1:
        return str(values[0])
    return f"<{', '.join(f'i64 {v}' for v in values)}>"


def emit_recast(e: FunctionEmitter, op: Any) -> None:
    """The same pointer."""
    e.bind(op.result, [e.register(op.source)])


HANDLERS: dict[type[Operation], Handler] = {
    loop.BroadcastOp: emit_broadcast,
    loop.IotaOp: emit_iota,
    loop.GatherOp: emit_gather,
    loop.AlternateOp: emit_alternate,
    loop.TransposeOp: emit_transpose,
    loop.StackOp: emit_stack,
    loop.ReduceOp: emit_reduce,
    loop.SumRowsOp: emit_sum_rows,
    loop.AllocaOp: emit_alloca,
    loop.RecastOp: emit_recast,
}
