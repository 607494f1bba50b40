"""How pointwise products are cut into tasks, panels and register tiles.

What is read again and again should be near: a panel's filters of one point, its slab, in the first
level of cache while all tiles of a block pass it, and a block's transformed inputs in the second.
"""

from __future__ import annotations

from dataclasses import dataclass

from ....ir.dims import Dim
from ..target import CpuTarget
from .contraction import rows_in_registers
from .frame import static

# Bytes of a first and of a second level of cache that may be counted on.
NEAR = 32 * 1024
_CACHE = 832 * 1024
# Bytes of products, which share that cache for a short while.
_PRODUCTS = 512 * 1024
# How much larger than that a slab must be to cost as much again.
_FAR = 512 * 1024
# The rows and the columns of a register tile at most.
_ROWS = 14
_WIDEST = 64
# Tasks that keep some threads busy, and filters that make a second transform of inputs cheap.
_TASKS = 8
_FILTERS = 64
# Bytes of transformed inputs that are read in order, so that they need not be near.
_STREAMED = 1536 * 1024
# Tasks of a block, for more threads than there are blocks.
_GROUPS = 4
# Tiles that share weights which come from memory, so that memory keeps up.
SHARING = 24
# Tiles of a block that make good register tiles.
_FEWEST = 12


@dataclass(frozen=True)
class Problem:
    """The sizes of a convolution.

    Attributes:
        images: The batch.
        tiles: The tiles of an image.
        points: The products a tile has for each pair of channels.
        channels: Of the input.
        filters: Channels of the result.
    """

    images: Dim
    tiles: int
    points: int
    channels: int
    filters: int

    @property
    def parts(self) -> Dim:
        """How many parts are cut into blocks of their own: images, or one where those are small."""
        return self.images if self.tiles >= _FEWEST else 1

    @property
    def part(self) -> Dim:
        """The tiles of a part."""
        return self.tiles if self.tiles >= _FEWEST else self.images * self.tiles

    @property
    def weights(self) -> int:
        """The bytes of the transformed filters."""
        return 4 * self.points * self.channels * self.filters


@dataclass(frozen=True)
class Blocking:
    """How the work is cut.

    Attributes:
        tiles: The tiles of a block, a multiple of ``rows``.
        rows: The tiles of a register tile.
        panel: The filters of a panel, a multiple of a vector.
        panels: How many panels there are.
        share: The panels of a task.
    """

    tiles: int
    rows: int
    panel: int
    panels: int
    share: int

    @property
    def groups(self) -> int:
        """The tasks of a block."""
        return ceil(self.panels, self.share)

    @property
    def strips(self) -> int:
        """The register tiles of a block, one below the other."""
        return self.tiles // self.rows

    def is_single(self, problem: Problem) -> bool:
        """Whether a part is one block, whose panels the threads share."""
        return static((problem.part,)) <= self.tiles

    def filled(self, problem: Problem) -> float:
        """How much of the register tiles is of use."""
        rows = max(1, static((problem.part,)))
        panels = self.groups * self.share if self.is_single(problem) else self.panels
        whole = ceil(rows, self.rows) * self.rows * panels * self.panel
        return rows * problem.filters / whole


def fits(problem: Problem) -> bool:
    """Whether the transformed inputs of one tile fit the cache, and the stack."""
    return 4 * problem.points * problem.channels <= _CACHE


def blocking(problem: Problem, target: CpuTarget) -> Blocking:
    """Few large blocks where filters come from far, many that share them where they are near."""
    most = _most(problem)
    count = _tiles(problem, most)
    rows, panel = _register_tile(count, min(count, most), problem, target)
    strips, fitting = ceil(count, rows), max(1, most // rows)
    blocks = ceil(strips, fitting)
    panels = ceil(problem.filters, panel)
    wanted = ceil(_TASKS, blocks * max(1, static((problem.parts,), 1)))
    groups = min(wanted, max(2, problem.filters // _FILTERS), panels)
    return Blocking(ceil(strips, blocks) * rows, rows, panel, panels, ceil(panels, groups))


def even_blocking(problem: Problem, target: CpuTarget) -> Blocking:
    """Equal blocks, an even number of them, so that two threads need transform no input twice.

    Where halves would be small there is one, as each block reads all weights; its panels are shared
    out evenly then.
    """
    part = max(1, static((problem.part,)))
    fitting = min(_STREAMED // problem.channels, _PRODUCTS // _WIDEST) // (4 * problem.points)
    fitting = max(1, fitting)
    blocks = 2 * ceil(part, 2 * fitting) if part >= 2 * SHARING else ceil(part, fitting)
    count = ceil(part, blocks)
    rows, panel = _register_tile(count, fitting, problem, target, any_slab=True)
    panels = ceil(problem.filters, panel)
    groups = _GROUPS if blocks > 1 or panels % _GROUPS == 0 else 2
    return Blocking(ceil(count, rows) * rows, rows, panel, panels, ceil(panels, groups))


def ceil(size: int, unit: int) -> int:
    """How many units cover ``size``."""
    return -(-size // unit)


def _most(problem: Problem) -> int:
    """The most tiles that a block may have."""
    near = problem.weights <= _CACHE
    budget = _CACHE // 2 if near else _CACHE
    room = min(budget // problem.channels, _PRODUCTS // _WIDEST)
    most = max(1, room // (4 * problem.points))
    if not near:
        return most
    return min(most, max(_FEWEST, ceil(static((problem.part,), 1), _TASKS)))


def _tiles(problem: Problem, most: int) -> int:
    """The tiles of a part; where they are not known, those of as many images as fit a block."""
    if isinstance(problem.part, int):
        return max(1, problem.part)
    return max(1, problem.tiles, most // max(1, problem.tiles) * problem.tiles)


def _register_tile(
    count: int, tallest: int, problem: Problem, target: CpuTarget, any_slab: bool = False
) -> tuple[int, int]:
    """Rows and panel of the register tile that wastes least time."""
    lanes, vectors = target.lanes(32), ceil(problem.filters, target.lanes(32))
    best, best_score = (1, lanes), 0.0
    for width in (4, 3, 2, 1):
        for rows in range(1, min(rows_in_registers(width, target), _ROWS, tallest) + 1):
            slab = 0 if any_slab else 4 * width * lanes * problem.channels
            speed = rows / (rows + 1) * width / (width + 0.5)
            used = count / (ceil(count, rows) * rows) * vectors / (ceil(vectors, width) * width)
            score = speed * used / (1 + max(0, slab - NEAR) / _FAR)
            if score > best_score + 1e-9:
                best, best_score = (rows, width * lanes), score
    return best
