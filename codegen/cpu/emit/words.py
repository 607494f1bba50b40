"""Products of the fields of words, lane by lane: an instruction a register, or two."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from xdsl.ir import Operation

from ....ir import loop
from ....ir.errors import TargetError
from .function import FunctionEmitter, Handler
from .memory import spread


def emit_dot_words(e: FunctionEmitter, op: Any) -> None:
    """The machine's sum of products; templates use it only where there is one."""
    rows, columns = op.accumulator.type.get_shape()
    lanes = e.split(columns)
    a, b = (spread(e, v, rows, columns) for v in (op.a, op.b))
    dot = _bytes if op.fields.value.data == 4 else _halves
    totals, results = e.registers(op.accumulator), []
    for row, column in itertools.product(range(rows), range(len(lanes))):
        k = row * len(lanes) + column
        results.append(dot(e, (a[k], b[k]), totals[k], lanes[column]))
    e.bind(op.result, results)


def _bytes(e: FunctionEmitter, factors: tuple[str, str], total: str, lanes: int) -> str:
    words, fields = f"<{lanes} x i32>", f"<{4 * lanes} x i8>"
    casts = [e.define(f"bitcast {words} {v} to {fields}") for v in factors]
    name = _known(e.target.dot4, lanes)
    return e.intrinsic(name, words, [(words, total), *((fields, c) for c in casts)])


def _halves(e: FunctionEmitter, factors: tuple[str, str], total: str, lanes: int) -> str:
    words, fields = f"<{lanes} x i32>", f"<{2 * lanes} x i16>"
    casts = [e.define(f"bitcast {words} {v} to {fields}") for v in factors]
    pairs = e.intrinsic(_known(e.target.pairs, lanes), words, [(fields, c) for c in casts])
    return e.define(f"add {words} {total}, {pairs}")


def _known(names: Mapping[int, str], lanes: int) -> str:
    if lanes not in names:
        raise TargetError(f"there is no sum of products for {lanes} words")
    return names[lanes]


HANDLERS: dict[type[Operation], Handler] = {loop.DotWordsOp: emit_dot_words}
