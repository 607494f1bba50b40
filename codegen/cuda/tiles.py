"""The choice of a product's tile, by an estimate of the time that all tiles take.

A tile loads its strips of both factors from the second-level cache while it multiplies; tiles run
in waves over the multiprocessors, in the order in which memory gives the cache least. Where tiles
are few, programs take parts of the depth, and a second launch adds these; with sizes that only the
run knows, it decides in how many. What does not fit shared memory, or the registers of its warps,
is left out. Estimates err: what else is worth measuring follows the first choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from itertools import chain, islice, zip_longest
from itertools import product as pairs

import numpy as np

from ...ir.dims import Dim, ceildiv
from ...ir.types import F32
from ..choice import Option
from .fill import LAUNCH, balanced, parts_that_fill
from .panels import Strips, best_panel, traffic
from .target import CudaTarget

# Multiplications of a multiprocessor in a cycle, and bytes from the second-level cache, and its
# share of those from memory.
_TENSOR, _TENSOR_TF32, _PLAIN, _BYTES, _MEMORY = 1024, 512, 96, 48, 18
# In cycles: a step's own, and for the addresses of each factor; a tile's, until its first step and
# after its last, and until descriptors are there; what is left where others are loaded meanwhile.
_STEP, _ADDRESSES, _LATENCY, _TOLD, _BETWEEN = 10, 15, 1500, 300, 600
# Of products and loads, which go on at once, so much of the shorter is not hidden by the longer.
_SEEN = 1 / 8
# Bytes of a result, of factors of whatever size.
_NARROWEST = 2
# So many warps have a multiprocessor's registers to themselves.
_RESIDENT_WARPS = 8
_MOST_PARTS = 32
_UNKNOWN = 1024
_REGISTERS = 128
_FEWEST_WARPS, _MOST_WARPS = 2, 16
_STAGES = 3
# How many tiles are worth naming.
_MOST = 12


@dataclass(frozen=True)
class Tile:
    """A tile of ``rows`` x ``columns`` results, summed in steps of ``depth``, in ``parts``.

    Where sizes are not known, these are the most parts that the run may decide for.
    Programs walk through tiles in panels of ``panel`` columns: one for each tile, or ``resident``
    ones on each multiprocessor that take one after the other. Strips are read as descriptors tell
    where ``described``, as far as they can be. Its fields, in order, are the option that it is
    called by.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    parts: int = 1
    panel: int = 1
    resident: int = 0
    described: int = 0

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}x{self.depth}"

    @property
    def option(self) -> Option:
        """The numbers that stand for it."""
        return astuple(self)


@dataclass(frozen=True)
class Problem:
    """What is to be multiplied.

    Attributes:
        rows: Of the results.
        columns: Of the results.
        depth: How many products are summed.
        batch: How often.
        dtype: Of the factors.
        inner: How many steps of the depth lie side by side: a convolution's channels.
        left: Bytes of the left factor in memory, of one item of the batch.
        layout: For each factor, ``k`` where neighbours in memory lie along the depth, else ``-``.
        described: For each factor, ``d`` where descriptors can tell how to read it, else ``-``.
    """

    rows: Dim
    columns: Dim
    depth: Dim
    batch: Dim
    dtype: np.dtype
    inner: Dim
    left: Dim
    layout: str = "--"
    described: str = "--"

    @property
    def subject(self) -> dict[str, Dim | str]:
        """What a choice depends on."""
        names = "rows", "columns", "depth", "batch", "inner", "layout"
        return {name: getattr(self, name) for name in names} | {"dtype": str(self.dtype)}

    @property
    def is_known(self) -> bool:
        """Whether all sizes are."""
        sizes = self.rows, self.columns, self.depth, self.batch
        return all(isinstance(size, int) for size in sizes)

    def known(self, unknown: int) -> Problem:
        """The same with ``unknown`` in place of sizes that only the run knows, but the depth's."""
        names = "rows", "columns", "batch"
        sizes = {n: _number(getattr(self, n), unknown) for n in names}
        return replace(self, **sizes, depth=_number(self.depth))


def ranked_tiles(problem: Problem, target: CudaTarget) -> list[Tile]:
    """The tiles that are worth trying, first the one that is expected to be fastest.

    Then the best of other shapes take turns with other ways to run the first.
    """
    legal = list(_legal(problem, target))
    ranked = sorted(legal, key=lambda t: (cycles(t, problem, target), _shared(t, 1)))
    shapes = {(t.rows, t.columns): t for t in reversed(ranked)}
    others = [t for t in ranked if t is shapes[t.rows, t.columns]]
    turns = chain.from_iterable(zip_longest(others, _variants(ranked, problem, target)))
    return list(islice(dict.fromkeys(t for t in turns if t), _MOST))


