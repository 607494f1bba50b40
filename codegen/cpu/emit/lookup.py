"""Tables of 256 bytes: choices among four registers, or a load for each byte."""

from __future__ import annotations

from typing import Any

from xdsl.ir import Operation

from ....ir import loop
from .function import FunctionEmitter, Handler

_WIDE = 64


def emit_lookup(e: FunctionEmitter, op: Any) -> None:
    """As many bytes at once as a register holds."""
    pieces = e.pieces(op.codes.type)
    lanes = [int(p.strip("<>").split(" x ")[0]) if p.startswith("<") else 1 for p in pieces]
    rows = list(zip(e.registers(op.codes), lanes, strict=True))
    base = e.register(op.table)
    if not e.target.choose:
        e.bind(op.result, [_loaded(e, base, codes, count) for codes, count in rows])
        return
    table = [_part(e, base, k) for k in range(4)]
    step = max(1, _WIDE // max(lanes))
    results: list[str] = []
    for first in range(0, len(rows), step):
        results += _chosen(e, table, rows[first : first + step])
    e.bind(op.result, results)


def _part(e: FunctionEmitter, base: str, number: int) -> str:
    address = e.define(f"getelementptr inbounds i8, ptr {base}, i64 {number * _WIDE}")
    return e.define(f"load <{_WIDE} x i8>, ptr {address}, align 1")


def _chosen(e: FunctionEmitter, table: list[str], rows: list[tuple[str, int]]) -> list[str]:
    """Some registers side by side in a wide one, looked up, and apart again."""
    type, whole, start = f"<{_WIDE} x i8>", "zeroinitializer", 0
    for codes, count in rows:
        whole = _inserted(e, whole, codes, count, start)
        start += count
    halves = [
        e.intrinsic(e.target.choose, type, [(type, a), (type, whole), (type, b)])
        for a, b in (table[:2], table[2:])
    ]
    high = e.define(f"icmp slt {type} {whole}, zeroinitializer")
    found = e.define(f"select <{_WIDE} x i1> {high}, {type} {halves[1]}, {type} {halves[0]}")
    results, start = [], 0
    for _, count in rows:
        results.append(_extracted(e, found, count, start))
        start += count
    return results


def _inserted(e: FunctionEmitter, whole: str, codes: str, count: int, start: int) -> str:
    type = f"<{_WIDE} x i8>"
    if count == 1:
        return e.define(f"insertelement {type} {whole}, i8 {codes}, i64 {start}")
    part = f"<{count} x i8>"
    order = [k if k < count else 0 for k in range(_WIDE)]
    wide = e.define(f"shufflevector {part} {codes}, {part} poison, {_order(order)}")
    inside = range(start, start + count)
    order = [_WIDE + k - start if k in inside else k for k in range(_WIDE)]
    return e.define(f"shufflevector {type} {whole}, {type} {wide}, {_order(order)}")


def _extracted(e: FunctionEmitter, whole: str, count: int, start: int) -> str:
    type = f"<{_WIDE} x i8>"
    if count == 1:
        return e.define(f"extractelement {type} {whole}, i64 {start}")
    order = list(range(start, start + count))
    return e.define(f"shufflevector {type} {whole}, {type} poison, {_order(order)}")


def _order(lanes: list[int]) -> str:
    return f"<{len(lanes)} x i32> <{', '.join(f'i32 {k}' for k in lanes)}>"


def _loaded(e: FunctionEmitter, base: str, codes: str, count: int) -> str:
    whole = "poison"
    for k in range(count):
        one = codes
        if count > 1:
            one = e.define(f"extractelement <{count} x i8> {codes}, i64 {k}")
        at = e.define(f"zext i8 {one} to i64")
        address = e.define(f"getelementptr inbounds i8, ptr {base}, i64 {at}")
        value = e.define(f"load i8, ptr {address}, align 1")
        if count == 1:
            return value
        whole = e.define(f"insertelement <{count} x i8> {whole}, i8 {value}, i64 {k}")
    return whole


HANDLERS: dict[type[Operation], Handler] = {loop.LookupOp: emit_lookup}
