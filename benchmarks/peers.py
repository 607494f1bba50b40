"""What the benchmarks of compressed models compare with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlc
import numpy as np


def feeds_of(model: mlc.Model) -> dict[str, np.ndarray]:
    """Inputs that any model takes."""
    rng = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {}
    for spec in model.inputs:
        shape = tuple(d if isinstance(d, int) else 1 for d in spec.shape)
        values = rng.standard_normal(shape) if spec.dtype.kind == "f" else np.ones(shape)
        feeds[spec.name] = values.astype(spec.dtype)
    return feeds


def peer(path: Path, threads: int) -> Callable[[dict[str, np.ndarray]], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)
