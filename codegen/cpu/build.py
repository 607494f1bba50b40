"""From a simplified graph to object code: the whole plot of the CPU target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from ...ir.dims import symbols_of
from ...ir.kernel import KernelOp
from ...ir.module import main_function
from ...ir.op import source_of
from ...ir.ops.control import IfOp, LoopOp, differences, returned_types
from ...ir.ops.select import late_symbols
from ...ir.types import TensorType, type_of
from ...passes.arena import SampleLoop
from ...passes.decode_weights import STORED
from ...passes.lifetimes import base_of, returned
from ...passes.lowering import lowering
from ...passes.manager import Options, run_passes
from ...passes.memory_plan import MemoryPlan, Place, plan_memory
from ...passes.values import number
from ..choice import Chooser, by_estimate
from ..kernels import kernel_symbols, record
from . import heap
from .compile import compile_object
from .emit import emit_module
from .encoded import choose_encoded
from .expansion import Expansion
from .narrow import narrowing
from .plan import entry_points
from .pool import pool_text
from .samples import sample_loops
from .schedule import Scheduler, has_kernel, watches_border
from .sites import Branch, EntryPoints, Loop, Repeat, Room, Side, Site, Step
from .target import CpuTarget
from .templates.appended_operands import appends
from .templates.copy import copy_kernel
from .templates.expand import expansion_code
from .templates.frame import Code, Packing
from .weights import Grown, Growth, Weights


@dataclass
class Build:
    """What becomes of a model.

    Attributes:
        objects: Object files.
        weights: Offset and data of each weight, in bytes; the data may be made on demand.
        weights_size: Bytes of all weights.
        expansion: Which of them others are made of when the model is loaded.
        sites: A record for each kernel launch, in order.
        errors: Messages by number, from 1.
        symbols: Name of each symbol, and whether it is known only after the run.
        text: The LLVM IR.
    """

    objects: list[bytes]
    weights: list[tuple[int, Callable[[], np.ndarray]]]
    weights_size: int
    expansion: Grown
    sites: list[dict[str, Any]]
    errors: list[str] = field(default_factory=list)
    symbols: list[tuple[str, bool]] = field(default_factory=list)
    text: str = ""


def build(
    module: ModuleOp,
    target: CpuTarget,
    options: Options | None = None,
    choose: Chooser = by_estimate,
) -> Build:
    """Compiles ``module``, which is at the graph level, and changes it on the way.

    Raises:
        TargetError: The model holds something that the target has no code for.
    """
    lower(module, target, options, choose)
    return assemble(module, target, choose)


def lower(
    module: ModuleOp,
    target: CpuTarget,
    options: Options | None = None,
    choose: Chooser = by_estimate,
) -> None:
    """Brings ``module`` from the graph level to the kernel level."""
    steps = lowering(
        lambda op: has_kernel(op, target),
        lambda op: watches_border(op, target, choose),
        lambda op: choose_encoded(op, target),
        appends,
    )
    run_passes(module, (*steps, *narrowing(target)), options)


def assemble(module: ModuleOp, target: CpuTarget, choose: Chooser = by_estimate) -> Build:
    """Compiles ``module``, which is at the kernel level.

    Raises:
        TargetError: The model holds something that the target has no code for.
    """
    return _Builder(main_function(module).body.block, Scheduler(target, choose)).build()


_MALLOC = "declare ptr @malloc(i64)\n"


class _Builder:
    def __init__(self, block: Block, scheduler: Scheduler):
        self.block = block
        self.target = scheduler.target
        self.scheduler = scheduler
        self.found = list(late_symbols(block.walk()))
        self.symbols = [*_symbols(block), *self.found]
        self.codes: dict[KernelOp, Code] = {}
        self.copies: list[Code] = []
        self.memory: MemoryPlan
        self.loops: list[SampleLoop] = []
        self.number: dict[Operation, int] = {}
        self.branches = 0
        self.weights = Weights()
        self.expanders: dict[Expansion, Code] = {}
        self.sites: list[Site] = []
        self.records: list[dict[str, Any]] = []

    def build(self) -> Build:
        kernels = [op for op in self.block.walk() if isinstance(op, KernelOp)]
        self.codes = {kernel: self.scheduler.code(kernel) for kernel in kernels}
        self.loops = sample_loops(self.block, self.codes)
        self.memory = plan_memory(self.block, self.loops)
        self.number = {op: n for n, loop in enumerate(self.loops) for op in loop.ops}
        steps = self._steps(self.block)
        plan = self._entry_points(steps, self._expansions())
        codes = *self.scheduler.codes.values(), *self.copies, *self.expanders.values()
        text = emit_module([c.function for c in codes], self.target)
        text += entry_points(plan)
        if self.memory.late and _MALLOC not in text:
            text += _MALLOC
        return Build(
            [compile_object(text, self.target), pool_object(self.target)],
            self.weights.entries,
            self.weights.size,
            self.weights.grown,
            self.records,
            errors=[heap.MESSAGE] if self.memory.heap else [],
            symbols=[(name, name in self.found) for name in self.symbols],
            text=text,
        )

    def _steps(self, block: Block, inside: tuple[str, ...] = ()) -> list[Step]:
        """What is done for a block, in order."""
        steps: list[Step] = []
        for op in block.ops:
            if isinstance(op, KernelOp):
                steps.append(self._launch(op, inside))
            elif isinstance(op, IfOp):
                steps.append(self._branch(op, inside))
            elif isinstance(op, LoopOp):
                steps.append(self._repeat(op, inside))
        return steps + [self._copy(*copy, inside) for copy in self.memory.copies[block]]

    def _launch(self, kernel: KernelOp, inside: tuple[str, ...]) -> Site:
        code = self.codes[kernel]
        inputs = [
            self._place(value, code.packed.get(number))
            for number, value in enumerate(kernel.inputs)
        ]
        told = record(kernel, code.function.sym_name.data, inside)
        if any(p.kind == "weight" and self.weights.is_coded(p.number) for p in inputs):
            told["why"] += f"; {STORED}"
        outputs = [self.memory.places[r] for r in kernel.outputs]
        symbols = tuple(kernel_symbols(kernel))
        return self._site(code, inputs, outputs, symbols, told, self.number.get(kernel))

    def _copy(self, value: SSAValue, target: Place, inside: tuple[str, ...]) -> Site:
        code = copy_kernel(type_of(value), f"copy{len(self.copies)}", self.target)
        self.copies.append(code)
        symbols = tuple(dict.fromkeys(s for d in type_of(value).shape for s in symbols_of(d)))
        name = code.function.sym_name.data
        told = {"kernel": name, "algorithm": "copy", "why": "", "nodes": [], "ops": []}
        told["inside"] = list(inside)
        return self._site(code, [self._place(value)], [target], symbols, told)

    def _site(
        self,
        code: Code,
        inputs: Sequence[Place],
        outputs: Sequence[Place],
        symbols: tuple[str, ...],
        told: dict[str, Any],
        loop: int | None = None,
    ) -> Site:
        name, number = code.function.sym_name.data, len(self.sites)
        work = (code.tasks, code.grain, code.found)
        buffers, room = (*inputs, *outputs), self._room(outputs)
        site = Site(number, name, buffers, symbols, *work, loop, room)
        self.sites.append(site)
        self.records.append(told)
        return site

    def _branch(self, op: IfOp, inside: tuple[str, ...]) -> Branch:
        pairs = zip(*(differences(*op.blocks) or ()), strict=True) if op.counts else ((), ())
        sides = [
            Side(
                self._steps(side, (*inside, f"{name} of {_name(op)}")),
                self._held(side),
                dict(zip(op.counts, sizes, strict=True)),
            )
            for name, side, sizes in zip(("then", "else"), op.blocks, pairs, strict=True)
        ]
        self.branches += 1
        return Branch(
            self.branches,
            self._place(op.condition),
            [self.memory.places[r].number for r in op.results],
            (sides[0], sides[1]),
        )

    def _repeat(self, op: LoopOp, inside: tuple[str, ...]) -> Repeat:
        block = op.block
        trips, rows = number(op.trips), returned_types(block)[1 + op.carried :]
        return Repeat(
            self.memory.loops.index(op),
            self._place(op.trips) if trips is None else int(trips),
            self._condition(op.condition),
            self._condition(returned(block)[0]),
            op.index,
            [self.memory.places[r].number for r in op.results[: op.carried]],
            [self._place(v) for v in op.values[: op.carried]],
            self._held(block),
            self._steps(block, (*inside, f"loop {_name(op)}")),
            op.count,
            self._room([replace(p, strides=()) for p in self.memory.held[block] if p.strides]),
            [
                (self.memory.places[stack], row.size * row.dtype.itemsize)
                for stack, row in zip(op.results[op.carried :], rows, strict=True)
                if self.memory.places.get(stack) in self.memory.heap
            ],
        )

    def _room(self, places: Sequence[Place]) -> Room:
        """Which of some places have to get memory, and how much."""
        return [(p, self.memory.heap[p]) for p in places if p in self.memory.heap]

    def _condition(self, value: SSAValue) -> Place | None:
        return None if number(value) else self._place(value)

    def _held(self, block: Block) -> list[Place]:
        return [self._weight(place) for place in self.memory.held[block]]

    def _place(self, value: SSAValue, packing: Packing | None = None) -> Place:
        return self._weight(self.memory.places[base_of(value)], packing)

    def _weight(self, place: Place, packing: Packing | None = None) -> Place:
        """A constant's place among the weights, which it gets when it is first needed."""
        if place.kind != "weight":
            return place
        return Place("weight", self.weights.number(self.memory.weights[place.number], packing))

    def _expansions(self) -> list[Site]:
        """The launches that make weights of smaller ones."""
        return [
            self._expansion(number, growth) for number, growth in enumerate(self.weights.expansions)
        ]

    def _expansion(self, number: int, growth: Growth) -> Site:
        rule = growth.rule
        if rule not in self.expanders:
            name = f"expand{len(self.expanders)}"
            self.expanders[rule] = expansion_code(rule, name, self.target)
        code, places = self.expanders[rule], tuple(Place("weight", n) for n in growth.numbers)
        return Site(number, code.function.sym_name.data, places, (), code.tasks, code.grain)

    def _entry_points(self, steps: Sequence[Step], expansions: Sequence[Site]) -> EntryPoints:
        return EntryPoints(
            self.symbols,
            [type_of(a).shape for a in self.block.args],
            [type_of(v).shape for v in returned(self.block)],
            self.memory.arena,
            self.weights.spots,
            expansions,
            self.sites,
            self.memory.late,
            [Loop(loop.samples, loop.slots) for loop in self.loops],
            steps,
            self.found,
            self.memory.pointers,
            list(self.memory.heap),
            len(self.memory.loops),
        )


@cache
def pool_object(target: CpuTarget) -> bytes:
    """The thread pool, compiled."""
    return compile_object(pool_text(target), target)


def _name(op: Operation) -> str:
    return source_of(op) or op.name


def _symbols(block: Block) -> list[str]:
    """The symbols of the inputs, in order of appearance."""
    return list(dict.fromkeys(_names(a.type for a in block.args)))


def _names(types: Iterable[object]) -> Sequence[str]:
    return [
        name
        for type in types
        if isinstance(type, TensorType)
        for dim in type.shape
        for name in symbols_of(dim)
    ]
