"""Stores in 16 bits what products read and what comes out of them; arithmetic stays in f32.

%y = "kernel.kernel"(%x, %w) ({        %y = "kernel.kernel"(%x, %w) ({        x, w and y are bf16
    %r = "mlc.matmul"(%0, %1)     ->       %a, %b = "mlc.cast"(%0), …(%1)     to f32
    kernel.yield %r                        %r = "mlc.matmul"(%a, %b)
})                                         kernel.yield "mlc.cast"(%r)        to bf16

A product of two bf16, or of two f16, is exact in f32, so that a target may multiply the stored
factors as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Block, BlockArgument, Operation, Region, SSAValue

from ..ir.data import DataAttr
from ..ir.kernel import KernelOp, YieldOp
from ..ir.levels import Level
from ..ir.module import main_function
from ..ir.op import GraphOp, copy_source
from ..ir.ops.constant import ConstantOp
from ..ir.ops.elementwise import CastOp
from ..ir.types import DTYPES, F32, TensorType, type_of
from .contract import Pass, Promise
from .lifetimes import is_view
from .narrow_choice import MOVES, Choice, choose
from .rewrite import again

_BF16 = DTYPES["bf16"]


@dataclass(frozen=True)
class NarrowValues(Pass):
    """Rounds weights and values between kernels to bf16, whose error is 2^-9 of each element.

    Attributes:
        multiplies: Whether the target multiplies narrow factors in a kernel.
        reads: Whether its kernel takes narrow values though it computes in f32.
        dtype: To what: f16 has an error of 2^-12, and nothing above 65504.
    """

    multiplies: Callable[[KernelOp], bool] = lambda kernel: True
    reads: Callable[[KernelOp], bool] = lambda kernel: True
    dtype: np.dtype = _BF16

    name = "narrow-values"
    promise = Promise.LOSSY
    takes = Level.KERNEL
    gives = Level.KERNEL

    def apply(self, module: ModuleOp) -> None:
        """Rebuilds the kernels that read or write what becomes narrow."""
        block = main_function(module).body.block
        _Narrower(block, choose(block, self.multiplies, self.reads), self.dtype).run()


class _Narrower:
    """Rebuilds in order.

    Attributes:
        stored: The narrow values that took the place of others.
        rounded: Narrow copies of values that stay as well.
    """

    def __init__(self, block: Block, choice: Choice, dtype: np.dtype):
        self.block, self.choice, self.dtype = block, choice, dtype
        self.stored: dict[SSAValue, SSAValue] = {}
        self.rounded: dict[SSAValue, SSAValue] = {}

    def run(self) -> None:
        replaced: list[Operation] = []
        for op in list(self.block.ops):
            if isinstance(op, KernelOp) and self._concerns(op):
                self._rebuild(op)
                replaced.append(op)
            elif is_view(op) and isinstance(op, GraphOp) and op.operands[0] in self.stored:
                self.stored[op.results[0]] = self._view(op, self.stored[op.operands[0]])
                replaced.append(op)
        for op in reversed(replaced):
            op.detach()
            op.erase()
        for value in self.rounded:
            if isinstance(value.owner, ConstantOp) and not value.first_use:
                value.owner.detach()
                value.owner.erase()

    def _concerns(self, kernel: KernelOp) -> bool:
        reads = any(v in self.stored for v in kernel.inputs)
        rounds = bool(self.choice.rounded(kernel))
        return reads or rounds or any(map(self._is_stored, kernel.results))

    def _is_stored(self, value: SSAValue) -> bool:
        return value in self.choice.values

    def _rebuild(self, kernel: KernelOp) -> None:
        """The kernel on narrow values, in the place of the old one."""
        forced = self.choice.rounded(kernel)
        if moves := kernel.algorithm.data in MOVES:
            forced = tuple(n for n, v in enumerate(kernel.inputs) if type_of(v).dtype == F32)
        inputs = list(kernel.inputs)
        for number, value in enumerate(inputs):
            if value in self.stored or number in forced:
                inputs[number] = self.narrow(value)
        types = [self._type(r) for r in kernel.results]
        body = kernel.body.block
        narrowed = {n: v for n, v in enumerate(inputs) if v is not kernel.inputs[n]}
        _retype(body, narrowed, self.dtype) if moves else _widen_inside(body, narrowed, types)
        region = kernel.detach_region(0)
        new = KernelOp(inputs, types, region, str(kernel.algorithm.data), str(kernel.why.data))
        new.location = kernel.location
        self.block.insert_op_before(new, kernel)
        for old, result in zip(kernel.results, new.results, strict=True):
            if self._is_stored(old):
                self.stored[old] = result
            else:
                old.replace_all_uses_with(result)

    def _type(self, value: SSAValue) -> Attribute:
        type = type_of(value)
        return type.with_dtype(self.dtype) if self._is_stored(value) else type

    def narrow(self, value: SSAValue) -> SSAValue:
        """A value in 16 bits: stored so, or a copy made where it becomes known."""
        if value in self.stored:
            return self.stored[value]
        if value not in self.rounded:
            self.rounded[value] = self._copy(value)
        return self.rounded[value]

    def _copy(self, value: SSAValue) -> SSAValue:
        owner = value.owner
        if isinstance(owner, ConstantOp):
            return self._after(value, _constant(owner, self.dtype))
        if isinstance(owner, GraphOp) and is_view(owner):
            return self._view(owner, self.narrow(owner.operands[0]))
        body = Block(arg_types=[value.type])
        cast = CastOp(body.args[0], to=self.dtype)
        body.add_ops([cast, YieldOp(operands=[[cast.results[0]]])])
        return self._after(value, KernelOp([value], [cast.results[0].type], Region(body), "row"))

    def _view(self, op: GraphOp, operand: SSAValue) -> SSAValue:
        return self._after(op.results[0], again(op, operand, *op.operands[1:]))

    def _after(self, value: SSAValue, new: Operation) -> SSAValue:
        """Places an op behind what makes ``value``."""
        if isinstance(value, BlockArgument):
            assert self.block.first_op is not None
            self.block.insert_op_before(new, self.block.first_op)
        else:
            assert isinstance(value.owner, Operation)
            copy_source(value.owner, new)
            self.block.insert_op_after(new, value.owner)
        return new.results[0]


def _constant(op: ConstantOp, dtype: np.dtype) -> ConstantOp:
    """The constant in 16 bits, rounded when it is written."""
    data = op.value
    lazy = DataAttr.lazy(data.type.with_dtype(dtype), lambda: data.array.astype(dtype))
    return ConstantOp(value=lazy)


def _widen_inside(body: Block, inputs: Mapping[int, SSAValue], types: list[Attribute]) -> None:
    """Casts narrow inputs where a kernel's body begins, and narrow results where it ends."""
    first, last = body.first_op, body.last_op
    assert first is not None
    assert last is not None
    for number, value in inputs.items():
        wide, narrow = _exchanged(body, number, value.type)
        cast = CastOp(narrow, to=F32)
        copy_source(first, cast)
        body.insert_op_before(cast, first)
        wide.replace_all_uses_with(cast.results[0])
        body.erase_arg(wide)
    for number, type in enumerate(types):
        value = last.operands[number]
        if value.type != type:
            assert isinstance(type, TensorType)
            cast = CastOp(value, to=type.dtype)
            copy_source(value.owner if isinstance(value.owner, Operation) else first, cast)
            body.insert_op_before(cast, last)
            last.operands[number] = cast.results[0]


