"""Which dims of a shape hold the same elements as which of another, for reshapes."""

from __future__ import annotations

from itertools import accumulate

from ..ir.dims import Dim, Shape, product


def dim_groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]] | None:
    """Runs of dims of ``old`` and ``new`` that hold the same elements; None if they never meet."""
    olds, news = list(accumulate(old, _times)), list(accumulate(new, _times))
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) and j < len(new):
        ends = [
            (a, b) for a in range(i, len(old)) for b in range(j, len(new)) if olds[a] == news[b]
        ]
        if not ends:
            return None
        a, b = min(ends, key=sum)
        groups.append((list(range(i, a + 1)), list(range(j, b + 1))))
        i, j = a + 1, b + 1
    if i < len(old) or j < len(new):
        if not groups or product(old[i:]) != 1 or product(new[j:]) != 1:
            return None
        groups[-1][0].extend(range(i, len(old)))
        groups[-1][1].extend(range(j, len(new)))
    return groups


def _times(a: Dim, b: Dim) -> Dim:
    return a * b
