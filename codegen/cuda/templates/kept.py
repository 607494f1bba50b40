"""What is kept of a matrix of which much is zero, as kernels of few rows read it.

Where of every group of neighbours along the depth the same number may differ from zero, such as 2
of 4, these stand together, with their places in the group in few bits::

    values    [columns, kept]            filled up with zeros to whole chunks
    places    [columns, chunks, 16]      words of 32 bits (codes.py)

Where zeros are anywhere, each column has its own number of values, filled up to fours::

    values    [fours of all columns, 4]
    places    [fours of all columns, 4]  the depth of each, in 16 bits
    starts    [columns + 1]              the first four of each column, and their end
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ....ir.types import DTYPES, I32, tensor
from ..frame import Packing
from .codes import WORDS, Layout

FOUR = 4
_FEW_BITS = 4
MOST_DEPTH = 1 << 16


@dataclass(frozen=True)
class Grouped:
    """A matrix of ``depth`` x ``columns`` of which ``kept`` of every ``group`` are kept."""

    depth: int
    columns: int
    dtype: np.dtype
    kept: int
    group: int

    @cached_property
    def layout(self) -> Layout:
        """How the places lie."""
        code = DTYPES["ui2" if self.group <= _FEW_BITS else "ui4"]
        return Layout(self.count, self.columns, code, self.count)

    @property
    def count(self) -> int:
        """How many values of a column are kept."""
        return self.depth // self.group * self.kept

    @property
    def filled(self) -> int:
        """The same in whole chunks."""
        return self.layout.chunks * self.layout.chunk

    def arrays(self) -> list[Packing]:
        """Values and places."""
        values = tensor((self.columns, self.filled), self.dtype)
        places = tensor((self.columns, self.layout.chunks, WORDS), I32)
        return [
            Packing(("kept values", self), values, self._values),
            Packing(("kept places", self), places, self._places),
        ]

    def _values(self, matrix: np.ndarray) -> np.ndarray:
        values = np.take_along_axis(self._groups(matrix), self._order(matrix), 1)
        turned = values.reshape(self.count, self.columns).T
        return np.pad(turned, [(0, 0), (0, self.filled - self.count)])

    def _places(self, matrix: np.ndarray) -> np.ndarray:
        order = self._order(matrix).reshape(self.count, self.columns)
        return self.layout.codes().pack(order.astype(np.uint8))

    def _order(self, matrix: np.ndarray) -> np.ndarray:
        """Where what is kept of each group stands: what is no zero, filled up with zeros."""
        first = np.argsort(self._groups(matrix) == 0, axis=1, kind="stable")
        return np.sort(first[:, : self.kept], axis=1)

    def _groups(self, matrix: np.ndarray) -> np.ndarray:
        return matrix.reshape(-1, self.group, self.columns)


@dataclass(frozen=True)
class Scattered:
    """A matrix of which all is kept that is no zero; about ``fours`` of values in a column."""

    depth: int
    columns: int
    dtype: np.dtype
    fours: int

    def arrays(self) -> list[Packing]:
        """Values, places, and where columns start."""
        most = self.columns * -(-self.depth // FOUR)
        kinds = {"values": self.dtype, "places": DTYPES["ui16"]}
        types = {name: tensor((most, FOUR), dtype) for name, dtype in kinds.items()}
        types["starts"] = tensor((self.columns + 1,), I32)
        packs = {"values": self._values, "places": self._places, "starts": _starts}
        return [
            Packing(("scattered", name), types[name], pack, varies=True)
            for name, pack in packs.items()
        ]

    def _values(self, matrix: np.ndarray) -> np.ndarray:
        return self._placed(matrix, matrix.T[matrix.T != 0], self.dtype)

    def _places(self, matrix: np.ndarray) -> np.ndarray:
        return self._placed(matrix, np.nonzero(matrix.T)[1], DTYPES["ui16"])

    def _placed(self, matrix: np.ndarray, found: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """What was found column by column, each column filled up to fours."""
        starts, counts = _starts(matrix) * FOUR, np.count_nonzero(matrix, axis=0)
        before = np.repeat(starts[:-1] - (np.cumsum(counts) - counts), counts)
        placed = np.zeros(max(FOUR, int(starts[-1])), dtype)
        placed[np.arange(len(found)) + before] = found
        return placed.reshape(-1, FOUR)


Kept = Grouped | Scattered


def _starts(matrix: np.ndarray) -> np.ndarray:
    fours = -(-np.count_nonzero(matrix, axis=0) // FOUR)
    return np.concatenate([[0], np.cumsum(fours)]).astype(np.int32)
