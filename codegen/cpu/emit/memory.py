"""Loads, stores and fused multiply-add on register tiles; memory from the heap."""

from __future__ import annotations

import itertools
from typing import Any

from xdsl.dialects.builtin import IntegerType, VectorType
from xdsl.ir import Attribute, Operation, SSAValue

from ....ir import loop
from ....ir.errors import TargetError
from ..builder import constant_of
from .function import FunctionEmitter, Handler, element_bits, llvm_type

BOOL = IntegerType(1)


def emit_load(e: FunctionEmitter, op: Any) -> None:
    """A load a register; a bool is a byte in memory."""
    type = op.result.type
    element = _element(type)
    stored = "i8" if element == BOOL else llvm_type(element)
    base = e.register(op.source)
    repeat = isinstance(type, VectorType) and constant_of(op.strides[-1]) == 0
    registers: list[str] = []
    for position, lanes in _positions(e, op.offset, op.strides, type):
        address = e.define(f"getelementptr inbounds {stored}, ptr {base}, i64 {position}")
        piece = stored if lanes == 1 or repeat else f"<{lanes} x {stored}>"
        loaded = e.define(f"load {piece}, ptr {address}, align {element_bits(element) // 8}")
        if repeat and lanes > 1:
            loaded = splat(e, loaded, stored, lanes)
        registers.append(from_byte(e, loaded, lanes) if element == BOOL else loaded)
    e.bind(op.result, registers)


def emit_store(e: FunctionEmitter, op: Any) -> None:
    """A store a register."""
    type = op.value.type
    element = _element(type)
    stored = "i8" if element == BOOL else llvm_type(element)
    base, values = e.register(op.target), e.registers(op.value)
    places = _positions(e, op.offset, op.strides, type)
    for (position, lanes), value in zip(places, values, strict=True):
        address = e.define(f"getelementptr inbounds {stored}, ptr {base}, i64 {position}")
        piece = stored if lanes == 1 else f"<{lanes} x {stored}>"
        if element == BOOL:
            value = e.define(f"zext {_like(lanes, 'i1')} {value} to {piece}")
        align = element_bits(element) // 8 * (lanes if op.past_caches else 1)
        line = f"  store {piece} {value}, ptr {address}, align {align}"
        e.lines.append(line + (", !nontemporal !{i32 1}" if op.past_caches else ""))


def emit_aligned(e: FunctionEmitter, op: Any) -> None:
    """The low bits of the address are 0."""
    address = e.define(f"ptrtoint ptr {e.register(op.source)} to i64")
    low = e.define(f"and i64 {address}, {e.target.lanes(8) - 1}")
    e.bind(op.result, [e.define(f"icmp eq i64 {low}, 0")])


def emit_fence(e: FunctionEmitter, op: Any) -> None:
    """The strongest: weaker ones are no instruction on x86, and order no stores past the caches."""
    e.lines.append("  fence seq_cst")


def emit_prefetch(e: FunctionEmitter, op: Any) -> None:
    """To be kept in all caches, or in all but the smallest, which is in use."""
    element = llvm_type(op.source.type.element_type)
    base, offset = e.register(op.source), e.register(op.offset)
    address = e.define(f"getelementptr {element}, ptr {base}, i64 {offset}")
    writes, locality = int(bool(op.writes.value.data)), 3 if op.near.value.data else 2
    e.intrinsics.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
    e.lines.append(
        f"  call void @llvm.prefetch.p0(ptr {address}, i32 {writes}, i32 {locality}, i32 1)"
    )


def emit_fma(e: FunctionEmitter, op: Any) -> None:
    """``llvm.fma`` a register of the accumulator; a size of 1 repeats."""
    rows, columns = op.accumulator.type.get_shape()
    element = _element(op.accumulator.type)
    pieces = e.pieces(op.accumulator.type)
    width = len(e.split(columns))
    a = spread(e, op.a, rows, columns)
    b = spread(e, op.b, rows, columns)
    accumulators = e.registers(op.accumulator)
    results: list[str] = []
    for row, column in itertools.product(range(rows), range(width)):
        k = row * width + column
        lanes = e.split(columns)[column]
        name = f"llvm.fma.{f'v{lanes}' if lanes > 1 else ''}f{element_bits(element)}"
        operands = [a[k], b[k], accumulators[k]]
        results.append(e.intrinsic(name, pieces[k], [(pieces[k], v) for v in operands]))
    e.bind(op.result, results)


