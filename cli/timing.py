"""Times several ways to do one thing so that their ratios hold on a busy machine.

They are called in turn, A B C, B C A, and so on: what disturbs the machine disturbs all of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_LONG_ENOUGH = 0.03
_MOST_REPEATS = 8
_PAUSE = 0.008
_FEWEST_ROUNDS = 3


@dataclass
class Samples:
    """Seconds of single calls, by round."""

    rounds: list[list[float]] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of all calls."""
        return statistics.median(t for r in self.rounds for t in r)

    @property
    def fastest(self) -> float:
        """The fastest call."""
        return min(t for r in self.rounds for t in r)

    def ratio_to(self, other: Samples) -> float:
        """The median over the rounds of this one's time to that of ``other``."""
        pairs = zip(self.rounds, other.rounds, strict=False)
        return statistics.median(statistics.median(a) / statistics.median(b) for a, b in pairs)


def interleave(runs: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, Samples]:
    """Calls all ``runs`` in turn for about ``seconds``.

    Each is called once more before its calls are timed, so that its data is in the caches.
    """
    repeats = {name: _repeats(run) for name, run in runs.items()}
    samples = {name: Samples() for name in runs}
    names, number = list(runs), 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or number < _FEWEST_ROUNDS:
        start = number % len(names)
        for name in names[start:] + names[:start]:
            time.sleep(_PAUSE)  # lets the threads of the one before stop spinning
            runs[name]()
            samples[name].rounds.append([_timed(runs[name]) for _ in range(repeats[name])])
        number += 1
    return samples


def _repeats(run: Callable[[], object]) -> int:
    run()
    once = min(_timed(run), _timed(run))
    return max(1, min(_MOST_REPEATS, int(_LONG_ENOUGH / max(once, 1e-9))))


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
