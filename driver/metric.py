"""What a compressed model is judged by: a user's function, accuracy, or agreement with floats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.dims import Dim
from ..ir.errors import MlcError
from ..runtime import Model

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

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
        return _by_user(given)
    if labels is not None:
        return Metric("accuracy", lambda model: _accuracy(model, batches, labels))
    wanted = [_results(exact, batch) for batch in batches]
    return Metric("agreement with the float model", lambda m: _agreement(m, batches, wanted))


def split_labels(data: Any, inputs: Sequence[str]) -> tuple[Any, np.ndarray | None]:
    """Inputs, and the array called ``labels`` where there is one that is none of the ``inputs``."""
    if not isinstance(data, Mapping) or LABELS not in data or LABELS in inputs:
        return data, None
    return {n: array for n, array in data.items() if n != LABELS}, np.asarray(data[LABELS])


def classes_of(module: ModuleOp) -> Dim:
    """How many columns the model's first output has; 1 where it has none."""
    from ..ir.module import main_function
    from ..ir.types import type_of

    returned = main_function(module).body.block.last_op
    outputs = returned.operands if returned else ()
    shape = type_of(outputs[0]).shape if outputs else ()
    return shape[-1] if shape else 1


def label_problems(labels: np.ndarray, inputs: Mapping[str, Any], classes: Dim) -> list[str]:
    """What is wrong with labels of so many classes, in words."""
    found = []
    if labels.dtype.kind not in "iu":
        found.append(f"validation: '{LABELS}' holds {labels.dtype}: expected numbers of classes")
    elif labels.size and isinstance(classes, int) and not _within(labels, classes):
        found.append(
            f"validation: '{LABELS}' go from {labels.min()} to {labels.max()}: expected 0 to "
            f"{classes - 1}, as the model's first output has {classes} columns"
        )
    rows = {len(array) for array in inputs.values() if np.ndim(array)}
    if labels.ndim == 0 or (rows and len(labels) not in rows):
        found.append(
            f"validation: '{LABELS}' has the shape {list(labels.shape)}: expected one label for "
            f"each row of the inputs, which are {' or '.join(map(str, sorted(rows)))}"
        )
    return found


def _within(labels: np.ndarray, classes: int) -> bool:
    return bool(labels.min() >= 0 and labels.max() < classes)


def _by_user(given: Score) -> Metric:
    """Refuses what is no number, which no bound can be held against."""
    name = getattr(given, "__name__", "metric")

    def score(model: Model) -> float:
        found = given(model)
        try:
            number = float(found)
        except (TypeError, ValueError):
            number = float("nan")
        if number != number:
            raise MlcError(f"the metric '{name}' gave {found!r} for a model: expected a number")
        return number

    return Metric(name, score)


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
