"""The choice of a reduction's blocks, by an estimate of how long its loads are under way.

A program asks for a block of elements at once, and for the next when it has them; a multiprocessor
has several programs, and its share of the memory's bandwidth. Where results are too few for that,
the depth is taken in parts, which a second launch combines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...ir.dims import Dim
from .target import CudaTarget
from .templates.flat import power_of_two

# In cycles: until an element arrives, until a launch begins that waits for another.
_WAY, _LAUNCH = 900, 2500
# Bytes in a cycle that memory gives a multiprocessor, and that come at once from one row.
_BYTES, _SECTOR = 18, 32
_RESIDENT = 4
_ELEMENTS = 4096
_LONGEST = 1024
_MOST_PARTS = 128
_UNKNOWN_RESULTS, _UNKNOWN_DEPTH = 1 << 16, 4096


@dataclass(frozen=True)
class Blocks:
    """A program combines ``lanes`` results, ``depth`` elements at once, of one of ``parts``."""

    lanes: int
    depth: int
    parts: int


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


def choose_blocks(sums: Sums, target: CudaTarget) -> Blocks:
    """The blocks that are expected to be fastest."""
    return min(_legal(sums), key=lambda b: _cycles(b, sums, target))


def _legal(sums: Sums) -> Iterator[Blocks]:
    results = _number(sums.results, _UNKNOWN_RESULTS)
    count = _number(sums.depth, _UNKNOWN_DEPTH)
    for lanes in (1, 2, 4) if sums.along else (16, 32, 64, 128):
        lanes = min(lanes, power_of_two(results))
        longest = _LONGEST if sums.along else _ELEMENTS // lanes
        depth = min(power_of_two(count), longest)
        yield Blocks(lanes, depth, 1)
        steps, parts = -(-count // depth), 2
        while isinstance(sums.results, int) and parts <= min(steps, _MOST_PARTS):
            yield Blocks(lanes, depth, -(-steps // -(-steps // parts)))
            parts *= 2


def _cycles(blocks: Blocks, sums: Sums, target: CudaTarget) -> float:
    results = _number(sums.results, _UNKNOWN_RESULTS)
    count = _number(sums.depth, _UNKNOWN_DEPTH)
    programs = -(-results // blocks.lanes) * blocks.parts
    here = -(-programs // target.multiprocessors)
    side_by_side = blocks.depth if sums.along else blocks.lanes
    waste = max(1.0, _SECTOR / (side_by_side * sums.itemsize))
    size = blocks.lanes * -(-count // blocks.parts) * sums.itemsize * waste
    asked = blocks.lanes * blocks.depth * sums.itemsize * min(here, _RESIDENT)
    cycles = here * size / min(_BYTES, asked / _WAY) + _WAY
    if blocks.parts == 1:
        return cycles
    partial = 8 * results * blocks.parts / target.multiprocessors
    return cycles + partial / _BYTES + _LAUNCH


def _number(dim: Dim, unknown: int) -> int:
    return max(1, dim) if isinstance(dim, int) else unknown
