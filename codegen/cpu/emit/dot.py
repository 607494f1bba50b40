"""Products of narrow elements summed by words: the machine's instruction, or wider products."""

from __future__ import annotations

import itertools
from typing import Any

from xdsl.dialects.builtin import bf16
from xdsl.ir import Operation

from ....ir import loop
from .function import FunctionEmitter, Handler
from .memory import splat


def emit_dot(e: FunctionEmitter, op: Any) -> None:
    """One instruction a register of the accumulator."""
    rows, columns = op.accumulator.type.get_shape()
    lanes, count = e.split(columns), op.a.type.get_shape()[1]
    is_float = op.a.type.get_element_type() == bf16
    dot = _dot_of_pairs if is_float else _dot_of_bytes
    words = [_word(e, r, count, 16 if is_float else 8) for r in e.registers(op.a)]
    if op.a.type.get_shape()[0] == 1:
        words = words * rows
    weights, totals = e.registers(op.b), e.registers(op.accumulator)
    results: list[str] = []
    for row, column in itertools.product(range(rows), range(len(lanes))):
        total, width = totals[row * len(lanes) + column], lanes[column]
        results.append(dot(e, words[row], weights[column], total, width))
    e.bind(op.result, results)


def _word(e: FunctionEmitter, register: str, count: int, bits: int) -> str:
    """Up to a word of narrow elements as one; those left out are zeros."""
    if count == 1:
        return e.define(f"zext i{bits} {register} to i32")
    whole = 32 // bits
    if count < whole:
        order = ", ".join(f"i32 {k if k < count else count}" for k in range(whole))
        type, mask = f"<{count} x i{bits}>", f"<{whole} x i32> <{order}>"
        register = e.define(f"shufflevector {type} {register}, {type} zeroinitializer, {mask}")
    return e.define(f"bitcast <{whole} x i{bits}> {register} to i32")


def _dot_of_bytes(e: FunctionEmitter, word: str, weights: str, total: str, lanes: int) -> str:
    name = e.target.dot4.get(lanes)
    if name is None:
        return _widened_bytes(e, word, weights, total, lanes)
    return _instruction(e, name, (word, weights, total), "i32", f"<{4 * lanes} x i8>", lanes)


def _dot_of_pairs(e: FunctionEmitter, word: str, weights: str, total: str, lanes: int) -> str:
    name = e.target.dot2.get(lanes)
    if name is None:
        return _widened_pairs(e, word, weights, total, lanes)
    return _instruction(e, name, (word, weights, total), "float", f"<{2 * lanes} x bfloat>", lanes)


def _instruction(
    e: FunctionEmitter, name: str, values: tuple[str, str, str], sum: str, narrow: str, lanes: int
) -> str:
    """``name(total, word repeated, weights)``."""
    word, weights, total = values
    type, words = f"<{lanes} x {sum}>", f"<{lanes} x i32>"
    a = splat(e, word, "i32", lanes)
    operands = [e.define(f"bitcast {words} {v} to {narrow}") for v in (a, weights)]
    return e.intrinsic(name, type, [(type, total), *((narrow, v) for v in operands)])


def _widened_pairs(e: FunctionEmitter, word: str, weights: str, total: str, lanes: int) -> str:
    """A bf16 is the upper half of an f32: two products, each added with one rounding."""
    words, type = (t if lanes == 1 else f"<{lanes} x {t}>" for t in ("i32", "float"))
    ones = splat(e, "-65536", "i32", lanes)
    shift = splat(e, "16", "i32", lanes)
    pairs = [splat(e, word, "i32", lanes), weights]
    for half in (f"shl {words} {{}}, {shift}", f"and {words} {{}}, {ones}"):
        bits = [e.define(half.format(v)) for v in pairs]
        values = [e.define(f"bitcast {words} {v} to {type}") for v in bits]
        name = f"llvm.fma.{f'v{lanes}' if lanes > 1 else ''}f32"
        total = e.intrinsic(name, type, [(type, v) for v in (*values, total)])
    return total


def _widened_bytes(e: FunctionEmitter, word: str, weights: str, total: str, lanes: int) -> str:
    """Products of pairs of i16, which no pair of bytes exceeds, added in i32."""
    type = "i32" if lanes == 1 else f"<{lanes} x i32>"
    bytes, halves, sums = (f"<{4 * lanes} x {t}>" for t in ("i8", "i16", "i32"))
    a = e.define(f"bitcast {type} {splat(e, word, 'i32', lanes)} to {bytes}")
    b = e.define(f"bitcast {type} {weights} to {bytes}")
    a = e.define(f"zext {bytes} {a} to {halves}")
    b = e.define(f"sext {bytes} {b} to {halves}")
    wide = [e.define(f"sext {halves} {v} to {sums}") for v in (a, b)]
    products = e.define(f"mul {sums} {wide[0]}, {wide[1]}")
    size = 4 * lanes
    while size > lanes:
        parts = [_every_second(e, products, size, first) for first in (0, 1)]
        size //= 2
        products = e.define(f"add <{size} x i32> {parts[0]}, {parts[1]}")
    if lanes == 1:
        products = e.define(f"extractelement <1 x i32> {products}, i64 0")
    return e.define(f"add {type} {total}, {products}")


def _every_second(e: FunctionEmitter, value: str, size: int, first: int) -> str:
    order = ", ".join(f"i32 {k}" for k in range(first, size, 2))
    type = f"<{size} x i32>"
    return e.define(f"shufflevector {type} {value}, {type} poison, <{size // 2} x i32> <{order}>")


HANDLERS: dict[type[Operation], Handler] = {loop.DotOp: emit_dot}
