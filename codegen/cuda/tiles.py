"""The choice of a product's tile, by an estimate of the time that all tiles take.

A tile loads its strips of both factors from the second-level cache while it multiplies; tiles run
in waves over the multiprocessors. What does not fit shared memory, or the registers of its warps,
is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product as pairs

import numpy as np

from ...ir.dims import Dim
from ...ir.types import F32, is_float
from .target import CudaTarget

# Multiplications of a multiprocessor in a cycle, and bytes from the second-level cache.
_TENSOR, _TENSOR_TF32, _PLAIN, _BYTES = 1024, 512, 96, 48
_LATENCY = 1500
_UNKNOWN = 1024
_REGISTERS = 128
_STAGES = 3


@dataclass(frozen=True)
class Tile:
    """A tile of ``rows`` x ``columns`` results, summed in steps of ``depth``."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}x{self.depth}"


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
    """

    rows: Dim
    columns: Dim
    depth: Dim
    batch: Dim
    dtype: np.dtype
    inner: Dim


def choose_tile(problem: Problem, target: CudaTarget) -> tuple[Tile, str]:
    """The tile that is expected to be fastest, and why."""
    best = min(_legal(problem, target), key=lambda t: (_cycles(t, problem, target), _shared(t, 1)))
    tiles = _count(best, problem)
    waves = -(-tiles // target.multiprocessors)
    why = f"tiles of {best} in {waves} wave{'s' * (waves != 1)} of {target.multiprocessors}"
    return best, why


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
        held = rows * columns // (32 * tile.warps)
        if held <= _REGISTERS and _shared(tile, problem.dtype.itemsize) <= target.shared:
            yield tile


def _warps(rows: int, columns: int) -> int:
    if rows * columns <= 32 * 32:
        return 2
    return 8 if rows * columns >= 128 * 128 else 4


def _shared(tile: Tile, itemsize: int) -> int:
    return tile.stages * (tile.rows + tile.columns) * tile.depth * itemsize


def _cycles(tile: Tile, problem: Problem, target: CudaTarget) -> float:
    depth = _number(problem.depth)
    steps = -(-depth // tile.depth)
    work = tile.rows * tile.columns * tile.depth * steps
    load = (tile.rows + tile.columns) * tile.depth * steps * problem.dtype.itemsize
    small = 64 if problem.dtype != F32 or target.precision != "f32" else 16
    waste = max(1.0, small / tile.rows) * max(1.0, 32 / tile.columns)
    one = max(work / _rate(problem, target) * waste, load / _BYTES) + 40 * steps + _LATENCY
    return -(-_count(tile, problem) // target.multiprocessors) * one


def _rate(problem: Problem, target: CudaTarget) -> int:
    if problem.dtype != F32:
        return _TENSOR if is_float(problem.dtype) else 2 * _TENSOR
    return _TENSOR_TF32 if target.precision == "tf32" else _PLAIN


def _count(tile: Tile, problem: Problem) -> int:
    down = -(-_number(problem.rows) // tile.rows)
    across = -(-_number(problem.columns) // tile.columns)
    return max(1, down * across * _number(problem.batch))


def _number(dim: Dim) -> int:
    return dim if isinstance(dim, int) else _UNKNOWN
