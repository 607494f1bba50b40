"""Whether few rows times a matrix of many zeros read only what is kept of it, by an estimate.

Few rows are bound by reading the matrix, so what is left out is time saved, as long as the values
that are kept cost no more instructions than that: each is multiplied on its own, and the left
factor is read for it, once for each row. The further apart values are, the more lines of the cache
a read of the left factor touches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .templates.kept import FOUR, MOST_DEPTH, MOST_GROUP, Grouped, Kept, Scattered
from .tiles import Problem

MOST_ROWS = 8
# Of a multiprocessor in a cycle: bytes from memory; values that are taken, and multiplied.
_READ, _VALUES = 16, 16
# Reads of neighbouring threads that may be far apart are served one line after the other.
_LINES = 32
_PLACE_BYTES = 2
_WIDEST = 64


@dataclass(frozen=True)
class KeptChoice:
    """What is kept of a matrix, how much faster that is predicted to be, and what it is called."""

    kept: Kept
    gain: float
    why: str


def best_kept(matrix: np.ndarray, problem: Problem) -> KeptChoice | None:
    """The best way to keep what is no zero; None of more than a few rows."""
    if not isinstance(problem.rows, int) or not 0 < problem.rows <= MOST_ROWS:
        return None
    found = [*_grouped(matrix, problem.rows), *_scattered(matrix, problem.rows)]
    return max(found, key=lambda choice: choice.gain, default=None)


def pattern_of(matrix: np.ndarray) -> tuple[int, int] | None:
    """How many of every group of neighbours along the depth are kept, at most half of them."""
    groups = [g for g in (2, 4, 8, MOST_GROUP) if len(matrix) % g == 0]
    found = {g: _most_in(matrix.reshape(-1, g, matrix.shape[1])) for g in groups}
    group = min(groups, key=lambda g: found[g] / g, default=1)
    return (found[group], group) if groups and 2 * found[group] <= group else None


def _most_in(groups: np.ndarray) -> int:
    return max(1, int(np.count_nonzero(groups, axis=1).max(initial=0)))


def _grouped(matrix: np.ndarray, rows: int) -> Iterator[KeptChoice]:
    pattern = pattern_of(matrix)
    if pattern is None:
        return
    kept, group = pattern
    form = Grouped(*matrix.shape, matrix.dtype, kept, group)
    size = matrix.dtype.itemsize
    dense = size * group / kept / _READ
    taken = max((size + form.layout.bits / 8) / _READ, (1 + rows) / _VALUES)
    taken *= form.filled / form.count
    yield KeptChoice(form, dense / taken, f"{kept} of every {group} kept")


def _scattered(matrix: np.ndarray, rows: int) -> Iterator[KeptChoice]:
    depth, columns = matrix.shape
    fours = float((-(-np.count_nonzero(matrix, axis=0) // FOUR)).mean())
    if depth > MOST_DEPTH or fours == 0:
        return
    size, apart = matrix.dtype.itemsize, depth / (FOUR * fours)
    dense = size * apart / _READ
    touched = max(1 / _VALUES, apart / _LINES)
    taken = max((size + _PLACE_BYTES) / _READ, 1 / _VALUES + rows * touched)
    lanes = min(_WIDEST, 1 << max(0, round(fours) - 1).bit_length())
    yield KeptChoice(
        Scattered(depth, columns, matrix.dtype, lanes), dense / taken, "what is no zero kept"
    )
