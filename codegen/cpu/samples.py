"""Which launches are run sample by sample, so that what one makes is near when the next reads it.

A run of kernels whose tasks fall into samples, along the first dim of all results, and of which
each reads of the others' results only its own sample, may be run for one sample after the other::

    for kernel: for sample: …      ->      for sample: for kernel: …

What is used nowhere else then needs memory for one sample only, and stays in the cache. That is
worth it where all samples together do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xdsl.ir import Block, Operation, SSAValue

from ...ir.affine import Affine, IndexSpace
from ...ir.dims import Dim, is_static, symbols_of
from ...ir.kernel import KernelOp
from ...ir.op import GraphOp
from ...ir.ops.control import RegionOp
from ...ir.ops.select import late_symbols
from ...ir.scalar import nodes_of
from ...ir.structure import Map, Reduce, View, body_of
from ...ir.types import type_of
from ...passes.arena import SampleLoop
from ...passes.lifetimes import base_of
from .templates.frame import Code, static

_CACHE = 1 << 20
_SLOTS = 32
_SAMPLE = Affine({0: 1})


def sample_loops(block: Block, codes: Mapping[KernelOp, Code]) -> list[SampleLoop]:
    """The runs of kernels of ``block`` that are worth a loop over samples."""
    runs, late = [_Run(1)], set(late_symbols(block.walk()))
    for op in block.ops:
        if isinstance(op, RegionOp):
            runs.append(_Run(1))
        if not isinstance(op, KernelOp):
            continue
        samples = _samples(op, codes[op])
        if not late.isdisjoint(symbols_of(samples)):
            samples = 1  # memory for a result may have to be got first
        if samples != runs[-1].samples or not runs[-1].may_take(op):
            runs.append(_Run(samples))
        runs[-1].kernels.append(op)
    loops = [run.loop() for run in runs if run.samples != 1]
    return [loop for loop in loops if _size(loop) > _CACHE]


def _samples(kernel: KernelOp, code: Code) -> Dim:
    """How many samples a kernel may be run by; 1 where it must be run whole."""
    shapes = [type_of(r).shape for r in kernel.outputs]
    fit = all(shape[:1] == (code.samples,) and is_static(shape[1:]) for shape in shapes)
    return code.samples if fit and not code.found else 1


def _size(loop: SampleLoop) -> int:
    """Bytes that would not have to leave the cache."""
    types = [type_of(v) for v in loop.inner]
    return sum(static(type.shape) * type.dtype.itemsize for type in types)


@dataclass
class _Run:
    samples: Dim
    kernels: list[KernelOp] = field(default_factory=list)

    def may_take(self, kernel: KernelOp) -> bool:
        """Whether a kernel reads of the results of these only the sample that it computes."""
        made = {r for k in self.kernels for r in k.outputs}
        inside: set[SSAValue] = {
            argument
            for value, argument in zip(kernel.inputs, kernel.block.args, strict=True)
            if base_of(value) in made
        }
        if any(type_of(a).shape[:1] != (self.samples,) for a in inside):
            return False
        for op in kernel.ops:
            if not inside.isdisjoint(op.operands):
                if not self._keeps_to_samples(op, inside):
                    return False
                inside.update(op.results)
        return True

    def _keeps_to_samples(self, op: GraphOp, inside: set[SSAValue]) -> bool:
        """Whether an index along the first dim is computed from the same one of ``inside``."""
        structure, shape = op.structure(), type_of(op.results[0]).shape
        if not isinstance(structure, Map | Reduce) or shape[:1] != (self.samples,):
            return False
        extents = structure.extents if isinstance(structure, Reduce) else ()
        space = IndexSpace((*shape, *extents))
        return all(
            space.affine(load.args[0]) == _SAMPLE
            for load in nodes_of(body_of(structure, len(shape)))
            if load.op == "load" and op.operands[load.attr] in inside
        )

    def loop(self) -> SampleLoop:
        """These kernels as a loop."""
        made = [r for k in self.kernels for r in k.outputs]
        inner = [v for v in made if _is_used_by(v, self.kernels)]
        slots = min(self.samples, _SLOTS) if isinstance(self.samples, int) else _SLOTS
        return SampleLoop(tuple(self.kernels), self.samples, tuple(inner), slots)


def _is_used_by(value: SSAValue, kernels: Sequence[Operation]) -> bool:
    """Whether a value, or a view of it, is used by ``kernels`` alone."""
    users = [use.operation for use in value.uses]
    return all(
        user in kernels
        or (
            isinstance(user, GraphOp)
            and isinstance(user.structure(), View)
            and _is_used_by(user.results[0], kernels)
        )
        for user in users
    )
