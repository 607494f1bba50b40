"""From a simplified graph to Triton source and a list of launches: the plot of the CUDA target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from ...ir.data import DataAttr
from ...ir.dims import Dim, Shape, dim_max, symbols_of
from ...ir.errors import Unsupported, UnsupportedError
from ...ir.kernel import KernelOp
from ...ir.late import late_bounds, upper_bound
from ...ir.module import main_function, model_name
from ...ir.op import GraphOp, source_of
from ...ir.ops.constant import ConstantOp
from ...ir.ops.control import IfOp, LoopOp, RegionOp, differences
from ...ir.ops.shape import param_dims
from ...ir.types import I64, TensorType, type_of
from ...passes.arena import Workspace
from ...passes.float8_products import Float8Products
from ...passes.lifetimes import returned
from ...passes.lowering import lowering
from ...passes.manager import Options, run_passes
from ...passes.memory_plan import ALIGNMENT, MemoryPlan, Place, base_of, plan_memory
from ...passes.narrow_values import NarrowValues
from ...passes.values import number
from ..kernels import kernel_types, record
from .copy import copy_of
from .encoded import choose_encoded
from .frame import Code, Packing
from .library import with_library
from .order import Buffer
from .reach import Reach
from .schedule import Scheduler, Unfit, Way, has_kernel, taken
from .steps import Branch, Launch, Read, Repeat, Side, Step, launches_of
from .target import CudaTarget
from .unique import UniqueBySorting

# Positions have 32 bits, and the last block of lanes may reach beyond the end.
_LARGEST = (1 << 31) - (1 << 16)
# Said of branches and loops for which a run waits, to read how it goes on.
_READ = ", decided on the host"
_ENDLESS = "nothing limits the size of its result before the model runs"
_ENDS, _ENDED = "it combines what the parts before it gave", "nothing is left for it to combine"


@dataclass
class Build:
    """What becomes of a model.

    Attributes:
        source: The Triton source of all kernels.
        codes: The kernels, in the order of their numbers.
        steps: What a run does, in order.
        weights: Offset and data of each weight, in bytes; the data may be made on demand.
        weights_size: Bytes of all weights.
        arena: Bytes of scratch memory.
        symbols: Name of each symbol, and whether it is known only after the run.
        outputs: The largest shapes of the results.
        found: The symbols that a run finds out, also those that count iterations.
        held: How many values lie where a run knows only on the way.
        sizes: Elements of tensors that positions of 32 bits must reach.
        sites: A record for each launch.
    """

    source: str
    codes: list[Code]
    steps: list[Step]
    weights: list[tuple[int, Callable[[], np.ndarray]]]
    weights_size: int
    arena: Dim
    symbols: list[tuple[str, bool]]
    outputs: list[Shape]
    found: list[str]
    held: int
    sizes: list[Dim] = field(default_factory=list)
    sites: list[dict[str, Any]] = field(default_factory=list)

    @property
    def launches(self) -> list[Launch]:
        """All launches, those of regions too, in order."""
        return launches_of(self.steps)


def build(module: ModuleOp, target: CudaTarget, options: Options | None = None) -> Build:
    """Writes the kernels of ``module``, which is at the graph level, and changes it on the way.

    Raises:
        UnsupportedError: Some nodes have no kernel on the target; it lists them all.
    """
    before = (UniqueBySorting(), *((Float8Products(),) if target.fp8 else ()))
    passes = lowering(has_kernel, lambda op: True, lambda op: choose_encoded(op, target))
    narrowing = (NarrowValues(dtype=target.narrow),) if target.narrow else ()
    run_passes(module, (*before, *passes, *narrowing), options)
    return _Builder(module, Scheduler(target)).build()


class _Builder:
    def __init__(self, module: ModuleOp, scheduler: Scheduler):
        self.name = model_name(module) or "model"
        self.block: Block = main_function(module).body.block
        self.scheduler = scheduler
        self.memory: MemoryPlan = plan_memory(self.block)
        self.arena = self.memory.arena
        self.reach = Reach(self.block, self.memory)
        self.bounds = late_bounds(self.block.walk())
        self.weights = _Weights()
        self.unfit: list[Unsupported] = []
        self.sizes: list[Dim] = []
        self.sites: list[dict[str, Any]] = []

    def build(self) -> Build:
        self._make_room()
        steps = self._steps(self.block)
        self._refuse_endless()
        if self.unfit:
            raise UnsupportedError(self.unfit)
        codes = self.scheduler.codes
        return Build(
            with_library(self.name, [c.text for c in codes if c.text]),
            codes,
            steps,
            self.weights.entries,
            self.weights.size,
            self.arena,
            [*((n, False) for n in _symbols(self.block)), *((n, True) for n in self.bounds)],
            [self._largest(v) for v in returned(self.block)],
            list(dict.fromkeys([*self.bounds, *self.reach.iterations])),
            self.memory.pointers,
            list(dict.fromkeys(d for d in self.sizes if not isinstance(d, int))),
            self.sites,
        )

    def _make_room(self) -> None:
        """Plans memory anew where kernels need some for themselves."""
        asked = dict(self._workspaces())
        if asked:
            self.memory = plan_memory(self.block, workspaces=asked)
            self.reach = Reach(self.block, self.memory)
            self.arena = self.memory.arena

    def _workspaces(self) -> Iterator[tuple[Workspace, Dim]]:
        """What kernels ask for, in bytes."""
        for op in self.block.walk():
            if isinstance(op, KernelOp):
                with suppress(Unfit):  # which is told when it is to be launched
                    wanted: dict[int, Dim] = {}
                    for _, code in self._ways(op, self._places(op)):
                        for n, buffer in enumerate(code.workspaces):
                            size = upper_bound(buffer.bytes, self.bounds)
                            wanted[n] = dim_max(wanted.get(n, 0), size)
                    yield from ((Workspace(op, n), size) for n, size in wanted.items())

    def _ways(self, kernel: KernelOp, places: Sequence[Place]) -> list[tuple[Way, Code]]:
        """The ways to compute a kernel, with their code."""
        odd = frozenset(n for n, place in enumerate(places) if not self.reach.is_aligned(place))
        return [(w, self.scheduler.codes[w.number]) for w in self.scheduler.ways(kernel, odd)]

    def _steps(self, block: Block, inside: tuple[str, ...] = ()) -> list[Step]:
        """What is done for a block, in order."""
        steps: list[Step] = []
        for op in block.ops:
            if isinstance(op, KernelOp):
                steps += self._launch(op, self._places(op), inside)
            elif isinstance(op, IfOp):
                steps.append(self._branch(op, inside))
            elif isinstance(op, LoopOp):
                steps.append(self._repeat(op, inside))
        for value, place in self.memory.copies[block]:
            places = [self.memory.places[base_of(value)], place]
            steps += self._launch(copy_of(value), places, inside)
        return steps

    def _launch(
        self, kernel: KernelOp, places: Sequence[Place], inside: tuple[str, ...]
    ) -> list[Step]:
        """The launches of a kernel on what lies at ``places``; none of one that has no code.

        What it finds out is read then.
        """
        try:
            self._check_sizes(type.size for type in kernel_types(kernel))
            ways = self._ways(kernel, places)
            self._check_sizes(buffer.elements for _, code in ways for buffer in code.workspaces)
        except Unfit as error:
            self._refuse(kernel, str(error))
            return []
        arrays = [self._arrays(kernel, code, places) for _, code in ways]
        buffers = [b for found in arrays for array in found for b in self.reach.buffers(*array)]
        node = next((n for op in kernel.ops if (n := source_of(op))), "")
        reads = [self._read(node, symbol) for symbol in ways[0][1].found]
        buffers += [Buffer(read.place, I64.itemsize, True) for read in reads]
        moving = [[self._moving(place) for place, _, _ in found] for found in arrays]
        given = [[*found, *(read.place for read in reads)] for found in moving]
        told = given, tuple(dict.fromkeys(buffers)), node
        steps = [
            Launch([_launch_of(w, c, n) for w, c in ways], *told, ways[0][0].number if n else None)
            for n in range(max(len(code.launches) for _, code in ways))
        ]
        site: dict[str, Any] = {}
        for step in steps:
            way = taken(step.ways)
            name = self.scheduler.codes[way.number].name
            site = _ending(site, name, way.why) if site else record(kernel, name, inside)
            self.sites.append(site)
        return [*steps, *reads]

    def _read(self, node: str, symbol: str) -> Read:
        """Reading a symbol that a kernel writes behind all else in the arena."""
        place = Place("arena", offset=self.arena)
        self.arena += ALIGNMENT
        return Read(node, symbol, place, (Buffer(place, I64.itemsize, False),))

    def _arrays(
        self, kernel: KernelOp, code: Code, places: Sequence[Place]
    ) -> list[tuple[Place, Dim, bool]]:
        """What lies in memory of operands, results and workspaces: its bytes, if it is written."""
        found: list[tuple[Place, Dim, bool]] = []
        types = kernel_types(kernel)
        operands = code.call.operands if code.call else [(n, None) for n in range(len(types))]
        for n, rounded in operands:
            parts = self._parts(places[n], types[n], [rounded] if rounded else code.packed.get(n))
            found += [(p, t.size * t.dtype.itemsize, n >= len(kernel.inputs)) for p, t in parts]
        for n, buffer in enumerate(code.workspaces):
            found.append((self.memory.workspaces[Workspace(kernel, n)], buffer.bytes, True))
        return found

    def _parts(
        self, place: Place, type: TensorType, packed: Sequence[Packing] | None
    ) -> list[tuple[Place, TensorType]]:
        """What lies in memory of an operand or a result: itself, or what is made of it."""
        if packed is None:
            return [(self._weight(place), type)]
        constant = self.memory.weights[place.number]
        return [(Place("weight", offset=self.weights.offset(constant, a)), a.type) for a in packed]

    def _branch(self, op: IfOp, inside: tuple[str, ...]) -> Branch:
        pairs = zip(*(differences(*op.blocks) or ()), strict=True) if op.counts else ((), ())
        sides = tuple(
            Side(
                self._steps(side, (*inside, f"{name} of {_name(op)}{_READ}")),
                self._held(side),
                dict(zip(op.counts, sizes, strict=True)),
            )
            for name, side, sizes in zip(("then", "else"), op.blocks, pairs, strict=True)
        )
        condition = self._place(op.condition)
        held = [self.memory.places[r].number for r in op.results]
        buffers = [*self._asked([condition]), *_touched(s.steps for s in sides)]
        return Branch(_name(op), self._moving(condition), held, sides, tuple(buffers))

    def _repeat(self, op: LoopOp, inside: tuple[str, ...]) -> Repeat:
        trips, conditions = self._trips(op), (op.condition, returned(op.block)[0])
        told = [None if number(v) else self._place(v) for v in conditions]
        asked = [p for p in (trips, *told) if isinstance(p, Place)]
        steps = self._steps(op.block, (*inside, f"loop {_name(op)}{_READ if asked else ''}"))
        condition, again = (None if p is None else self._moving(p) for p in told)
        return Repeat(
            _name(op),
            self.reach.iterations[self.memory.loops.index(op)],
            self._moving(trips) if isinstance(trips, Place) else trips,
            condition,
            again,
            [self.memory.places[r].number for r in op.results[: op.carried]],
            [self._moving(self._weight(p)) for p in self.reach.carried(op)],
            self._held(op.block),
            steps,
            op.count,
            (*self._asked(asked), *_touched([steps])),
        )

    def _trips(self, op: LoopOp) -> Place | Dim:
        """How often at most, where that is known before the run; else where it is said."""
        constant = number(op.trips)
        if constant is not None:
            return int(constant)
        return self._place(op.trips) if op.length is None else param_dims((op.length,))[0]

    def _asked(self, places: Sequence[Place]) -> list[Buffer]:
        return [b for place in places for b in self.reach.buffers(place, I64.itemsize, False)]

    def _held(self, block: Block) -> list[Place]:
        return [self._moving(self._weight(place)) for place in self.memory.held[block]]

    def _check_sizes(self, sizes: Iterable[Dim]) -> None:
        for size in (upper_bound(s, self.bounds) for s in sizes):
            if isinstance(size, int) and size >= _LARGEST:
                raise Unfit(f"a tensor of {size} elements; at most {_LARGEST - 1} are reached")
            self.sizes.append(size)

    def _refuse_endless(self) -> None:
        """What grows without limit has no memory on a GPU."""
        for place in self.memory.heap:
            self._refuse(self._maker(place), _ENDLESS, "give loops a limit, or compile for a CPU")

    def _largest(self, value: SSAValue) -> Shape:
        return tuple(upper_bound(d, self.bounds) for d in type_of(value).shape)

    def _maker(self, place: Place) -> Operation | Block:
        if place.kind == "output":
            return returned(self.block)[place.number].owner
        there = ((v.owner, p) for v, p in self.memory.places.items())
        return next(o for o, p in there if (p.kind, p.number) == (place.kind, place.number))

    def _refuse(self, op: Operation | Block, reason: str, hint: str = "") -> None:
        ops = op.ops if isinstance(op, KernelOp) else [op]
        names = dict.fromkeys(n for o in ops if isinstance(o, GraphOp) and (n := source_of(o)))
        what = ", ".join(o.name for o in ops if isinstance(o, GraphOp))
        self.unfit += [Unsupported(name, what, reason, hint) for name in names or [""]]

    def _places(self, kernel: KernelOp) -> list[Place]:
        return [self.memory.places[base_of(v)] for v in (*kernel.inputs, *kernel.outputs)]

    def _place(self, value: SSAValue) -> Place:
        return self._weight(self.memory.places[base_of(value)])

    def _weight(self, place: Place) -> Place:
        """A constant's place among the weights, which it gets when it is first needed."""
        if place.kind != "weight":
            return place
        return Place("weight", offset=self.weights.offset(self.memory.weights[place.number]))

    def _moving(self, place: Place) -> Place:
        """A place with the iterations of the loops around it in its offset."""
        return replace(place, offset=self.reach.offset(place), strides=())


