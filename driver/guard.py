"""Keeps the quality of a compressed model within a bound: the worst layers stay in floats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..passes.compress.outcome import fewest
from ..runtime import Model
from .metric import Metric

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ..passes.compress.baseline import Baseline

WHY = "too much was lost with it compressed"


@dataclass(frozen=True)
class Verdict:
    """What compression does to a model as a whole.

    Attributes:
        metric: What was measured.
        before: Of the float model.
        after: Of the model as it is delivered.
        without_guard: Of the model with every layer compressed.
        evaluations: How many compressed models were measured.
        restored: The layers that are in floats because of it.
    """

    metric: str
    before: float
    after: float
    without_guard: float
    evaluations: int
    restored: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"restored": list(self.restored)}


def judged(
    baseline: Baseline,
    order: Sequence[str],
    metric: Metric,
    before: float,
    max_drop: float | None,
    build: Callable[[ModuleOp], Model],
    progress: Callable[[str, int, int], None],
) -> Verdict:
    """Measures; with ``max_drop``, finds how many layers in ``order`` have to be restored.

    The metric may fall by at most ``max_drop``. The module that is followed
    is not changed.
    """
    scores: dict[int, float] = {}
    most = max(len(order), 1).bit_length() + 1

    def score(count: int) -> float:
        if count not in scores:
            scores[count] = metric.score(build(baseline.restored(order[:count])))
            progress("judge", len(scores), most)
        return scores[count]

    bound = float("-inf") if max_drop is None else before - max_drop
    count = fewest(len(order), lambda n: score(n) >= bound)
    return Verdict(metric.name, before, score(count), score(0), len(scores), tuple(order[:count]))