def count_parts(tile: Tile, problem: Problem, target: CudaTarget) -> Dim:
    """The number of parts; where sizes are not known, the run finds what is worth it."""
    return tile.parts if problem.is_known else _filling(tile, problem, target)


def why_tile(tile: Tile, problem: Problem, target: CudaTarget) -> str:
    """What is to be said of a tile."""
    programs = _count(tile if problem.is_known else replace(tile, parts=1), problem)
    waves = -(-programs // target.multiprocessors)
    few = "" if problem.is_known else "up to "
    parts = f", the depth in {few}{tile.parts} parts" * (tile.parts > 1)
    return (
        f"tiles of {tile} in {waves} wave{'s' * (waves != 1)} of {target.multiprocessors}"
        f"{parts}{_why_resident(tile, target)}{why_panel(tile)}{_why_described(tile, problem)}"
    )


def why_panel(tile: Tile) -> str:
    """What is to be said of the order of tiles."""
    if tile.panel == 1:
        return ""
    return f"; {tile.panel} columns of them side by side: the cache does not hold the left factor"


def _why_resident(tile: Tile, target: CudaTarget) -> str:
    if not tile.resident:
        return ""
    count = tile.resident * target.multiprocessors
    return f", which {count} programs take one after the other, loading ahead from tile to tile"


def _why_described(tile: Tile, problem: Problem) -> str:
    if not tile.described:
        return ""
    sides = {"dd": "both factors", "d-": "the left factor", "-d": "the right factor"}
    return f"; TMA copies {sides[problem.described]}"


def _variants(ranked: list[Tile], problem: Problem, target: CudaTarget) -> list[Tile]:
    """The first tile in another form, in other parts, with more or less loaded ahead, and so on."""
    best = ranked[0]
    steps = [t for t in ranked[1:] if (t.rows, t.columns) == (best.rows, best.columns)]
    forms = [t for t in steps if _numbers(t) == _numbers(best)]
    parts = [t for t in steps if replace(t, parts=best.parts, panel=best.panel) == best]
    ahead = [replace(best, stages=best.stages + n) for n in (1, -1)]
    warps = [replace(best, warps=n) for n in (best.warps * 2, best.warps // 2)]
    found = [*forms, *parts[:2], ahead[0], *steps[:1], *warps, ahead[1], *steps[1:]]
    return [t for t in found if fits(t, problem, target)]


def _numbers(tile: Tile) -> Tile:
    """A tile in its plainest form."""
    return replace(tile, resident=0, described=0)


def _legal(problem: Problem, target: CudaTarget) -> Iterator[Tile]:
    plain = problem.dtype == F32 and target.precision == "f32"
    depths = (16, 32) if plain else (32, 64, 128)
    even = [d for d in depths if isinstance(problem.inner, int) and problem.inner % d == 0]
    depths = even or depths
    for rows, columns, depth in pairs((16, 32, 64, 128), (16, 32, 64, 128, 256), depths):
        if plain and rows * columns > 64 * 128:
            continue
        if problem.dtype.itemsize == 1 and depth < 32:
            continue
        tile = Tile(rows, columns, depth, _warps(rows, columns), _STAGES)
        if fits(tile, problem, target):
            whole = replace(tile, panel=best_panel(_strips(tile, problem), target))
            several = _in_parts(tile if problem.is_known else whole, problem, target)
            for form in (*several, whole, *_in_turns(whole, problem, target)):
                yield from _read(form, problem, target)


def _read(tile: Tile, problem: Problem, target: CudaTarget) -> Iterator[Tile]:
    """A tile whose strips are read through pointers, and as descriptors tell."""
    told = [replace(tile, described=1)] if "d" in problem.described else []
    yield from (t for t in (tile, *told) if _loads_ahead(t, problem) and fits(t, problem, target))


def _loads_ahead(tile: Tile, problem: Problem) -> bool:
    """Whether both factors are loaded while others are multiplied.

    Where programs take several tiles, Triton unrolls that into the loop over the depth, and there
    it does so only with what has neighbours along the depth, or is told by descriptors.
    """
    if not tile.resident:
        return True
    by_descriptor = problem.described if tile.described else "--"
    return all(a == "k" or b == "d" for a, b in zip(problem.layout, by_descriptor, strict=True))


def _in_turns(tile: Tile, problem: Problem, target: CudaTarget) -> Iterator[Tile]:
    """The same tile for programs that take several, if there are that many."""
    resident = max(1, _RESIDENT_WARPS // tile.warps)
    many = problem.is_known and _count(tile, problem) > resident * target.multiprocessors
    if target.descriptors and many:
        yield replace(tile, resident=resident)


def _in_parts(tile: Tile, problem: Problem, target: CudaTarget) -> Iterator[Tile]:
    """The same tile in parts of several steps, as long as that fills multiprocessors.

    Where sizes are not known, that may be when they are small.
    """
    if not problem.is_known:
        most = replace(tile, parts=_MOST_PARTS)
        if _filling(most, problem.known(1), target) != 1:
            yield most
        return
    steps, parts = -(-_number(problem.depth) // tile.depth), 2
    while parts <= min(steps // 2, _MOST_PARTS, target.multiprocessors // _count(tile, problem)):
        yield replace(tile, parts=balanced(parts, steps))
        parts *= 2


def fits(tile: Tile, problem: Problem, target: CudaTarget) -> bool:
    """Whether registers and shared memory suffice."""
    if not _FEWEST_WARPS <= tile.warps <= _MOST_WARPS:
        return False
    held = tile.rows * tile.columns // (32 * tile.warps)
    return held <= _REGISTERS and _shared(tile, problem.dtype.itemsize) <= target.shared


def _warps(rows: int, columns: int) -> int:
    if rows * columns <= 32 * 32:
        return 2
    return 8 if rows * columns >= 128 * 128 else 4


def _shared(tile: Tile, itemsize: int) -> int:
    """Bytes of what is loaded ahead, and of a tile that is stored meanwhile."""
    ahead = tile.stages * (tile.rows + tile.columns) * tile.depth * itemsize
    stored = tile.rows * tile.columns * max(_NARROWEST, itemsize) if tile.resident else 0
    return ahead + stored


def cycles(tile: Tile, problem: Problem, target: CudaTarget) -> float:
    """The cycles that all tiles are expected to take."""
    if not problem.is_known:
        problem = problem.known(_UNKNOWN)
        parts = _filling(tile, problem, target)
        assert isinstance(parts, int)
        tile = replace(tile, parts=parts)
    steps = -(-_number(problem.depth) // (tile.depth * tile.parts))
    one = steps * _step(tile, problem, target)
    rounds = -(-_count(tile, problem) // target.multiprocessors)
    begin = _LATENCY + _TOLD * tile.described
    between, outside = (_BETWEEN, begin) if tile.resident else (begin, 0)
    whole = rounds * (one + between) + outside
    if tile.parts == 1:
        read = traffic(_strips(tile, problem), tile.panel, target) * max(1, _number(problem.batch))
        return max(whole, read / _MEMORY / target.multiprocessors)
    partial = 8 * tile.rows * tile.columns * _count(tile, problem) / target.multiprocessors
    return whole + partial / _BYTES + LAUNCH


def _step(tile: Tile, problem: Problem, target: CudaTarget) -> float:
    """The cycles of a step of the depth."""
    work = tile.rows * tile.columns * tile.depth
    load = (tile.rows + tile.columns) * tile.depth * problem.dtype.itemsize
    small = 64 if problem.dtype != F32 or target.precision != "f32" else 16
    waste = max(1.0, small / tile.rows) * max(1.0, 32 / tile.columns)
    pointers = 2 - tile.described * problem.described.count("d")
    longer, shorter = sorted((work / _rate(problem, target) * waste, load / _BYTES), reverse=True)
    return longer + _SEEN * shorter + _STEP + pointers * _ADDRESSES


def _filling(tile: Tile, problem: Problem, target: CudaTarget) -> Dim:
    """In how many of a tile's parts programs fill the GPU."""
    down, across = ceildiv(problem.rows, tile.rows), ceildiv(problem.columns, tile.columns)
    programs, steps = down * across * problem.batch, ceildiv(problem.depth, tile.depth)
    return parts_that_fill(programs, steps, _step(tile, problem, target), tile.parts, target)


def _rate(problem: Problem, target: CudaTarget) -> int:
    if problem.dtype != F32:
        return 2 * _TENSOR // problem.dtype.itemsize
    return _TENSOR_TF32 if target.precision == "tf32" else _PLAIN


def _count(tile: Tile, problem: Problem) -> int:
    strips = _strips(tile, problem)
    return max(1, strips.down * strips.across * _number(problem.batch)) * tile.parts


def _strips(tile: Tile, problem: Problem) -> Strips:
    down = -(-_number(problem.rows) // tile.rows)
    across = -(-_number(problem.columns) // tile.columns)
    strip = _number(problem.depth) * problem.dtype.itemsize
    left = problem.left if isinstance(problem.left, int) else _number(problem.rows) * strip
    return Strips(max(1, down), max(1, across), left, tile.columns * strip)


def _number(dim: Dim, unknown: int = _UNKNOWN) -> int:
    return dim if isinstance(dim, int) else unknown
