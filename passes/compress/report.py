"""What became of each layer: what was asked, what was done, why, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np

# Why nothing is done to a layer that came encoded.
ENCODED = "it is quantized already: prune and factorize before that"
# How a reason begins why a kernel multiplies zeros, and its weight is stored whole.
UNSKIPPED = "zeros are not skipped"
ItemT = TypeVar("ItemT")
# Is told what is done, and how many of how many.
Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Step:
    """One compression of one layer.

    Attributes:
        layer: The node in the user's model.
        asked: The compression and its options, in short.
        done: What was done; ``nothing`` where it was refused.
        why: The reason, where it is not what was asked.
        sqnr: Signal to noise in dB of what was changed, weighed by the inputs where they are known.
    """

    layer: str
    asked: str
    done: str
    why: str = ""
    sqnr: float | None = None


@dataclass(frozen=True)
class LayerReport:
    """One layer before and after all compressions.

    Attributes:
        layer: The node in the user's model.
        steps: What was done to it, in order; none where it was left as it is.
        bytes_before: Of its weights.
        bytes_after: Of what stands for them now.
        predicted_before: Seconds of one thread, as the target estimates; None: no estimate.
        predicted_after: The same for what stands for it now.
        output_sqnr: Signal to noise in dB of what it computes, against the float model.
        measured_before: Seconds of a run of the float model that it took; None: not measured.
        measured_after: The same for the compressed model.
        restored: Why it is in floats again, whatever the steps did; empty where it is not.
    """

    layer: str
    steps: tuple[Step, ...] = ()
    bytes_before: int = 0
    bytes_after: int = 0
    predicted_before: float | None = None
    predicted_after: float | None = None
    output_sqnr: float | None = None
    measured_before: float | None = None
    measured_after: float | None = None
    restored: str = ""

    def values(self) -> dict[str, Any]:
        """As plain values, for the artifact's manifest."""
        return asdict(self) | {"steps": [asdict(step) for step in self.steps]}

    @staticmethod
    def of(values: dict[str, Any]) -> LayerReport:
        """What ``values`` were made of."""
        steps = tuple(Step(**s) for s in values["steps"])
        return LayerReport(steps=steps, **{k: v for k, v in values.items() if k != "steps"})


@dataclass
class Report:
    """The steps in the order in which they were done; ``progress`` is told about each."""

    steps: list[Step] = field(default_factory=list)
    progress: Progress = silent

    def add(self, step: Step) -> None:
        """One more."""
        self.steps.append(step)

    def each(self, what: str, items: Sequence[ItemT]) -> Iterator[ItemT]:
        """The items, one after the other; what is done to them is called ``what``."""
        for done, item in enumerate(items):
            yield item
            self.progress(what, done + 1, len(items))

    def of(self, layer: str) -> tuple[Step, ...]:
        """Those of one layer."""
        return tuple(step for step in self.steps if step.layer == layer)

    def noise(self, layer: str) -> float:
        """The noise that the steps of a layer add, as a share of the signal."""
        return sum(10 ** (-s.sqnr / 10) for s in self.of(layer) if s.sqnr is not None)


def sqnr(wanted: np.ndarray, got: np.ndarray, hessian: np.ndarray | None = None) -> float | None:
    """``10 log10(signal / noise)`` of ``[inputs, outputs]``; None where there is no noise."""
    error = got.astype(np.float64) - wanted
    return decibels(*(energy(m, hessian) for m in (wanted.astype(np.float64), error)))


def decibels(signal: float, noise: float) -> float | None:
    """``10 log10(signal / noise)``; None where there is no noise, or nothing else."""
    return 10 * float(np.log10(signal / noise)) if noise > 0 and signal > 0 else None


def energy(matrix: np.ndarray, hessian: np.ndarray | None) -> float:
    """The squares of a matrix, or with a Hessian of what it gives, summed."""
    moved = matrix if hessian is None else hessian @ matrix
    return float((matrix * moved).sum())
