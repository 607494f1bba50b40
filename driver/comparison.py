"""The compressed model beside the float one: what layers compute, and what a run takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..passes.compress.outcome import output_errors
from ..runtime import Model
from .layer_times import Times, times_of, typical

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ..passes.compress.baseline import Baseline
    from ..passes.compress.report import LayerReport
    from ..passes.compress.samples import Samples

# How often both models are measured in turn, so that what disturbs the machine disturbs both.
_ROUNDS = 3


def with_errors(
    layers: list[LayerReport], baseline: Baseline, module: ModuleOp, samples: Samples
) -> list[LayerReport]:
    """The layers with the error of what each computes, from the model's input on."""
    errors = output_errors(baseline, module, samples)
    return [replace(entry, output_sqnr=errors[entry.layer]) for entry in layers]


def with_times(
    layers: list[LayerReport],
    baseline: Baseline,
    module: ModuleOp,
    samples: Samples,
    build: Callable[[ModuleOp], Model],
) -> tuple[list[LayerReport], dict[str, Any] | None]:
    """The layers with the times of a run on the first batch, and of the run as a whole.

    Where this machine cannot run what ``build`` makes, there are no times.
    """
    batch, names = next(iter(samples)), [entry.layer for entry in layers]
    models = [build(of.clone()) for of in (baseline.module, module)]
    rounds = [[times_of(model, batch, names) for model in models] for _ in range(_ROUNDS)]
    before, after = (typical(times) for times in zip(*rounds, strict=True))
    if not before.run or not after.run:
        return layers, None
    shapes = {n: list(a.shape) for n, a in zip(samples.names, batch, strict=True)}
    run = {"before": before.run, "after": after.run, "inputs": shapes}
    return [_timed(entry, before, after) for entry in layers], run


def _timed(entry: LayerReport, before: Times, after: Times) -> LayerReport:
    was, now = (times.nodes.get(entry.layer) for times in (before, after))
    return replace(entry, measured_before=was, measured_after=now)
