"""Where a matrix is zero: in blocks, in groups of neighbours. It is read once, at memory speed."""

from __future__ import annotations

import numpy as np

_GROUPS = (2, 4, 8, 16)


def not_zero(matrix: np.ndarray) -> np.ndarray:
    """Which elements of a matrix of floats are no zeros, of either sign."""
    bits = np.ascontiguousarray(matrix).view(f"u{matrix.dtype.itemsize}")
    return (bits << 1) != 0


def taken_blocks(taken: np.ndarray, block: int) -> np.ndarray:
    """Which blocks hold something that is taken: ``[block rows, block columns]``.

    Args:
        taken: Which elements are.
        block: Its rows and columns, a power of two.
    """
    rows, size = taken, 1
    while size < block:
        rows = np.pad(rows, [(0, len(rows) % 2), (0, 0)]) if len(rows) % 2 else rows
        rows, size = rows[0::2] | rows[1::2], 2 * size
    return np.logical_or.reduceat(rows, range(0, rows.shape[1], block), axis=1)


def pattern_of(taken: np.ndarray) -> tuple[int, int] | None:
    """How many are taken of every group of neighbours along the depth, if at most half of them."""
    found: list[tuple[int, int]] = []
    counts = taken.view(np.uint8)
    for group in _GROUPS:
        if len(taken) % group:
            break
        counts = counts[0::2] + counts[1::2]
        found.append((max(1, int(counts.max(initial=0))), group))
    kept, group = min(found, key=lambda pair: pair[0] / pair[1], default=(1, 1))
    return (kept, group) if 2 * kept <= group else None
