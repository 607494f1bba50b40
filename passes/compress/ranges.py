"""The range of a value over all samples, by a histogram that widens as it needs to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .grid import Grid, Levels
from .report import decibels

_BINS = 4096
_TRIES = 64
_NARROWEST = 0.2
# The share of samples that a percentile cuts off at each end.
_CUT = 1e-5
ACTIVATION = Levels(8, symmetric=False)


class Histogram:
    """Counts of values between ``-reach`` and ``reach``; its size does not depend on how many."""

    def __init__(self):
        self.reach = 0.0
        self.low = np.inf
        self.high = -np.inf
        self.counts = np.zeros(_BINS)

    def add(self, values: np.ndarray) -> None:
        """More values, which must be finite."""
        if values.size == 0:
            return
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        self._widen(max(-self.low, self.high, 1e-30))
        self.counts += np.histogram(values, _BINS, (-self.reach, self.reach))[0]

    @property
    def centers(self) -> np.ndarray:
        """The value that each bin stands for."""
        edges = np.linspace(-self.reach, self.reach, _BINS + 1)
        return (edges[1:] + edges[:-1]) / 2

    def _widen(self, reach: float) -> None:
        """Doubles the reach, and merges pairs of bins, until it suffices."""
        self.reach = self.reach or reach
        while self.reach < reach:
            pairs = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.zeros(_BINS)
            self.counts[_BINS // 4 : -_BINS // 4] = pairs
            self.reach *= 2


def grid_of(seen: Histogram, method: str) -> Grid:
    """The grid of 256 levels for values like those seen; see ``Quantize.range``."""
    if not seen.counts.any():
        return between(0.0, 0.0)
    if method == "min-max":
        return between(seen.low, seen.high)
    return _percentile(seen) if method == "percentile" else _searched(seen, _LOSSES[method])


def between(low: float, high: float) -> Grid:
    """The grid whose levels reach from ``low`` to ``high`` and hold 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / ACTIVATION.high or 1.0
    return Grid(ACTIVATION, np.asarray(scale), np.asarray(np.rint(-low / scale)))


def sqnr_of(seen: Histogram, grid: Grid) -> float | None:
    """Signal to noise in dB of what was seen, rounded to ``grid``."""
    return decibels(float(seen.counts @ seen.centers**2), _squared_error(seen, grid))


def _percentile(seen: Histogram) -> Grid:
    below = np.cumsum(seen.counts) / seen.counts.sum()
    low, high = (int(np.searchsorted(below, share)) for share in (_CUT, 1 - _CUT))
    centers = seen.centers
    return between(float(centers[low]), float(centers[min(high, _BINS - 1)]))


def _searched(seen: Histogram, loss: Callable[[Histogram, Grid], float]) -> Grid:
    """The least loss, of shares of the whole range at both ends independently of each other."""
    shares = np.linspace(1, _NARROWEST, _TRIES)
    best = min((between(seen.low, seen.high * s) for s in shares), key=lambda g: loss(seen, g))
    high = float(best.values(np.asarray(float(ACTIVATION.high))))
    return min((between(seen.low * s, high) for s in shares), key=lambda g: loss(seen, g))


def _squared_error(seen: Histogram, grid: Grid) -> float:
    centers = seen.centers
    return float(seen.counts @ (grid.nearest(centers) - centers) ** 2)


def _divergence(seen: Histogram, grid: Grid) -> float:
    """The relative entropy of what was seen against what its levels tell about it."""
    codes = grid.codes(seen.centers).astype(np.int64)
    there = seen.counts > 0
    mass = np.bincount(codes, seen.counts, ACTIVATION.high + 1)
    inside = np.abs(grid.values(codes) - seen.centers) <= grid.scale
    width = np.bincount(codes, there & inside, ACTIVATION.high + 1)
    told = (mass / np.maximum(width, 1))[codes]
    wanted = seen.counts[there] / seen.counts.sum()
    got = np.where(inside, told, 1e-9)[there]
    return float(wanted @ np.log(wanted / (got / got.sum())))


_LOSSES = {"mse": _squared_error, "entropy": _divergence}
