"""Products of bytes summed in groups of four: the machine's instruction, or wider products."""

from __future__ import annotations

import itertools
from typing import Any

from xdsl.ir import Operation

from ....ir import loop
from .function import FunctionEmitter, Handler
from .memory import splat


def emit_dot(e: FunctionEmitter, op: Any) -> None:
    """One instruction a register of the accumulator."""
    rows, columns = op.accumulator.type.get_shape()
    lanes, count = e.split(columns), op.a.type.get_shape()[1]
    words = [_word(e, r, count) for r in e.registers(op.a)]
    if op.a.type.get_shape()[0] == 1:
        words = words * rows
    weights, totals = e.registers(op.b), e.registers(op.accumulator)
    results: list[str] = []
    for row, column in itertools.product(range(rows), range(len(lanes))):
        total, width = totals[row * len(lanes) + column], lanes[column]
        results.append(_dot(e, words[row], weights[column], total, width))
    e.bind(op.result, results)


def _word(e: FunctionEmitter, register: str, count: int) -> str:
    """Up to four bytes as a word; those left out are zeros."""
    if count == 1:
        return e.define(f"zext i8 {register} to i32")
    if count < 4:
        order = ", ".join(f"i32 {k if k < count else count}" for k in range(4))
        type = f"<{count} x i8>"
        whole = f"shufflevector {type} {register}, {type} zeroinitializer, <4 x i32> <{order}>"
        register = e.define(whole)
    return e.define(f"bitcast <4 x i8> {register} to i32")


def _dot(e: FunctionEmitter, word: str, weights: str, total: str, lanes: int) -> str:
    name = e.target.dot4.get(lanes)
    if name is None:
        return _widened(e, word, weights, total, lanes)
    type = f"<{lanes} x i32>"
    a = splat(e, word, "i32", lanes)
    bytes = f"<{4 * lanes} x i8>"
    operands = [e.define(f"bitcast {type} {v} to {bytes}") for v in (a, weights)]
    return e.intrinsic(name, type, [(type, total), *((bytes, v) for v in operands)])


def _widened(e: FunctionEmitter, word: str, weights: str, total: str, lanes: int) -> str:
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