def emit_malloc(e: FunctionEmitter, op: Any) -> None:
    """The C library's; an element of padding, since nothing is no address."""
    size = element_bits(op.result.type.element_type) // 8
    count = e.define(f"add i64 {e.register(op.count)}, 1")
    address = e.intrinsic("malloc", "ptr", [("i64", e.define(f"mul i64 {count}, {size}"))])
    e.bind(op.result, [address])


def emit_free(e: FunctionEmitter, op: Any) -> None:
    """The C library's."""
    e.intrinsics.add("declare void @free(ptr)")
    e.lines.append(f"  call void @free(ptr {e.register(op.source)})")


def spread(e: FunctionEmitter, value: SSAValue, rows: int, columns: int) -> list[str]:
    """The registers of a 2-D tile, repeated to ``rows`` x ``columns``."""
    if not isinstance(value.type, VectorType):
        raise TargetError(f"expected a tile, got {value.type}")
    own_rows, own_columns = value.type.get_shape()
    element = value.type.get_element_type()
    registers = e.registers(value)
    if own_columns == 1 and columns > 1:
        lanes = e.split(columns)
        registers = [v for r in registers for v in _splats(e, r, llvm_type(element), lanes)]
    return registers * rows if own_rows == 1 else registers


def _positions(
    e: FunctionEmitter, offset: SSAValue, strides: Any, type: Attribute
) -> list[tuple[str, int]]:
    """The element position and the lanes of every register of a tile."""
    start = e.register(offset)
    if not isinstance(type, VectorType):
        return [(start, 1)]
    *outer, inner = type.get_shape()
    step = constant_of(strides[-1])
    if step not in (0, 1):
        raise TargetError("the innermost stride of a tile is 1 or 0")
    places: list[tuple[str, int]] = []
    for index in itertools.product(*(range(n) for n in outer)):
        row = start
        for k, stride in zip(index, strides, strict=False):
            row = _advance(e, row, k, e.register(stride))
        column = 0
        for lanes in e.split(inner):
            places.append((_advance(e, row, column * step, "1"), lanes))
            column += lanes
    return places


def _advance(e: FunctionEmitter, position: str, count: int, stride: str) -> str:
    if count == 0:
        return position
    scaled = count * int(stride) if stride.isdecimal() else e.define(f"mul i64 {stride}, {count}")
    return e.define(f"add i64 {position}, {scaled}")


def splat(e: FunctionEmitter, value: str, element: str, lanes: int) -> str:
    """A scalar in every lane of a machine vector."""
    if lanes == 1:
        return value
    type = f"<{lanes} x {element}>"
    first = e.define(f"insertelement {type} poison, {element} {value}, i64 0")
    mask = f"<{lanes} x i32> zeroinitializer"
    return e.define(f"shufflevector {type} {first}, {type} poison, {mask}")


def _splats(e: FunctionEmitter, value: str, element: str, lanes: list[int]) -> list[str]:
    """A scalar in vectors of several widths: those that are narrower are part of the widest."""
    wide = splat(e, value, element, lanes[0])
    if element == "float" and min(lanes) < lanes[0]:
        # Else LLVM repeats the scalar anew for each width, which takes the multipliers' time.
        type = f"<{lanes[0]} x float>"
        wide = e.intrinsic(f"llvm.arithmetic.fence.v{lanes[0]}f32", type, [(type, wide)])
    parts = {lanes[0]: wide}
    for n in lanes:
        if n not in parts:
            mask = ", ".join(f"i32 {k}" for k in range(n))
            type = f"<{lanes[0]} x {element}>"
            parts[n] = e.define(
                f"shufflevector {type} {wide}, {type} poison, <{n} x i32> <{mask}>"
                if n > 1
                else f"extractelement {type} {wide}, i64 0"
            )
    return [parts[n] for n in lanes]


def from_byte(e: FunctionEmitter, value: str, lanes: int) -> str:
    """A bool from the byte it is in memory."""
    type = _like(lanes, "i8")
    zero = "0" if lanes == 1 else "zeroinitializer"
    return e.define(f"icmp ne {type} {value}, {zero}")


def _like(lanes: int, element: str) -> str:
    return element if lanes == 1 else f"<{lanes} x {element}>"


def _element(type: Attribute) -> Attribute:
    return type.get_element_type() if isinstance(type, VectorType) else type


HANDLERS: dict[type[Operation], Handler] = {
    loop.LoadOp: emit_load,
    loop.StoreOp: emit_store,
    loop.AlignedOp: emit_aligned,
    loop.FenceOp: emit_fence,
    loop.FmaOp: emit_fma,
    loop.PrefetchOp: emit_prefetch,
    loop.MallocOp: emit_malloc,
    loop.FreeOp: emit_free,
}
