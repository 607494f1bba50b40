"""How long the launches of a run take on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .device import Event
from .graph import Graph

if TYPE_CHECKING:
    from .lane import Lane

# Of each launch in its graph.
REPEATS = 20


class Clock:
    """Times launches, each by a graph that repeats it.

    They run in the order of the model, so that each reads what those before it wrote.

    Args:
        lane: Whose memory they use, and nobody else meanwhile.
        graphs: By the launch's number; and how often it is part of a run.
    """

    def __init__(self, lane: Lane, graphs: Mapping[int, tuple[Graph, int]]):
        self._lane = lane
        self._graphs = graphs
        self._start, self._end = (Event(lane.device, timed=True) for _ in range(2))
        for graph, _ in graphs.values():  # code and data come into the caches
            graph.launch(lane.stream)

    def seconds(self) -> dict[int, float]:
        """What each launch takes of a run, by its number."""
        return {n: count * self._timed(graph) for n, (graph, count) in self._graphs.items()}

    def _timed(self, graph: Graph) -> float:
        self._start.record(self._lane.stream)
        graph.launch(self._lane.stream)
        self._end.record(self._lane.stream)
        return self._end.seconds_since(self._start) / REPEATS
