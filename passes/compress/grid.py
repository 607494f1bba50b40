"""Grids of few levels, and how a scale and a zero point are fitted to weights.

All functions take ``[inputs, outputs]``; the inputs of one call share a scale for each output.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

# The widest and narrowest ranges that are tried, as shares of the whole one.
_NARROWEST = {8: 0.9, 4: 0.6, 2: 0.3}
_TRIES = 24
_HALF_QUADRATIC_STEPS = 20
# How far a number may be from its f16, relative.
_HALF = 2**-11
_NORM = 0.7


@dataclass(frozen=True)
class Levels:
    """The integers that weights become.

    Attributes:
        bits: How many.
        symmetric: Whether they are signed and 0 is 0; else unsigned, with a zero point.
    """

    bits: int
    symmetric: bool

    @property
    def dtype(self) -> np.dtype:
        """The dtype that is stored."""
        sign = "int" if self.symmetric else "uint"
        plain = self.bits == 8
        return np.dtype(f"{sign}8" if plain else getattr(ml_dtypes, f"{sign}{self.bits}"))

    @property
    def low(self) -> int:
        """The least."""
        return -self.high if self.symmetric and self.bits > 2 else -2 * self.symmetric

    @property
    def high(self) -> int:
        """The greatest."""
        return 2 ** (self.bits - self.symmetric) - 1


@dataclass(frozen=True)
class Grid:
    """``(q - zero) * scale`` for each output; both are ``[outputs]``."""

    levels: Levels
    scale: np.ndarray
    zero: np.ndarray

    def codes(self, weight: np.ndarray) -> np.ndarray:
        """The nearest levels, as floats."""
        return np.clip(np.rint(weight / self.scale) + self.zero, self.levels.low, self.levels.high)

    def values(self, codes: np.ndarray) -> np.ndarray:
        """What codes mean."""
        return (codes - self.zero) * self.scale

    def in_halves(self) -> Grid:
        """With scales that f16 holds exactly, as far as it holds them well."""
        scale = np.asarray(self.scale, np.float32)
        with np.errstate(over="ignore"):
            half = scale.astype(np.float16).astype(np.float32)
        near = np.abs(half - scale) <= _HALF * scale
        return Grid(self.levels, np.where(near, half, self.scale), self.zero)

    def nearest(self, weight: np.ndarray) -> np.ndarray:
        """The nearest values."""
        return self.values(self.codes(weight))


def whole_range(weight: np.ndarray, levels: Levels, share: float = 1.0) -> Grid:
    """The grid from the least to the greatest weight, or a share of that range around 0."""
    low = np.minimum(weight.min(0), 0) * share
    high = np.maximum(weight.max(0), 0) * share
    if levels.symmetric:
        reach = np.maximum(-low / -levels.low, high / max(levels.high, 1))
        return Grid(levels, _positive(reach), np.zeros_like(reach))
    scale = _positive((high - low) / levels.high)
    return Grid(levels, scale, np.clip(np.rint(-low / scale), levels.low, levels.high))


def best_range(weight: np.ndarray, levels: Levels, importance: np.ndarray | None = None) -> Grid:
    """The share of the range with the least squared error, for each output.

    ``importance`` ``[inputs]`` weighs the errors.
    """
    best = whole_range(weight, levels)
    least = squared_error(best, weight, importance)
    for share in np.linspace(1, _NARROWEST[levels.bits], _TRIES)[1:]:
        grid = whole_range(weight, levels, float(share))
        error = squared_error(grid, weight, importance)
        best, least = _better(best, least, grid, error)
    return best


def half_quadratic(weight: np.ndarray, levels: Levels) -> Grid:
    """A grid fitted without data: few large errors are allowed, so that most are small.

    The error is split into a sparse part, which is shrunk to it, and the rest, for which scale and
    zero point are least squares.
    """
    best = best_range(weight, levels)
    least = _rough_error(best, weight)
    grid, force = best, 10.0 / float(np.abs(weight).max() or 1.0)
    for _ in range(_HALF_QUADRATIC_STEPS):
        codes = grid.codes(weight)
        target = weight - _shrunk(weight - grid.values(codes), force)
        grid = _refitted(grid, codes, target)
        best, least = _better(best, least, grid, _rough_error(grid, weight))
        force *= 1.1
    return best


def squared_error(grid: Grid, weight: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    """Of each output."""
    error = (grid.nearest(weight) - weight) ** 2
    return error.sum(0) if importance is None else importance @ error


def _rough_error(grid: Grid, weight: np.ndarray) -> np.ndarray:
    return (np.abs(grid.nearest(weight) - weight) ** _NORM).sum(0)


def _shrunk(error: np.ndarray, force: float) -> np.ndarray:
    size = np.abs(error)
    less = np.power(np.maximum(size, 1e-12), _NORM - 1) / force
    return np.sign(error) * np.maximum(size - less, 0)


def _refitted(grid: Grid, codes: np.ndarray, target: np.ndarray) -> Grid:
    steps = codes - grid.zero
    norm = (steps * steps).sum(0)
    scale = np.where(norm > 0, (target * steps).sum(0) / np.maximum(norm, 1e-12), grid.scale)
    scale = np.where(scale > 0, scale, grid.scale)
    if grid.levels.symmetric:
        return Grid(grid.levels, scale, grid.zero)
    zero = np.rint((codes - target / scale).mean(0))
    return Grid(grid.levels, scale, np.clip(zero, grid.levels.low, grid.levels.high))


def _better(
    best: Grid, least: np.ndarray, grid: Grid, error: np.ndarray
) -> tuple[Grid, np.ndarray]:
    wins = error < least
    scale, zero = np.where(wins, grid.scale, best.scale), np.where(wins, grid.zero, best.zero)
    return Grid(best.levels, scale, zero), np.where(wins, error, least)


def _positive(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 0, scale, 1.0)
