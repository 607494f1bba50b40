"""The loop over columns: register tiles as wide as fit, and what is left over.

A static number of columns ends in one narrower tile; a symbolic one in a loop of single elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType
from xdsl.ir import SSAValue

from ..builder import LoopBuilder, constant_of

Carried = Sequence[SSAValue]
Body = Callable[[SSAValue, int], None]
Step = Callable[[SSAValue, int, Carried], Carried]


def for_columns(b: LoopBuilder, start: SSAValue, stop: SSAValue, width: int, body: Body) -> None:
    """Calls ``body(first column, lanes)`` for tiles that cover ``start`` to ``stop``."""
    whole, rest = _split(b, start, stop, width)
    if constant_of(whole) != constant_of(start) or constant_of(start) is None:
        with b.loop(start, whole, width) as column:
            body(column, width)
    if rest:
        body(whole, rest)
    elif rest is None:
        with b.loop(whole, stop) as column:
            body(column, 1)


def _split(
    b: LoopBuilder, start: SSAValue, stop: SSAValue, width: int
) -> tuple[SSAValue, int | None]:
    """Where whole tiles end, and how many columns are left; None when that is not known."""
    first, last = constant_of(start), constant_of(stop)
    if first is not None and last is not None:
        rest = (last - first) % width
        return b.index(last - rest), rest
    if width == 1:
        return stop, 0
    length = b.op(arith.SubiOp, [stop, start], IndexType())
    rest = b.op(arith.RemUIOp, [length, b.index(width)], IndexType())
    return b.op(arith.SubiOp, [stop, rest], IndexType()), None


def fold_columns(
    b: LoopBuilder,
    stop: SSAValue,
    width: int,
    initial: Callable[[int], SSAValue],
    step: Callable[[SSAValue, int, SSAValue], SSAValue],
    close: Callable[[SSAValue], SSAValue],
    join: Callable[[SSAValue, SSAValue], SSAValue],
) -> SSAValue:
    """Combines all columns from 0 to ``stop`` to one scalar.

    ``initial(lanes)`` is the neutral value, ``step(column, lanes, total)`` takes a tile in,
    ``close`` combines the lanes of a tile, ``join`` two scalars.
    """
    zero = b.index(0)
    whole, rest = _split(b, zero, stop, width)
    parts: list[SSAValue] = []
    if constant_of(whole) != 0:
        parts.append(close(_fold(b, zero, whole, width, initial, step)))
    if rest:
        parts.append(close(step(whole, rest, initial(rest))))
    elif rest is None:
        parts.append(_fold(b, whole, stop, 1, initial, step))
    total = parts[0] if parts else initial(1)
    for part in parts[1:]:
        total = join(total, part)
    return total


def _fold(
    b: LoopBuilder,
    start: SSAValue,
    stop: SSAValue,
    width: int,
    initial: Callable[[int], SSAValue],
    step: Callable[[SSAValue, int, SSAValue], SSAValue],
) -> SSAValue:
    body = lambda column, carried: [step(column, width, carried[0])]  # noqa: E731
    return b.fold(start, stop, [initial(width)], body, width)[0]
