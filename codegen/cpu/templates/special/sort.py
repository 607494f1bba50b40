"""A stable merge sort of items in memory, bottom up, without branches inside a merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.ir import Attribute, SSAValue

from .....ir import scalar as s
from .....ir.scalar import Scalar
from .workbench import Index, Workbench

Less = Callable[[SSAValue, SSAValue], Scalar]


def merge_sort(
    w: Workbench, items: SSAValue, spare: SSAValue, count: Index, type: Attribute, less: Less
) -> SSAValue:
    """Sorts ``count`` items of ``type``; the result is in one of the two buffers, which is given.

    ``less(a, b)`` tells whether a comes before b.
    """
    b = w.b
    width = w.value(1)

    def unfinished(carried: Sequence[SSAValue]) -> SSAValue:
        return w.value(w.hold(carried[2]) < count)

    def double(carried: Sequence[SSAValue]) -> list[SSAValue]:
        source, target, size = carried
        runs = w.hold(size)
        w.repeat(
            [0],
            lambda low: low < count,
            lambda low: _merge(w, source, target, low, runs, count, type, less),
        )
        return [target, source, w.value(runs * 2)]

    return b.repeat([items, spare, width], unfinished, double)[0]


def _merge(
    w: Workbench,
    source: SSAValue,
    target: SSAValue,
    low: Scalar,
    run: Scalar,
    count: Index,
    type: Attribute,
    less: Less,
) -> list[Index]:
    """Merges the run from ``low`` with the one behind it; gives where the next pair begins."""
    b = w.b
    total = w.now(count)
    middle = w.now(s.minimum(low + run, total))
    high = w.now(s.minimum(middle + run, total))

    def step(place: Scalar, left: Scalar, right: Scalar) -> list[Index]:
        a = b.load(source, w.value(s.minimum(left, total - 1)), type)
        c = b.load(source, w.value(s.minimum(right, total - 1)), type)
        not_less = s.unary("not", less(c, a))
        first = w.now((left < middle) & ((right >= high) | not_less))
        b.store(b.select(w.value(first), a, c), target, w.value(place))
        taken = s.cast(first, s.I64)
        return [left + taken, right + 1 - taken]

    w.fold(high, [low, middle], step, start=low)
    return [high]
