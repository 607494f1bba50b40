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

from .templates.flat import power_of_two
from .templates.kept import FOUR, MOST_DEPTH, Grouped, Kept, Scattered
from .tiles import Problem
from .zeros import pattern_of

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


def best_kept(taken: np.ndarray, dtype: np.dtype, problem: Problem) -> KeptChoice | None:
    """The best way to keep the elements that are ``taken``; None of more than a few rows."""
    if not isinstance(problem.rows, int) or not 0 < problem.rows <= MOST_ROWS:
        return None
    found = [*_grouped(taken, dtype, problem.rows), *_scattered(taken, dtype, problem.rows)]
    return max(found, key=lambda choice: choice.gain, default=None)


def _grouped(taken: np.ndarray, dtype: np.dtype, rows: int) -> Iterator[KeptChoice]:
    pattern = pattern_of(taken)
    if pattern is None:
        return
    kept, group = pattern
    depth, columns = taken.shape
    form = Grouped(depth, columns, dtype, kept, group)
    dense = dtype.itemsize * group / kept / _READ
    cost = max((dtype.itemsize + form.layout.bits / 8) / _READ, (1 + rows) / _VALUES)
    gain = dense / cost * form.count / form.filled
    yield KeptChoice(form, gain, f"{kept} of every {group} kept")


def _scattered(taken: np.ndarray, dtype: np.dtype, rows: int) -> Iterator[KeptChoice]:
    depth, columns = taken.shape
    fours = float((-(-np.count_nonzero(taken, axis=0) // FOUR)).mean())
    if depth > MOST_DEPTH or fours == 0:
        return
    apart = depth / (FOUR * fours)
    dense = dtype.itemsize * apart / _READ
    touched = max(1 / _VALUES, apart / _LINES)
    cost = max((dtype.itemsize + _PLACE_BYTES) / _READ, 1 / _VALUES + rows * touched)
    lanes = min(_WIDEST, power_of_two(round(fours)))
    form = Scattered(depth, columns, dtype, lanes)
    yield KeptChoice(form, dense / cost, "what is no zero kept")
