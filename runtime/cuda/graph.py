"""A run as one CUDA graph: a chain of kernel nodes that is launched with one call.

A graph remembers what its nodes were given. What differs at a later run, such as the address of an
input, or a grid for another size, is given to those nodes anew, which costs a microsecond each.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from ..errors import DeviceError
from ..memory import address_of
from .loaded import Loaded
from .plan import Plan
from .program import Launch

# CUDA_KERNEL_NODE_PARAMS_v2
_NODE = np.dtype(
    [
        ("function", np.uint64),
        ("grid", np.uint32, 3),
        ("block", np.uint32, 3),
        ("shared", np.uint32),
        ("padding", np.uint32),
        ("arguments", np.uint64),
        ("extra", np.uint64),
        ("kernel", np.uint64),
        ("context", np.uint64),
    ]
)
_CELL = 8
_CLUSTER_DIMENSION, _CLUSTER_SCHEDULING, _SPREAD = 4, 5, 1


class Graph:
    """Launches, each behind those that it waits for.

    Args:
        loaded: The model's code.
        launches: All of the program.
        plan: What the sizes decide.
        cells: All arguments.
        chain: The numbers of launches to run one after the other; by default all whose grids are
            not empty, in the program's order.

    Raises:
        DeviceError: The driver refuses a launch.
    """

    def __init__(
        self,
        loaded: Loaded,
        launches: tuple[Launch, ...],
        plan: Plan,
        cells: np.ndarray,
        chain: Sequence[int] | None = None,
    ):
        self._loaded = loaded
        self._cuda = loaded.device.cuda
        self._active = plan.active
        self._cells = cells.copy()
        self._starts = np.array([launch.first for launch in launches], np.int64)
        places = np.arange(len(cells), dtype=np.uint64) * np.uint64(_CELL)
        self._pointers = places + np.uint64(address_of(self._cells))
        self._params = self._described(launches, plan)
        self._order = np.flatnonzero(plan.active) if chain is None else np.array(chain, np.int64)
        self._nodes = np.zeros(len(self._order), np.uint64)
        self._exec = 0
        self._graph = self._cuda.handle(self._cuda.cuGraphCreate, 0)
        waits = _waits(launches, plan.active)
        if chain is not None:
            waits = [range(n)[-1:] for n in range(len(chain))]
        for place, number in enumerate(self._order):
            self._add(place, int(number), launches[number].kernel.ctas, waits[place])
        self._exec = self._cuda.handle(self._cuda.cuGraphInstantiateWithFlags, self._graph, 0)

    def __del__(self) -> None:
        with suppress(DeviceError, AttributeError), self._loaded.device.entered():
            if self._exec:
                self._cuda.cuGraphExecDestroy(self._exec)
            self._cuda.cuGraphDestroy(self._graph)

    def fits(self, plan: Plan) -> bool:
        """Whether the nodes are those that the plan needs."""
        return np.array_equal(self._active, plan.active)

    def update(self, plan: Plan, cells: np.ndarray) -> None:
        """Gives the nodes what a run needs."""
        changed = np.zeros(len(self._starts), bool)
        differs = cells != self._cells
        if differs.any():
            changed |= np.logical_or.reduceat(differs, self._starts)
            self._cells[:] = cells
        grids = self._params["grid"] != plan.grids
        if grids.any():
            changed |= grids.any(axis=1)
            self._params["grid"] = plan.grids
        for place in np.flatnonzero(changed[self._order]):
            node, params = int(self._nodes[place]), self._address(int(self._order[place]))
            self._cuda.cuGraphExecKernelNodeSetParams(self._exec, node, params)

    def launch(self, stream: int) -> None:
        """Runs all nodes in order, after what is on the stream already."""
        self._cuda.cuGraphLaunch(self._exec, stream)

    def _described(self, launches: tuple[Launch, ...], plan: Plan) -> np.ndarray:
        params = np.zeros(len(launches), _NODE)
        params["function"] = [self._loaded.functions[launch.kernel] for launch in launches]
        params["grid"] = plan.grids
        params["block"] = [(launch.kernel.threads, 1, 1) for launch in launches]
        params["shared"] = [launch.kernel.shared for launch in launches]
        params["arguments"] = address_of(self._pointers) + _CELL * self._starts
        return params

    def _add(self, place: int, number: int, ctas: int, after: Sequence[int]) -> None:
        """Adds a launch as the node at ``place``, behind the nodes at the places ``after``."""
        node = address_of(self._nodes) + _CELL * place
        before = self._nodes[list(after)]
        self._cuda.cuGraphAddKernelNode(
            node, self._graph, address_of(before), len(before), self._address(number)
        )
        if ctas > 1:
            handle = int(self._nodes[place])
            for attribute, value in (
                (_CLUSTER_DIMENSION, (ctas, 1, 1)),
                (_CLUSTER_SCHEDULING, (_SPREAD, 0, 0)),
            ):
                words = (ctypes.c_uint * 16)(*value)
                self._cuda.cuGraphKernelNodeSetAttribute(handle, attribute, words)

    def _address(self, number: int) -> int:
        """Of the description of a node."""
        return address_of(self._params) + _NODE.itemsize * number


def _waits(launches: Sequence[Launch], active: np.ndarray) -> list[list[int]]:
    """For each active launch, the places of those that it waits for, some through inactive ones."""
    place, waits = 0, []
    reached: list[set[int]] = []  # of every launch: its own place, or what it would wait for
    for launch, runs in zip(launches, active, strict=True):
        after = set().union(*(reached[other] for other in launch.after))
        reached.append({place} if runs else after)
        if runs:
            waits.append(sorted(after))
            place += 1
    return waits
