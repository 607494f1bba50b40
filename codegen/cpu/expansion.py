"""Weights that kernels read larger than the artifact holds them, made when that is loaded.

Winograd's filters and Strassen's sums are linear in the weights: of ``parts`` matrices, each a
ninth or a quarter of the weights, come ``points`` matrices, which are sums of them. And what was
encoded in few bits may be stored so although it is computed on in floats. So an artifact is no
larger than its weights; the price is a moment when it is loaded, and memory that processes do not
share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ...ir.types import bit_width, is_signed

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Codes:
    """How parts are stored in few bits: as bytes that hold codes of neighbouring rows.

    Attributes:
        dtype: Of a code.
        scale: The dtype of scales.
        group: How many rows share scales.
        parts: The parts that have scales of their own: all, or one where they share them.
        zeros: Whether there are zero points; they are stored as bytes without a sign.
    """

    dtype: np.dtype
    scale: np.dtype
    group: int
    parts: int
    zeros: bool

    @property
    def bits(self) -> int:
        """Of a code."""
        return bit_width(self.dtype)

    @property
    def together(self) -> int:
        """How many rows a byte holds codes of, the first in its lowest bits."""
        return 8 // self.bits

    @property
    def least(self) -> int:
        """What a code of all zero bits means."""
        return -(1 << (self.bits - 1)) if is_signed(self.dtype) else 0


@dataclass(frozen=True)
class Expansion:
    """``held[panel, point] = sum over parts of matrix[point, part] * stored[panel, part]``.

    Attributes:
        matrix: ``[points, parts]``.
        panels: How many panels there are.
        rows: Of each matrix of a panel.
        columns: Likewise.
        codes: How parts are encoded; None where they are floats.
    """

    matrix: Matrix
    panels: int
    rows: int
    columns: int
    codes: Codes | None = None

    @property
    def stored(self) -> tuple[int, int, int, int]:
        """The shape of all parts: panels, parts, rows, columns."""
        return self.panels, len(self.matrix[0]), self.rows, self.columns

    @property
    def held(self) -> tuple[int, int, int, int]:
        """The shape in memory: panels, points, rows, columns."""
        return self.panels, len(self.matrix), self.rows, self.columns

    @property
    def bytes(self) -> int:
        """Of memory."""
        return 4 * prod(self.held)

    @property
    def copies(self) -> bool:
        """Whether nothing would be changed."""
        return self.codes is None and self.matrix == ((1.0,),)

    def by_panels(self, parts: np.ndarray) -> np.ndarray:
        """``parts``, ``[parts, rows, columns of all panels]``, in the order of the artifact."""
        packed = np.zeros(self.stored, parts.dtype)
        for number, target in enumerate(packed):
            panel = parts[..., number * self.columns :][..., : self.columns]
            target[..., : panel.shape[-1]] = panel
        return packed

    def with_codes(self, codes: Codes) -> Expansion:
        """The same of parts in few bits."""
        return replace(self, codes=codes)


def matrix_of(array: np.ndarray) -> Matrix:
    """An array as what can be compared."""
    return tuple(tuple(float(x) for x in row) for row in array)
