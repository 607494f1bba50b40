"""Makes kernels that differ in numbers alone the same: such numbers become inputs.

    … mul(%x, 0.5) …        kernel(%x, %a) { … mul(%x, %a) … }   with %a = 0.5
    … mul(%x, 0.7) …   ->   kernel(%x, %b) { … mul(%x, %b) … }   with %b = 0.7

They share their code then. Numbers that are the same in all of them stay in it, and so do those
that might decide what is computed, as the exponent of a power.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.kernel import KernelOp
from ..ir.levels import Level
from ..ir.module import main_function
from ..ir.ops.constant import ConstantOp
from ..ir.ops.elementwise import AddOp, MulOp, SubOp
from ..ir.ops.quant import DequantizeOp, ScaledOp
from ..ir.types import F32, I32, type_of
from .contract import Pass, Promise

_ALGORITHMS = ("contraction", "reduction", "row")
_SCALED = (AddOp, SubOp, MulOp, DequantizeOp)
_ZERO_POINT = 2
_NUMBERS = (F32, I32)


@dataclass(frozen=True)
class ShareKernels(Pass):
    """What a number is read from costs nothing next to the compilation of another kernel."""

    name = "share-kernels"
    promise = Promise.EXACT
    takes = Level.KERNEL
    gives = Level.KERNEL

    def apply(self, module: ModuleOp) -> None:
        """Compares all kernels; those of one form get the same inputs."""
        alike: dict[Hashable, list[KernelOp]] = defaultdict(list)
        for op in main_function(module).body.block.ops:
            if isinstance(op, KernelOp) and op.algorithm.data in _ALGORITHMS:
                alike[_form(op)].append(op)
        for kernels in alike.values():
            for numbers in zip(*(_numbers(k) for k in kernels), strict=True):
                if len({n.value for n in numbers}) > 1:
                    for kernel, number in zip(kernels, numbers, strict=True):
                        _become_input(kernel, number)


def _numbers(kernel: KernelOp) -> list[ConstantOp]:
    """The numbers and zero points that only scale and shift."""
    return [op for op in kernel.block.ops if isinstance(op, ConstantOp) and _only_scales(op)]


def _only_scales(number: ConstantOp) -> bool:
    type, uses = type_of(number.results[0]), number.results[0].uses
    if type.dtype in _NUMBERS:
        return all(isinstance(use.operation, _SCALED) for use in uses)
    return all(isinstance(use.operation, ScaledOp) and use.index == _ZERO_POINT for use in uses)


def _form(kernel: KernelOp) -> Hashable:
    """What must be equal: everything but the numbers."""
    names: dict[SSAValue, int] = {}
    for value in (*kernel.block.args, *(r for op in kernel.block.ops for r in op.results)):
        names[value] = len(names)
    free = set(_numbers(kernel))
    ops = tuple(
        (
            op.name,
            tuple(names[o] for o in op.operands),
            () if op in free else tuple(sorted(op.properties.items())),
            tuple(r.type for r in op.results),
        )
        for op in kernel.block.ops
    )
    constant = tuple(isinstance(i.owner, ConstantOp) for i in kernel.inputs)
    return ops, tuple(a.type for a in kernel.block.args), constant


def _become_input(kernel: KernelOp, number: ConstantOp) -> None:
    block = kernel.parent
    assert block is not None
    outside = number.clone()
    block.insert_op_before(outside, kernel)
    inside = kernel.block.insert_arg(number.results[0].type, len(kernel.block.args))
    kernel.operands = [*kernel.operands, outside.results[0]]
    number.results[0].replace_all_uses_with(inside)
    number.detach()
    number.erase()
