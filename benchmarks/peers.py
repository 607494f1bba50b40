"""What the benchmarks of compressed models compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import mlc
import numpy as np
from mlc.cli.engines import Job, engine_named
from mlc.cli.timing import interleave

Run = Callable[[], object]


def feeds_of(model: mlc.Model) -> dict[str, np.ndarray]:
    """Inputs that any model takes."""
    rng = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {}
    for spec in model.inputs:
        shape = tuple(d if isinstance(d, int) else 1 for d in spec.shape)
        values = rng.standard_normal(shape) if spec.dtype.kind == "f" else np.ones(shape)
        feeds[spec.name] = values.astype(spec.dtype)
    return feeds


def peer(
    path: Path, threads: int, feeds: dict[str, np.ndarray], engine: str = "onnxruntime"
) -> Run:
    """A run of another engine at the settings of ``mlc bench``."""
    return engine_named(engine)(Job(lambda: path, None, feeds, threads)).run


def medians(runs: Mapping[str, Run], seconds: float) -> dict[str, float]:
    """Seconds of a run of each, in turn for about so long; a run that is not timed is before each.

    Without that, threads that still spin after another engine's run would take its time.
    """
    return {name: samples.median for name, samples in interleave(runs, seconds).items()}
