"""The choice of a reduction's blocks, by an estimate of how long its loads are under way.

A program asks for a block of elements at once, and for the next when it has them; a multiprocessor
has several programs, and its share of the memory's bandwidth. Where results are too few for that,
the depth is taken in parts, which a second launch combines; the run decides in how many where it
alone knows the sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from itertools import chain, islice, zip_longest

from ...ir.dims import Dim, ceildiv
from ..choice import Option
from .fill import LAUNCH, balanced, parts_that_fill, room
from .target import CudaTarget
from .templates.flat import power_of_two

# Cycles until an element arrives.
_WAY = 900
# Bytes in a cycle that memory gives a multiprocessor, and that come at once from one row.
_BYTES, _SECTOR = 18, 32
_RESIDENT = 4
_ELEMENTS = 4096
_LONGEST = 1024
_MOST_PARTS = 128
# How many blocks are worth naming.
_MOST = 8
_UNKNOWN_RESULTS, _UNKNOWN_DEPTH = 1 << 16, 4096


@dataclass(frozen=True)
class Blocks:
    """A program combines ``lanes`` results, ``depth`` elements at once, of one of ``parts``.

    Where sizes are not known these are the most that the run may decide for. Its fields, in order,
    are the option that it is called by.
    """

    lanes: int
    depth: int
    parts: int

    @property
    def option(self) -> Option:
        """The numbers that stand for it."""
        return astuple(self)


@dataclass(frozen=True)
class Sums:
    """What is to be combined.

    Attributes:
        results: How many there are.
        depth: How many elements each combines.
        itemsize: Bytes of an element.
        along: Whether neighbours in memory are combined, not results of their own.
    """

    results: Dim
    depth: Dim
    itemsize: int
    along: bool

    @property
    def subject(self) -> Mapping[str, Dim | str]:
        """What a choice depends on."""
        return {**vars(self), "along": int(self.along)}


def ranked_blocks(sums: Sums, target: CudaTarget) -> list[Blocks]:
    """The blocks that are worth trying, first those that are expected to be fastest.

    Then other numbers of parts take turns with the best of other blocks.
    """
    whole = sorted(_legal(sums), key=lambda b: _cycles(b, sums, target))
    ranked = whole if _is_known(sums) else [_as_the_run_says(b, sums, target) for b in whole]
    best = ranked[0]
    parts = [b for b in ranked if replace(b, parts=best.parts) == best]
    shapes = {(b.lanes, b.depth): b for b in reversed(ranked)}
    others = [b for b in ranked if b is shapes[b.lanes, b.depth]]
    turns = chain.from_iterable(zip_longest([*parts, replace(best, parts=1)], others))
    return list(islice(dict.fromkeys(b for b in turns if b), _MOST))


def results_in_parts(blocks: Blocks, target: CudaTarget) -> int:
    """How many results all parts have at most, where the run finds how many there are."""
    return blocks.lanes * _RESIDENT * target.multiprocessors


def _as_the_run_says(blocks: Blocks, sums: Sums, target: CudaTarget) -> Blocks:
    """The blocks with the most parts that the run may decide for."""
    if _filling(blocks, sums, target, _MOST_PARTS) == 1:
        return blocks
    free = room(_programs(blocks, sums), target, _RESIDENT)
    return replace(blocks, parts=min(free, _MOST_PARTS) if isinstance(free, int) else _MOST_PARTS)


def count_parts(blocks: Blocks, sums: Sums, target: CudaTarget) -> Dim:
    """The number of parts; where sizes are not known, the run finds what is worth it."""
    return blocks.parts if _is_known(sums) else _filling(blocks, sums, target, blocks.parts)


def _legal(sums: Sums) -> Iterator[Blocks]:
    results = _number(sums.results, _UNKNOWN_RESULTS)
    count = _number(sums.depth, _UNKNOWN_DEPTH)
    for lanes in (1, 2, 4) if sums.along else (16, 32, 64, 128):
        lanes = min(lanes, power_of_two(results))
        longest = _LONGEST if sums.along else _ELEMENTS // lanes
        depth = min(power_of_two(count), longest)
        yield Blocks(lanes, depth, 1)
        steps, parts = -(-count // depth), 2
        while _is_known(sums) and parts <= min(steps, _MOST_PARTS):
            yield Blocks(lanes, depth, balanced(parts, steps))
            parts *= 2


def _is_known(sums: Sums) -> bool:
    return isinstance(sums.results, int) and isinstance(sums.depth, int)


def _programs(blocks: Blocks, sums: Sums) -> Dim:
    return ceildiv(sums.results, blocks.lanes)


def _filling(blocks: Blocks, sums: Sums, target: CudaTarget, most: int) -> Dim:
    """In how many parts programs fill the GPU."""
    size = blocks.lanes * blocks.depth * sums.itemsize * _waste(blocks, sums)
    cycles = max(_WAY, size / _BYTES)
    programs, steps = _programs(blocks, sums), ceildiv(sums.depth, blocks.depth)
    return parts_that_fill(programs, steps, cycles, most, target, _RESIDENT)


def _waste(blocks: Blocks, sums: Sums) -> float:
    """How much more is read than asked for."""
    side_by_side = blocks.depth if sums.along else blocks.lanes
    return max(1.0, _SECTOR / (side_by_side * sums.itemsize))


def _cycles(blocks: Blocks, sums: Sums, target: CudaTarget) -> float:
    results = _number(sums.results, _UNKNOWN_RESULTS)
    count = _number(sums.depth, _UNKNOWN_DEPTH)
    programs = -(-results // blocks.lanes) * blocks.parts
    here = -(-programs // target.multiprocessors)
    size = blocks.lanes * -(-count // blocks.parts) * sums.itemsize * _waste(blocks, sums)
    asked = blocks.lanes * blocks.depth * sums.itemsize * min(here, _RESIDENT)
    cycles = here * size / min(_BYTES, asked / _WAY) + _WAY
    if blocks.parts == 1:
        return cycles
    partial = 8 * results * blocks.parts / target.multiprocessors
    return cycles + partial / _BYTES + LAUNCH


def _number(dim: Dim, unknown: int) -> int:
    return max(1, dim) if isinstance(dim, int) else unknown
