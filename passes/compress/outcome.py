"""What compression came to, layer by layer: sizes, predicted times, errors of what they compute."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import islice

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from .baseline import Baseline, Ends, span
from .costs import Costs, stored_bytes
from .report import LayerReport, Report, decibels
from .samples import Samples, returning

# Batches on which the layers' results are compared.
_COMPARED = 4


def layer_reports(
    baseline: Baseline, report: Report, costs: Costs, restored: Collection[str], why: str
) -> list[LayerReport]:
    """One for each node with layers; ``why`` is said of those that were restored."""
    found = {name: LayerReport(name, report.of(name)) for name in baseline.names}
    for name, before, now in zip(baseline.names, baseline.before, baseline.now, strict=True):
        found[name] = _with_spans(found[name], before, now, costs)
    return [replace(r, restored=why if r.layer in restored else "") for r in found.values()]


def worst_first(baseline: Baseline, report: Report) -> list[str]:
    """The layers to which something was done, those with the most noise first."""
    changed = [n for n in dict.fromkeys(baseline.names) if report.of(n)]
    return sorted(changed, key=report.noise, reverse=True)


def output_errors(
    baseline: Baseline, compressed: ModuleOp, samples: Samples
) -> dict[str, float | None]:
    """Signal to noise in dB of what each layer computes, against the float model."""
    given = [
        samples.runner(returning(module, [gives for _, gives in ends]))
        for module, ends in ((baseline.module, baseline.before), (compressed, baseline.now))
    ]
    energies = np.zeros((len(baseline.names), 2))
    for done, batch in enumerate(islice(samples, _COMPARED)):
        wanted, got = (run(batch) for run in given)
        energies += [_energies(a, b) for a, b in zip(wanted, got, strict=True)]
        samples.progress("compare", done + 1, _COMPARED)
    names = np.array(baseline.names)
    sums = {name: energies[names == name].sum(0) for name in dict.fromkeys(baseline.names)}
    return {name: decibels(float(signal), float(noise)) for name, (signal, noise) in sums.items()}


def fewest(most: int, is_fine: Callable[[int], bool]) -> int:
    """The least number up to ``most`` that is fine, if more are never worse.

    ``most`` is known to be fine. About ``log2(most) + 1`` numbers are tried, 0 first.
    """
    if most == 0 or is_fine(0):
        return 0
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_fine(middle) else (middle, high)
    return high


def _with_spans(found: LayerReport, before: Ends, now: Ends, costs: Costs) -> LayerReport:
    """With what stood for a layer, and what stands for it now, added."""
    old, new = span(*before), span(*now)
    return replace(
        found,
        bytes_before=found.bytes_before + stored_bytes(old),
        bytes_after=found.bytes_after + stored_bytes(new),
        predicted_before=(found.predicted_before or 0.0) + costs.seconds(old),
        predicted_after=(found.predicted_after or 0.0) + costs.seconds(new),
    )


def _energies(wanted: np.ndarray, got: np.ndarray) -> tuple[float, float]:
    exact = wanted.astype(np.float64)
    return float((exact**2).sum()), float(((got - exact) ** 2).sum())
