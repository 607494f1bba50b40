"""Products of the bytes of words, lane by lane: one instruction a register."""

from __future__ import annotations

import itertools
from typing import Any

from xdsl.ir import Operation

from ....ir import loop
from ....ir.errors import TargetError
from .function import FunctionEmitter, Handler
from .memory import spread


def emit_dot_words(e: FunctionEmitter, op: Any) -> None:
    """The machine's sum of products of bytes; templates use it only where there is one."""
    rows, columns = op.accumulator.type.get_shape()
    lanes = e.split(columns)
    a, b = (spread(e, v, rows, columns) for v in (op.a, op.b))
    totals, results = e.registers(op.accumulator), []
    for row, column in itertools.product(range(rows), range(len(lanes))):
        k, width = row * len(lanes) + column, lanes[column]
        name = e.target.dot4.get(width)
        if name is None:
            raise TargetError(f"there is no sum of products of bytes for {width} words")
        words, bytes = f"<{width} x i32>", f"<{4 * width} x i8>"
        casts = [e.define(f"bitcast {words} {v} to {bytes}") for v in (a[k], b[k])]
        results.append(e.intrinsic(name, words, [(words, totals[k]), *((bytes, c) for c in casts)]))
    e.bind(op.result, results)


HANDLERS: dict[type[Operation], Handler] = {loop.DotWordsOp: emit_dot_words}