def _touched(parts: Iterable[Sequence[Step]]) -> list[Buffer]:
    return list(dict.fromkeys(b for steps in parts for step in steps for b in step.buffers))


def _name(op: RegionOp) -> str:
    return source_of(op) or op.name


def _launch_of(way: Way, code: Code, number: int) -> Way:
    """The launch of that number of a way, which may have fewer than others."""
    if number == 0:
        return way
    if number < len(code.launches):
        return replace(way, number=way.number + number, why=_ENDS)
    return replace(way, why=_ENDED, left_out=True)


def _ending(site: dict[str, Any], kernel: str, why: str) -> dict[str, Any]:
    """The record of a launch that ends the work of the one before it."""
    nothing = {"inputs": [], "weights": [], "operations": "0"}
    return {**site, "kernel": kernel, "why": why, **nothing}


class _Weights:
    """The weights in the order in which launches ask for them, those laid out alike once."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, Callable[[], np.ndarray]]] = []
        self.size = 0
        self._offsets: dict[object, int] = {}

    def offset(self, constant: ConstantOp, array: Packing | None = None) -> int:
        """Where a constant lies, or an array that is made of it."""
        key = constant.value, array and array.key
        if key not in self._offsets:
            size, make = _laid_out(constant.value, array)
            self._offsets[key] = self.size
            self.entries.append((self.size, make))
            self.size += -(-size // ALIGNMENT) * ALIGNMENT
        return self._offsets[key]


def _laid_out(data: DataAttr, array: Packing | None) -> tuple[int, Callable[[], np.ndarray]]:
    """The bytes of a constant, or of what is made of it, and what makes it."""
    if array is not None and array.varies:
        made = array.pack(data.array)
        return made.nbytes, lambda: made
    type = array.type if array else data.type
    assert isinstance(type.size, int)
    size = type.size * type.dtype.itemsize
    return size, (lambda: array.pack(data.array)) if array else (lambda: data.array)


def _symbols(block: Block) -> list[str]:
    """The symbols of the inputs, in order of appearance."""
    types = [a.type for a in block.args if isinstance(a.type, TensorType)]
    return list(dict.fromkeys(n for t in types for d in t.shape for n in symbols_of(d)))
