"""How long a run of a model takes, and which part of it each node does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from ..runtime import Model
from .explain import explain


@dataclass(frozen=True)
class Times:
    """Of a run on certain inputs; 0 and empty where the model is for another machine.

    Attributes:
        run: Seconds.
        nodes: Seconds of those that are run, by name.
    """

    run: float
    nodes: dict[str, float]


def typical(several: Sequence[Times]) -> Times:
    """The median of each time."""
    nodes = {name: median(times.nodes[name] for times in several) for name in several[0].nodes}
    return Times(median(times.run for times in several), nodes)


def times_of(model: Model, arrays: Sequence[np.ndarray], nodes: Collection[str]) -> Times:
    """Of a run on ``arrays``, and of some nodes in it.

    The time of a launch is shared evenly by those of the nodes that it computes.
    """
    feeds = dict(zip(model.input_names, arrays, strict=True))
    found, told = dict[str, float](), explain(model, feeds)
    for launch in told.launches if told.seconds else ():
        there = [n for n in launch.nodes if n in nodes]
        for name in there:
            found[name] = found.get(name, 0.0) + launch.seconds / len(there)
    return Times(told.seconds, found)
