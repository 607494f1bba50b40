"""A stand-in for NVIDIA's driver, for machines without a GPU.

It has the C interface of the real one: arguments cross as they would into ``libcuda.so.1``, and a
kernel's arguments are read from memory where the binary says that its parameters are. Device memory
is memory of the host; work waits on its stream until something waits for it. What a kernel computes
is told by a Python function, its body.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from cubins import elf_size, entries
from cuda_library import LEGACY, Library
from cuda_machine import (
    Call,
    Child,
    Function,
    GraphExec,
    Node,
    Nodes,
    Refusal,
    Stream,
    Work,
    last_first,
)
from cuda_tensor_map import TensorMap
from mlc.runtime.cuda import cublas as cublas_module
from mlc.runtime.cuda import cudnn as cudnn_module
from mlc.runtime.cuda import device as device_module
from mlc.runtime.cuda import driver as driver_module
from mlc.runtime.cuda import vendor as vendor_module
from mlc.runtime.cuda.loaded import runs_on
from mlc.runtime.errors import DeviceError

SHARED_BY_DEFAULT, SHARED_AT_MOST = 48 << 10, 227 << 10


class StandIn(Library):
    """The library.

    Attributes:
        bodies: What kernels compute, by name; those without one compute nothing.
        ran: Names of the kernels that ran, in order.
        costs: The milliseconds that kernels are said to take, by name; others take 0.025.
        libraries: What stands in for libraries that are installed, by title.
    """

    def __init__(self, arch: tuple[int, int] = (9, 0), version: int = 13000, count: int = 1):
        self.bodies: dict[str, Callable[[Call], None]] = {}
        self.ran: list[str] = []
        self.costs: dict[str, float] = {}
        self.libraries: dict[str, object] = {}
        self._captures: dict[int, Nodes] = {}
        super().__init__(arch, version, count)

    # Modules

    def ModuleLoadData(self, place: int, image: int) -> None:
        header = ctypes.string_at(image, 4)
        elf = header == b"\x7fELF"
        size = elf_size(ctypes.string_at(image, 64)) if elf else 0
        data = ctypes.string_at(image, size) if elf else ctypes.string_at(image)
        try:
            found = entries(data)
        except (ValueError, IndexError, KeyError):
            found = {}
        if not found:
            raise Refusal(200)
        here = "sm_{}{}".format(*self.devices[self._current() & 0xFF][1])
        for entry in found.values():
            if elf and not runs_on(f"sm_{entry.arch}", here):
                raise Refusal(209)
        self._made(place, (found,))

    def ModuleGetFunction(self, place: int, module: int, name: int) -> None:
        (found,) = self._get(module, tuple)
        title = ctypes.string_at(name).decode()
        if title not in found:
            raise Refusal(500)
        self._made(place, Function(found[title], module))

    def ModuleUnload(self, module: int) -> None:
        self._get(module, tuple)
        of_module = [h for h, f in self._objects.items() if getattr(f, "module", 0) == module]
        for handle in (module, *of_module):
            del self._objects[handle]

    def FuncSetAttribute(self, function: int, attribute: int, value: int) -> None:
        found = self._get(function, Function)
        if attribute == 8 and value > SHARED_AT_MOST:
            raise Refusal(1, f"{value} bytes of shared memory")
        found.attributes[attribute] = value

    def TensorMapEncodeTiled(
        self,
        place: int,
        type: int,
        rank: int,
        address: int,
        sizes: int,
        strides: int,
        box: int,
        steps: int,
        interleaved: int,
        swizzle: int,
        promotion: int,
        fill: int,
    ) -> None:
        wide, narrow = ctypes.c_uint64, ctypes.c_uint
        numbers = ((wide, sizes, rank), (wide, strides, rank - 1), (narrow, box, rank))
        found = (tuple((t * n).from_address(p)) for t, p, n in numbers)
        made = TensorMap(type, swizzle, address, *found)
        made.check()
        if place % 64 or set((narrow * rank).from_address(steps)) != {1} or interleaved or fill:
            raise Refusal(1, f"a map at {place:#x}")
        self.memory.view(address, made.extent)
        ctypes.memmove(place, made.bytes(), 128)

    # Graphs

    def GraphCreate(self, place: int, flags: int) -> None:
        self._made(place, {})

    def GraphAddKernelNode(self, place: int, graph: int, before: int, count: int, p: int) -> None:
        nodes = self._get(graph, dict)
        after = tuple((ctypes.c_uint64 * count).from_address(before)) if count else ()
        self._add(nodes, place, self._node(p, after))

    def GraphAddChildGraphNode(
        self, place: int, graph: int, before: int, count: int, child: int
    ) -> None:
        nodes = self._get(graph, dict)
        after = tuple((ctypes.c_uint64 * count).from_address(before)) if count else ()
        self._add(nodes, place, Child(dict(self._get(child, dict)), after))

    def _add(self, nodes: Nodes, place: int, node: Node | Work | Child) -> None:
        if not set(node.after) <= set(nodes):
            raise Refusal(1, "a node waits for one that is not in the graph")
        self._made(place, node)
        nodes[ctypes.c_void_p.from_address(place).value or 0] = node

    def GraphKernelNodeSetAttribute(self, node: int, attribute: int, value: int) -> None:
        x, y, z = (ctypes.c_uint * 3).from_address(value)
        if attribute == 4:
            if (y, z) != (1, 1) or self._get(node, Node).grid[0] % x:
                raise Refusal(1, "the clusters do not fill the grid")
            self._get(node, Node).cluster = x

    def GraphInstantiateWithFlags(self, place: int, graph: int, flags: int) -> None:
        nodes = self._get(graph, dict)
        self._made(place, GraphExec({handle: replace(n) for handle, n in nodes.items()}))

    def GraphExecKernelNodeSetParams(self, executable: int, node: int, params: int) -> None:
        nodes = self._get(executable, GraphExec).nodes
        if node not in nodes:
            raise Refusal(1, "no node of this graph")
        kept = nodes[node]
        if not isinstance(kept, Node):
            raise Refusal(1, "no kernel")
        nodes[node] = replace(self._node(params, kept.after), cluster=kept.cluster)

    def GraphExecChildGraphNodeSetParams(self, executable: int, node: int, child: int) -> None:
        nodes, new = self._get(executable, GraphExec).nodes, self._get(child, dict)
        kept = nodes[node]
        if not isinstance(kept, Child) or _form(kept.nodes) != _form(new):
            raise Refusal(910, "another graph")
        nodes[node] = Child(dict(new), kept.after)

    def GraphLaunch(self, executable: int, stream: int) -> None:
        found = self._get(executable, GraphExec)
        if found.last:
            before, until = found.last
            self._later(stream, lambda: before.done >= until)
        for node in last_first(found.nodes):
            cost = self.costs.get(_name(node), 0.025)
            self._later(stream, lambda node=node: self._run(node), cost)
        target = self._get(stream or LEGACY, Stream)
        found.last = target, len(target.work)

    def GraphExecDestroy(self, executable: int) -> None:
        self._get(executable, GraphExec)
        del self._objects[executable]

    def GraphDestroy(self, graph: int) -> None:
        for handle in (graph, *self._get(graph, dict)):
            del self._objects[handle]

    def _node(self, params: int, after: tuple[int, ...]) -> Node:
        """Reads ``CUDA_KERNEL_NODE_PARAMS_v2`` and the arguments, as the binary has them."""
        handle = ctypes.c_uint64.from_address(params).value
        *dims, shared = (ctypes.c_uint * 7).from_address(params + 8)
        arguments, extra, kernel, _ = (ctypes.c_uint64 * 4).from_address(params + 40)
        grid, block = tuple(dims[:3]), tuple(dims[3:])
        function = self._get(handle, Function)
        self._check(function, grid, block, shared)
        if extra or kernel:
            raise Refusal(1, "arguments given twice")
        places = (ctypes.c_uint64 * len(function.entry.parameters)).from_address(arguments)
        values = [
            ctypes.string_at(place, size)
            for place, (_, size) in zip(places, function.entry.parameters, strict=True)
        ]
        return Node(function, grid, values, after)

    def _check(self, function: Function, grid, block, shared: int) -> None:
        entry = function.entry
        if not all(0 < n <= most for n, most in zip(grid, (2**31 - 1, 65535, 65535), strict=True)):
            raise Refusal(1, f"{entry.name}: a grid of {grid}")
        if block != (entry.block or block):
            raise Refusal(1, f"{entry.name}: blocks of {block}, compiled for {entry.block}")
        if shared > function.attributes.get(8, SHARED_BY_DEFAULT - entry.shared):
            raise Refusal(1, f"{entry.name}: {shared} bytes of shared memory")

    # Capture

    def StreamBeginCapture(self, stream: int, mode: int) -> None:
        if stream in self._captures or mode not in range(3):
            raise Refusal(1, "no capture begins there")
        self._get(stream, Stream)
        self._captures[stream] = {}

    def StreamEndCapture(self, stream: int, place: int) -> None:
        self._made(place, self._captures.pop(stream))

    def library(self, title: str, names: object) -> object:
        """What is found of a library."""
        if title not in self.libraries:
            raise DeviceError(f"{title} is not installed: none is found")
        return self.libraries[title]

    def work(self, stream: int, name: str, job: Callable[[], object]) -> None:
        """Something that a library puts on a stream, which is captured."""
        if stream not in self._captures:
            raise Refusal(1, f"{name} outside of a graph")
        nodes = self._captures[stream]
        place = ctypes.c_void_p()
        self._add(nodes, ctypes.addressof(place), Work(name, job, tuple(nodes)[-1:]))

    def _run(self, node: Node | Work) -> None:
        name = _name(node)
        self.ran.append(name)
        if isinstance(node, Work):
            node.job()
            return
        body = self.bodies.get(name)
        if body:
            body(Call(name, node.grid, node.arguments, self.memory, node.cluster))


def _name(node: Node | Work) -> str:
    return node.name if isinstance(node, Work) else node.function.entry.name


def _form(nodes: Nodes) -> list[str]:
    return [_name(node) for node in last_first(nodes)]


@contextmanager
def standing_in(standin: StandIn) -> Iterator[StandIn]:
    """Uses the stand-in as this machine's driver; afterwards, nothing may have gone wrong in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver_module, "_library", lambda: standin)
        patch.setattr(vendor_module, "find", standin.library)
        _forget()
        try:
            yield standin
        except BaseException as error:
            error.add_note("\n".join(standin.failures))
            raise
    _forget()
    assert not standin.failures, "\n".join(standin.failures)


def _forget() -> None:
    driver_module.driver.cache_clear()
    cublas_module.cublaslt.cache_clear()
    cudnn_module.cudnn.cache_clear()
    device_module.device_of.cache_clear()
