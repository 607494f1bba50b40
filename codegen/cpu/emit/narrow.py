"""Integers of 32 bits to bytes, saturating: four machine vectors to one; and bytes to words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xdsl.ir import Operation

from ....ir import loop
from .function import FunctionEmitter, Handler

_FOUR = 4


def emit_saturate(e: FunctionEmitter, op: Any) -> None:
    """Whole machine vectors are packed by fours."""
    signed, lanes = bool(op.signed.value.data), e.target.lanes(32)
    pieces, values = e.pieces(op.source.type), e.registers(op.source)
    whole = [n for n, piece in enumerate(pieces) if piece == f"<{lanes} x i32>"]
    packed: dict[int, str] = {}
    if e.target.packs:
        for first in range(0, len(whole) - _FOUR + 1, _FOUR):
            group = whole[first : first + _FOUR]
            bytes = _pack(e, [values[n] for n in group], lanes, signed)
            packed |= zip(group, bytes, strict=True)
    rows = enumerate(zip(pieces, values, strict=True))
    e.bind(op.result, [packed.get(n) or _cut(e, piece, v, signed) for n, (piece, v) in rows])


def _pack(e: FunctionEmitter, values: list[str], lanes: int, signed: bool) -> list[str]:
    """The bytes of four vectors."""
    halves_name, *bytes_names = e.target.packs
    words, halves, bytes = f"<{lanes} x i32>", f"<{2 * lanes} x i16>", f"<{4 * lanes} x i8>"
    pairs = [
        e.intrinsic(halves_name, halves, [(words, a), (words, b)])
        for a, b in (values[:2], values[2:])
    ]
    whole = e.intrinsic(bytes_names[signed], bytes, [(halves, p) for p in pairs])
    groups = lanes // _FOUR
    order = [_FOUR * group + piece for piece in range(_FOUR) for group in range(groups)]
    turned = _shuffle(e, words, e.define(f"bitcast {bytes} {whole} to {words}"), order)
    turned = e.define(f"bitcast {words} {turned} to {bytes}")
    return [
        _shuffle(e, bytes, turned, list(range(lanes * piece, lanes * (piece + 1))))
        for piece in range(_FOUR)
    ]


def _cut(e: FunctionEmitter, piece: str, value: str, signed: bool) -> str:
    """The bytes of one vector."""
    lanes = piece.strip("<>").partition(" x ")[0] if piece.startswith("<") else ""
    suffix, byte = (f"v{lanes}i32", f"<{lanes} x i8>") if lanes else ("i32", "i8")
    for name, limit in (("smax", -128 if signed else 0), ("smin", 127 if signed else 255)):
        bound = f"splat (i32 {limit})" if lanes else str(limit)
        value = e.intrinsic(f"llvm.{name}.{suffix}", piece, [(piece, value), (piece, bound)])
    return e.define(f"trunc {piece} {value} to {byte}")


def _shuffle(e: FunctionEmitter, type: str, value: str, order: list[int]) -> str:
    return e.define(f"shufflevector {type} {value}, {type} poison, {_mask(order)}")


def emit_interleave(e: FunctionEmitter, op: Any) -> None:
    """Two pairs of rows side by side, then lane by lane."""
    lanes = e.split(op.result.type.get_shape()[-1])
    columns = zip(*(e.registers(row) for row in op.rows), strict=True)
    results = [_interleave(e, list(c), n) for c, n in zip(columns, lanes, strict=True)]
    e.bind(op.result, results)


def _interleave(e: FunctionEmitter, rows: list[str], lanes: int) -> str:
    if lanes == 1:
        rows = [e.define(f"insertelement <1 x i8> poison, i8 {r}, i64 0") for r in rows]
    row, pair = f"<{lanes} x i8>", f"<{2 * lanes} x i8>"
    side_by_side = _mask(range(2 * lanes))
    pairs = [
        e.define(f"shufflevector {row} {a}, {row} {b}, {side_by_side}")
        for a, b in (rows[:2], rows[2:])
    ]
    order = _mask(lanes * n + lane for lane in range(lanes) for n in range(_FOUR))
    bytes = e.define(f"shufflevector {pair} {pairs[0]}, {pair} {pairs[1]}, {order}")
    words = "i32" if lanes == 1 else f"<{lanes} x i32>"
    return e.define(f"bitcast <{_FOUR * lanes} x i8> {bytes} to {words}")


def _mask(lanes: Iterable[int]) -> str:
    order = [f"i32 {n}" for n in lanes]
    return f"<{len(order)} x i32> <{', '.join(order)}>"


HANDLERS: dict[type[Operation], Handler] = {
    loop.SaturateOp: emit_saturate,
    loop.InterleaveOp: emit_interleave,
}
