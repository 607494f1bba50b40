"""What a compressed model is judged by: a user's function, accuracy, or agreement with floats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.errors import MlcError
from ..runtime import Model

LABELS = "labels"
Score = Callable[[Model], float]


@dataclass(frozen=True)
class Metric:
    """Judges models; more is better.

    Attributes:
        name: What is measured.
        score: Measures it.
    """

    name: str
    score: Score


def metric_of(given: Score | None, batches: Any, labels: np.ndarray | None, exact: Model) -> Metric:
    """The user's function; else accuracy by ``labels``; else agreement with the model ``exact``.

    ``batches`` are lists of inputs, which may be gone through again and again.
    """
    if given is not None:
        return Metric(getattr(given, "__name__", "metric"), lambda model: float(given(model)))
    if labels is not None:
        return Metric("accuracy", lambda model: _accuracy(model, batches, labels))
    wanted = [_results(exact, batch) for batch in batches]
    return Metric("agreement with the float model", lambda m: _agreement(m, batches, wanted))


def split_labels(validation: Any) -> tuple[Any, np.ndarray | None]:
    """Inputs, and the array called ``labels`` where there is one."""
    if not isinstance(validation, Mapping) or LABELS not in validation:
        return validation, None
    inputs = {name: array for name, array in validation.items() if name != LABELS}
    return inputs, np.asarray(validation[LABELS])


def label_problems(labels: np.ndarray, inputs: Mapping[str, Any]) -> list[str]:
    """What is wrong with labels whatever the model, in words."""
    found = []
    if labels.dtype.kind not in "iu":
        found.append(f"validation: '{LABELS}' holds {labels.dtype}: expected numbers of classes")
    rows = {len(array) for array in inputs.values() if np.ndim(array)}
    if labels.ndim == 0 or len(labels) not in rows:
        found.append(
            f"validation: '{LABELS}' has the shape {list(labels.shape)}: expected one label for "
            f"each row of the inputs, which are {' or '.join(map(str, sorted(rows)))}"
        )
    return found


def _accuracy(model: Model, batches: Any, labels: np.ndarray) -> float:
    """The share of rows whose largest result is where the label says."""
    guessed = np.concatenate([_results(model, batch)[0].argmax(-1) for batch in batches])
    if guessed.shape != labels.shape:
        raise MlcError(
            f"there are labels {list(labels.shape)} for classes {list(guessed.shape)}: expected "
            "one label for each row of the first output"
        )
    return float((guessed == labels).mean())


def _agreement(model: Model, batches: Any, wanted: list[list[np.ndarray]]) -> float:
    """The mean cosine of the results of each batch, of all outputs."""
    pairs = [
        pair
        for batch, results in zip(batches, wanted, strict=True)
        for pair in zip(_results(model, batch), results, strict=True)
    ]
    return float(np.mean([_cosine(got, exact) for got, exact in pairs]))


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    x, y = a.astype(np.float64).reshape(-1), b.astype(np.float64).reshape(-1)
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norms if norms else float(np.array_equal(x, y))


def _results(model: Model, batch: list[np.ndarray]) -> list[np.ndarray]:
    found = model(*batch)
    return [np.asarray(r) for r in (found if isinstance(found, tuple) else (found,))]
