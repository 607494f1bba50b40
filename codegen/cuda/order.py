"""Which launches wait for which: those that touch memory which one before them touches, too.

Launches that need not wait for each other, such as the products of queries, keys and values, become
parallel branches of a CUDA graph and share the GPU. Arena space that values use in turns ties
launches as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.dims import Dim, dim_min
from ...passes.memory_plan import Place


@dataclass(frozen=True)
class Buffer:
    """Memory that a launch reads, or writes.

    Attributes:
        place: Where it begins.
        size: Its bytes.
        written: Whether the launch writes it.
    """

    place: Place
    size: Dim
    written: bool


def waits(launches: Sequence[Sequence[Buffer]]) -> list[list[int]]:
    """For each launch, given by its buffers, the numbers of those that it must wait for itself."""
    found: list[list[int]] = []
    before: list[int] = []  # bits: all that are done when a launch begins
    for number, buffers in enumerate(launches):
        direct, done = [], 0
        for other in reversed(range(number)):
            if not done >> other & 1 and _tied(buffers, launches[other]):
                direct.append(other)
                done |= before[other] | 1 << other
        found.append(direct[::-1])
        before.append(done)
    return found


def _tied(some: Sequence[Buffer], others: Sequence[Buffer]) -> bool:
    return any((a.written or b.written) and _overlap(a, b) for a in some for b in others)


def _overlap(a: Buffer, b: Buffer) -> bool:
    """Whether two buffers may share bytes at some sizes."""
    if a.place.kind != b.place.kind:
        return False
    if a.place.kind != "arena":
        return a.place.number == b.place.number
    return not (_ends_before(a, b) or _ends_before(b, a))


def _ends_before(a: Buffer, b: Buffer) -> bool:
    end, start = a.place.offset + a.size, b.place.offset
    return dim_min(end, start) == end
