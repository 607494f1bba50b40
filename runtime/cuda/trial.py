"""Libraries in the place of an artifact's kernels: whether they agree, and their clock.

All launches run in the order of the model, so that each reads what those before it wrote. Where a
kernel can be a library's, that writes the same result again, and both are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DeviceError
from ..memory import address_of
from .clock import REPEATS, Clock
from .graph import Graph
from .vendors import title_of
from .walk import Stretch

if TYPE_CHECKING:
    from .lane import Lane, Parts
    from .steps import Launch
    from .vendor import Call

# How far results may differ, as a part of the largest one: by how it is multiplied, what is
# multiplied, what is written.
_LOOSE = {"f32": 1e-4, "tf32": 5e-3, "f16": 5e-3, "bf16": 3e-2, "f8E4M3FN": 2e-2, "i32": 0.0}
# Every byte of it: no number, if it is one of floats.
_UNWRITTEN = 0xFF
_UNKNOWN = "libraries are not measured where the data decide how a run goes on"


class Trial:
    """What libraries compute, held against the launches of a run.

    Args:
        lane: Whose memory they use, and nobody else meanwhile.
        own: What was run.
        other: The code and the launches with the libraries' work.
        known: The stretches of these.
        addresses: Of all inputs and outputs.

    Attributes:
        clock: Times those that agree.
    """

    def __init__(
        self,
        lane: Lane,
        own: Mapping[int, tuple[Stretch, int]],
        other: Parts,
        known: Mapping[int, tuple[Stretch, int]],
        addresses: Sequence[int],
    ):
        self._lane, self._other, self._addresses = lane, other, addresses
        self._problems: dict[int, str] = {}
        called = {n: one for n, (one, _) in known.items() if other[1][n].kernel.call}
        graphs: dict[int, tuple[Graph, int]] = {}
        for parts, found in ((lane.parts, own), (other, known)):
            lane.make_room(parts, [one for one, _ in found.values()])
        for numbers in _kernels(lane.parts[1], own):
            number, stretches = numbers[0], [own[n][0] for n in numbers]
            first = lane.graphs(lane.parts, stretches, addresses)
            self._launch(first)
            if number in called:
                graph = self._tried(number, called[number], first)
                graphs |= {number: (graph, own[number][1])} if graph else {}
        self._agree = frozenset(graphs)
        self.clock = Clock(lane, graphs)

    def remark(self, numbers: Sequence[int]) -> str:
        """Why launches of those numbers cannot be a library's; nothing if they can."""
        others = [n for n in numbers if n not in self._agree]
        return self._problems.get(others[0], _UNKNOWN) if others else ""

    def _tried(self, number: int, one: Stretch, first: Sequence[Graph]) -> Graph | None:
        """A graph that repeats the library's work, where it gives what ``first`` gave."""
        try:
            work, chain = self._lane.graphs(
                self._other, [one, one.repeated(0, REPEATS)], self._addresses
            )
        except DeviceError as problem:
            self._problems[number] = str(problem)
            return None
        call = self._other[1][number].kernel.call
        assert call is not None
        wanted, got = (self._result(graphs, call, one) for graphs in (first, [work]))
        if _agrees(wanted, got, call):
            return chain
        self._problems[number] = f"{title_of(call.library)} gives other results"
        self._launch(first)
        return None

    def _launch(self, graphs: Sequence[Graph]) -> None:
        for graph in graphs:
            graph.launch(self._lane.stream)

    def _result(self, graphs: Sequence[Graph], call: Call, one: Stretch) -> np.ndarray:
        """What graphs write, where nothing of what was there before is left."""
        lane = self._lane
        cuda, stream = lane.device.cuda, lane.stream
        address, size = call.region(lane.cells(one, self._addresses).tolist())
        data = np.full(size, _UNWRITTEN, np.uint8)
        lane.wait(stream)
        cuda.cuMemcpyHtoD(address, address_of(data), size)
        self._launch(graphs)
        lane.wait(stream)
        cuda.cuMemcpyDtoH(address_of(data), address, size)
        return _numbers(data, call.result)


def _kernels(launches: Sequence[Launch], numbers: Iterable[int]) -> list[list[int]]:
    """The numbers of launches, those of one kernel together."""
    found: list[list[int]] = []
    for number in numbers:
        if launches[number].ends:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def _numbers(data: np.ndarray, kind: str) -> np.ndarray:
    if kind == "bf16":
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return data.view({"f32": np.float32, "f16": np.float16, "i32": np.int32}[kind])


def _agrees(wanted: np.ndarray, got: np.ndarray, call: Call) -> bool:
    loose = max(_LOOSE[k] for k in call.kinds if k in _LOOSE)
    a, b = (x.astype(np.float64) for x in (wanted, got))
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    most = np.abs(a[finite]).max(initial=0)
    return bool((np.abs(a[finite] - b[finite]) <= loose * most).all())
