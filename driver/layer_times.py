"""How long the nodes of a model take in a run of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from ..runtime import Model
from .explain import explain


def seconds_of_nodes(
    model: Model, arrays: Sequence[np.ndarray], nodes: Collection[str]
) -> dict[str, float]:
    """Seconds of a run on ``arrays`` that each of some nodes takes; those not run are left out.

    The time of a launch is shared evenly by those of the nodes that it computes.
    """
    feeds = dict(zip(model.input_names, arrays, strict=True))
    found: dict[str, float] = {}
    for launch in explain(model, feeds).launches:
        there = [n for n in launch.nodes if n in nodes]
        for name in there:
            found[name] = found.get(name, 0.0) + launch.seconds / len(there)
    return found