def _retype(body: Block, inputs: Mapping[int, SSAValue], dtype: np.dtype) -> None:
    """The ops of a body that only moves elements, on narrow ones."""
    narrow: dict[SSAValue, SSAValue] = {}
    stale: list[BlockArgument] = []
    for number in sorted(inputs, reverse=True):
        old, narrow[old] = _exchanged(body, number, inputs[number].type)
        stale.append(old)
    for op in list(body.ops):
        if isinstance(op, YieldOp):
            op.operands = [narrow.get(v, v) for v in op.operands]
            continue
        assert isinstance(op, GraphOp)
        floats = all(type_of(r).dtype == F32 for r in op.results)
        new = _constant(op, dtype) if isinstance(op, ConstantOp) and floats else None
        new = new or again(op, *(narrow.get(v, v) for v in op.operands))
        copy_source(op, new)
        body.insert_op_before(new, op)
        narrow.update(zip(op.results, new.results, strict=True))
    for op in reversed([r.owner for r in narrow if isinstance(r.owner, Operation)]):
        op.detach()
        op.erase()
    for value in stale:
        body.erase_arg(value)


def _exchanged(body: Block, number: int, type: Attribute) -> tuple[BlockArgument, BlockArgument]:
    """The argument ``number`` and a new one of another type in its place."""
    new = body.insert_arg(type, number)
    return body.args[number + 1], new
