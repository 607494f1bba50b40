"""The engines of one comparison: what each needs, gives and takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .engines import Loaded
from .timing import Samples


@dataclass(frozen=True)
class Contestant:
    """An engine with the model in it.

    Attributes:
        name: The engine's.
        loaded: None where it cannot run the model.
        load_seconds: From the model's file to the first result.
        outputs: Of the first run.
        failed: Why it cannot run the model.
    """

    name: str
    loaded: Loaded | None = None
    load_seconds: float = 0.0
    outputs: Sequence[np.ndarray] = ()
    failed: str = ""

    @staticmethod
    def of(name: str, loaded: Loaded, start: float) -> Contestant:
        """Runs the model once; ``start`` is when loading began."""
        outputs = loaded.outputs(loaded.run())
        return Contestant(name, loaded, time.perf_counter() - start, outputs)


@dataclass(frozen=True)
class Result:
    """One engine's row.

    Attributes:
        engine: Its name.
        load_seconds: From the model's file to the first result.
        median_ms: Of one run.
        fastest_ms: Of one run.
        ratio: How many times as long as mlc it takes: the median over the rounds.
        rounds: How often its turn came.
        difference: The largest one to mlc's outputs, relative to the largest value.
        failed: Why there is nothing of all this; empty when there is.
        note: What a reader of the times should know.
    """

    engine: str
    load_seconds: float = 0.0
    median_ms: float = 0.0
    fastest_ms: float = 0.0
    ratio: float = 0.0
    rounds: int = 0
    difference: float = 0.0
    failed: str = ""
    note: str = ""


def result_of(who: Contestant, ours: Contestant, samples: Mapping[str, Samples]) -> Result:
    """The row of ``who``, compared with ``ours``."""
    if who.loaded is None:
        return Result(who.name, failed=who.failed)
    taken = samples[who.name]
    return Result(
        who.name,
        round(who.load_seconds, 3),
        1e3 * taken.median,
        1e3 * taken.fastest,
        taken.ratio_to(samples[ours.name]),
        len(taken.rounds),
        largest_difference(who.outputs, ours.outputs),
        note=who.loaded.note,
    )


def largest_difference(wanted: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> float:
    """The largest difference of any output, relative to the largest value of that output."""
    if [a.shape for a in wanted] != [b.shape for b in got]:
        return float("inf")
    return max((_difference(a, b) for a, b in zip(wanted, got, strict=True)), default=0.0)


def _difference(wanted: np.ndarray, got: np.ndarray) -> float:
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    if np.array_equal(a, b, equal_nan=True):
        return 0.0
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.abs(a - b).max() / (np.abs(a).max() or 1.0))
