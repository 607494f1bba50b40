"""A stretch of a run as one CUDA graph: kernel nodes that are launched with one call.

A graph remembers what its nodes were given. What differs at a later run, such as the address of an
input, or a grid for another size, is given to those nodes anew, which costs a microsecond each.
What a library computes is a graph inside, in one node; for other addresses it is made anew.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress

import numpy as np

from ..errors import DeviceError
from ..memory import address_of
from .kernel import Kernel
from .loaded import Loaded
from .steps import NOTHING, Launch
from .tensor_maps import TensorMaps
from .walk import Stretch

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
_ANY = 2**31 - 1
_CLUSTER_DIMENSION, _CLUSTER_SCHEDULING, _SPREAD = 4, 5, 1


class Graph:
    """Launches, each behind those that it waits for.

    Args:
        loaded: The model's code.
        launches: All of the program.
        stretch: Those that the graph runs.
        cells: All their arguments.

    Raises:
        DeviceError: The driver refuses a launch.
    """

    def __init__(
        self, loaded: Loaded, launches: Sequence[Launch], stretch: Stretch, cells: np.ndarray
    ):
        self._loaded = loaded
        self._cuda = loaded.device.cuda
        self._form = stretch.form
        self._cells = cells.copy()
        self._starts = stretch.starts
        self._sizes = _sizes(stretch)
        places = np.arange(len(cells), dtype=np.uint64) * np.uint64(_CELL)
        self._pointers = places + np.uint64(address_of(self._cells))
        self._kernels = [launches[number].kernel for number in stretch.numbers]
        self._maps = TensorMaps(
            self._cuda, self._kernels, self._starts.tolist(), self._cells, loaded.archs
        )
        self._maps.point(self._pointers)
        self._fixed = any(kernel.call for kernel in self._kernels)
        self._params = self._described(self._kernels, stretch)
        self._nodes = np.zeros(len(self._kernels), np.uint64)
        self._exec = 0
        self._graph = self._cuda.handle(self._cuda.cuGraphCreate, 0)
        for place, waits in enumerate(stretch.waits):
            self._maps.make(place)
            self._add(place, waits)
        self._exec = self._cuda.handle(self._cuda.cuGraphInstantiateWithFlags, self._graph, 0)

    def __del__(self) -> None:
        with suppress(DeviceError, AttributeError), self._loaded.device.entered():
            if self._exec:
                self._cuda.cuGraphExecDestroy(self._exec)
            self._cuda.cuGraphDestroy(self._graph)

    def fits(self, stretch: Stretch) -> bool:
        """Whether the nodes are those that a stretch needs; a library's depend on sizes."""
        if self._form != stretch.form:
            return False
        return not self._fixed or np.array_equal(self._sizes, _sizes(stretch))

    def update(self, stretch: Stretch, cells: np.ndarray) -> None:
        """Gives the nodes what a run needs."""
        grids = self._grids(stretch)
        changed = (self._params["grid"] != grids).any(axis=1)
        self._params["grid"] = grids
        differs = cells != self._cells
        if differs.any():
            changed |= np.logical_or.reduceat(differs, self._starts)
            self._cells[:] = cells
        for place in np.flatnonzero(changed).tolist():
            self._change(place)

    def launch(self, stream: int) -> None:
        """Runs all nodes in order, after what is on the stream already."""
        self._cuda.cuGraphLaunch(self._exec, stream)

    def _described(self, kernels: Sequence[Kernel], stretch: Stretch) -> np.ndarray:
        params = np.zeros(len(kernels), _NODE)
        params["function"] = [self._loaded.functions[kernel] for kernel in kernels]
        params["grid"] = self._grids(stretch)
        params["block"] = [(kernel.threads, 1, 1) for kernel in kernels]
        params["shared"] = [kernel.shared for kernel in kernels]
        params["arguments"] = address_of(self._pointers) + _CELL * self._starts
        return params

    def _grids(self, stretch: Stretch) -> np.ndarray:
        """The grids, of no more programs than the device keeps at work, where these are enough."""
        grids = stretch.grids.copy()
        resident = np.array([k.resident for k in self._kernels])
        most = np.where(resident > 0, resident * self._loaded.device.multiprocessors, _ANY)
        grids[:, 0] = np.minimum(grids[:, 0], most)
        return grids

    def _add(self, place: int, after: Sequence[int]) -> None:
        """Adds a launch as the node at ``place``, behind the nodes at the places ``after``."""
        node, ctas = address_of(self._nodes) + _CELL * place, self._kernels[place].ctas
        before = self._nodes[list(after)]
        told = node, self._graph, address_of(before), len(before)
        if self._kernels[place].call:
            with self._called(place) as inside:
                self._cuda.cuGraphAddChildGraphNode(*told, inside)
            return
        self._cuda.cuGraphAddKernelNode(*told, self._address(place))
        if ctas > 1:
            handle = int(self._nodes[place])
            for attribute, value in (
                (_CLUSTER_DIMENSION, (ctas, 1, 1)),
                (_CLUSTER_SCHEDULING, (_SPREAD, 0, 0)),
            ):
                words = (ctypes.c_uint * 16)(*value)
                self._cuda.cuGraphKernelNodeSetAttribute(handle, attribute, words)

    def _change(self, place: int) -> None:
        """Gives a node anew what it runs on."""
        node = int(self._nodes[place])
        if self._kernels[place].call:
            with self._called(place) as inside:
                self._cuda.cuGraphExecChildGraphNodeSetParams(self._exec, node, inside)
        else:
            self._maps.make(place)
            self._cuda.cuGraphExecKernelNodeSetParams(self._exec, node, self._address(place))

    def _called(self, place: int) -> AbstractContextManager[int]:
        """What a library does at a place, as a graph."""
        call = self._kernels[place].call
        assert call is not None
        cells = self._cells[self._starts[place] :].tolist()
        return self._loaded.vendors[call.library].graph(call, cells)

    def _address(self, place: int) -> int:
        """Of the description of a node."""
        return address_of(self._params) + _NODE.itemsize * place


def _sizes(stretch: Stretch) -> np.ndarray:
    """All arguments that are no addresses."""
    return stretch.offset[stretch.base == NOTHING]
