"""A sparse right factor in memory: one run of bytes that code of its shape can walk through.

Columns are taken ``height`` at a time: a *block* is a depth at which not all of them are zero.
They are cut into strips of whole granules with about equally many blocks, the depth into slabs.
What a strip's columns hold in a slab stands together, those with few blocks first, so that the
length of the innermost loop is easy to predict::

    words    first column block of each strip, and their end; its first step; where depths begin
    counts   for each strip, slab and column block: which one of the strip, how many steps
    values   for each step: ``unroll`` blocks of ``height`` values
    depths   for each step: ``unroll`` depths in the slab

Words are of 32 bits, counts of 16, depths of 8 where slabs allow that, else of 16. What fills up a
step is half of the block before it, so that an infinite element gives what it gave without.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_BYTES = 1 << 8


@dataclass(frozen=True)
class Layout:
    """How a factor of ``depth`` x ``columns`` elements is laid out.

    Attributes:
        depth: Its rows, at most 65536.
        columns: Its columns.
        height: The columns of a block.
        unroll: The blocks of a step, at most two: one at most fills up.
        slab: The depths of a slab.
        granule: The columns that stay in one strip, a multiple of ``height``.
        most: The columns that a strip has at most, a multiple of ``granule``.
        strips: How many strips there are.
    """

    depth: int
    columns: int
    height: int
    unroll: int
    slab: int
    granule: int
    most: int
    strips: int

    @property
    def blocks(self) -> int:
        """How many columns of blocks."""
        return -(-self.columns // self.height)

    @property
    def slabs(self) -> int:
        """Into how many the depth is cut."""
        return -(-self.depth // self.slab)

    @property
    def steps(self) -> int:
        """The first word that holds a strip's first step."""
        return self.strips + 1

    @property
    def depths(self) -> int:
        """The word that says where the depths begin, in units of one."""
        return self.steps + self.strips

    @property
    def index(self) -> np.dtype:
        """Of a depth in a slab."""
        return np.dtype(np.uint8 if min(self.slab, self.depth) <= _BYTES else np.uint16)

    @property
    def counts(self) -> int:
        """Where the counts begin, in units of 16 bits."""
        return 2 * (self.depths + 1)

    @property
    def values(self) -> int:
        """Where the values begin, in units of 32 bits."""
        return self.depths + 1 + self.slabs * self.blocks


def encode(matrix: np.ndarray, layout: Layout) -> np.ndarray:
    """The bytes of a ``depth`` x ``columns`` matrix of elements of 32 bits."""
    wide = np.zeros((layout.depth, layout.blocks * layout.height), matrix.dtype)
    wide[:, : layout.columns] = matrix
    blocks = wide.reshape(layout.depth, layout.blocks, layout.height)
    taken = np.any(blocks, axis=2, keepdims=True)[..., 0]
    first = _strips(taken, layout)
    parts = [
        _part(blocks, taken, slice(k, k + layout.slab), slice(low, high), layout)
        for low, high in pairwise(first)
        for k in range(0, layout.depth, layout.slab)
    ]
    ends = np.cumsum([len(p.depths) for p in parts]) // layout.unroll
    begins = [0, *ends[layout.slabs - 1 : -1 : layout.slabs]]
    values = np.concatenate([p.values for p in parts]) if parts else np.zeros((0,))
    words = [*first, *begins, 4 // layout.index.itemsize * (layout.values + values.size)]
    pieces = (
        np.array(words, np.int32),
        *(p.counts for p in parts),
        values.astype(matrix.dtype),
        *(p.depths for p in parts),
    )
    return np.concatenate([np.ascontiguousarray(p).reshape(-1).view(np.uint8) for p in pieces])


@dataclass(frozen=True)
class _Part:
    """The blocks of one strip in one slab."""

    counts: np.ndarray
    values: np.ndarray
    depths: np.ndarray


def _part(
    blocks: np.ndarray, taken: np.ndarray, slab: slice, strip: slice, layout: Layout
) -> _Part:
    inside = taken[slab, strip].T
    steps = -(-inside.sum(axis=1) // layout.unroll)
    order = np.argsort(steps, kind="stable")
    column, depth = np.nonzero(inside[order])
    size = int(steps.sum()) * layout.unroll
    start = np.cumsum(steps[order]) * layout.unroll - steps[order] * layout.unroll
    ordinal = np.arange(len(column)) - np.searchsorted(column, column)
    place = start[column] + ordinal
    depths = np.zeros(size, layout.index)
    depths[place] = depth
    values = np.zeros((size, layout.height), blocks.dtype)
    values[place] = blocks[depth + slab.start, order[column] + strip.start]
    _fill_up(values, depths, np.setdiff1d(np.arange(size), place))
    return _Part(np.stack([order, steps[order]], axis=1).astype(np.uint16), values, depths)


def _fill_up(values: np.ndarray, depths: np.ndarray, places: np.ndarray) -> None:
    """Halves the blocks before ``places``; of integers, none of which is infinite, none is left."""
    depths[places] = depths[places - 1]
    if np.issubdtype(values.dtype, np.floating):
        values[places - 1] /= 2
        values[places] = values[places - 1]


def _strips(taken: np.ndarray, layout: Layout) -> list[int]:
    """The first block of each strip, and the end; about equally many blocks in each."""
    unit = layout.granule // layout.height
    weights = np.add.reduceat(taken.sum(axis=0), range(0, layout.blocks, unit))
    total = np.concatenate([[0], np.cumsum(weights + 1)])
    count, most = len(weights), layout.most // layout.granule
    bounds = [0]
    for left in range(layout.strips - 1, 0, -1):
        goal = total[bounds[-1]] + (total[-1] - total[bounds[-1]]) / (left + 1)
        nearest = int(np.abs(total - goal).argmin())
        low = max(bounds[-1], count - left * most)
        bounds.append(int(np.clip(nearest, low, min(bounds[-1] + most, count))))
    return [min(b * unit, layout.blocks) for b in (*bounds, count)]
