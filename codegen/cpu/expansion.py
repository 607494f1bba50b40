"""Weights that a kernel reads larger than the artifact holds them, made when that is loaded.

Winograd's filters and Strassen's sums are linear in the weights: of ``parts`` matrices, each a
ninth or a quarter of the weights, come ``points`` matrices, which are sums of them. So an artifact
is no larger than its weights; the price is a moment when it is loaded, and memory that processes do
not share.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Expansion:
    """``held[panel, point] = sum over parts of matrix[point, part] * stored[panel, part]``.

    Attributes:
        matrix: ``[points, parts]``.
        panels: How many panels there are.
        rows: Of each matrix of a panel.
        columns: Likewise; a multiple of a vector.
    """

    matrix: Matrix
    panels: int
    rows: int
    columns: int

    @property
    def stored(self) -> tuple[int, ...]:
        """The shape in the artifact: panels, parts, rows, columns."""
        return self.panels, len(self.matrix[0]), self.rows, self.columns

    @property
    def held(self) -> tuple[int, ...]:
        """The shape in memory: panels, points, rows, columns."""
        return self.panels, len(self.matrix), self.rows, self.columns

    @property
    def bytes(self) -> int:
        """Of memory."""
        return 4 * prod(self.held)

    def store(self, parts: np.ndarray) -> np.ndarray:
        """What the artifact holds of ``parts``, ``[parts, rows, columns of all panels]``."""
        packed = np.zeros(self.stored, np.float32)
        for number, target in enumerate(packed):
            panel = parts[..., number * self.columns :][..., : self.columns]
            target[..., : panel.shape[-1]] = panel
        return packed


def matrix_of(array: np.ndarray) -> Matrix:
    """An array as what can be compared."""
    return tuple(tuple(float(x) for x in row) for row in array)
