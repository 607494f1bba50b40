"""Which values between kernels are worth storing in fewer bits.

Rounded are the factors of products that a target multiplies in few bits, and what has come through
such a product: it carries their error anyway. What is computed apart from them, such as positions
and masks, stays exact; so does what somebody else than a kernel reads, and what is small and no
factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from ..ir.dims import Dim
from ..ir.kernel import KernelOp
from ..ir.ops.attention import AttentionOp
from ..ir.ops.constant import ConstantOp
from ..ir.ops.conv import ConvOp
from ..ir.ops.matmul import MatmulOp
from ..ir.ops.shape import BroadcastOp, SliceOp, TransposeOp
from ..ir.types import F32, type_of
from .lifetimes import base_of, is_view

MOVES = ("pad", "concat")
_COMPUTES = ("row", "reduction", "contraction", "attention")
_SMALL, _LARGE = 1 << 10, 1 << 16
_SHALLOW = 16
_UNKNOWN = 64

Test = Callable[[KernelOp], bool]


@dataclass
class Choice:
    """What is to be narrow.

    Attributes:
        factors: By kernel, the numbers of the inputs that are factors of its product.
        tables: By kernel, those of large constants that become a part of narrow results.
        values: Results of kernels.
    """

    factors: dict[KernelOp, tuple[int, ...]] = field(default_factory=dict)
    tables: dict[KernelOp, tuple[int, ...]] = field(default_factory=dict)
    values: set[SSAValue] = field(default_factory=set)

    def rounded(self, kernel: KernelOp) -> tuple[int, ...]:
        """The inputs that are rounded though their other readers may not take them so."""
        return self.factors.get(kernel, ()) + self.tables.get(kernel, ())


def choose(block: Block, multiplies: Test, reads: Test) -> Choice:
    """Chooses for a block of kernels.

    ``multiplies`` says whether a target multiplies narrow factors in a kernel, ``reads`` whether
    its kernel takes narrow values there though it computes in f32.
    """
    return _Chooser(block, multiplies, reads).choice


def factors_of(kernel: KernelOp) -> tuple[int, ...]:
    """The inputs that are the factors of a deep product with a weight; empty without one."""
    for op in kernel.ops:
        if isinstance(op, MatmulOp | ConvOp) and _depth(op) >= _SHALLOW:
            numbers = [_input(kernel, v) for v in op.operands]
            x, w = (n if n is not None else -1 for n in numbers)
            if min(x, w) >= 0 and isinstance(kernel.inputs[w].owner, ConstantOp):
                return (x, w)
    return ()


def _depth(op: MatmulOp | ConvOp) -> int:
    if isinstance(op, MatmulOp):
        return _size(type_of(op.x).shape[-1:])
    return _size(type_of(op.w).shape[:-1]) if op.groups == 1 else 0


def _input(kernel: KernelOp, value: SSAValue) -> int | None:
    """The number of the f32 input that ``value`` is, moved or not."""
    while isinstance(value.owner, TransposeOp | SliceOp | BroadcastOp):
        value = value.owner.operands[0]
    if not isinstance(value, BlockArgument) or type_of(value).dtype != F32:
        return None
    return value.index if value.block is kernel.block else None


def _size(shape: tuple[Dim, ...]) -> int:
    total = 1
    for dim in shape:
        total *= dim if isinstance(dim, int) else _UNKNOWN
    return total


class _Chooser:
    def __init__(self, block: Block, multiplies: Test, reads: Test):
        self.block, self.reads = block, reads
        kernels = [op for op in block.ops if isinstance(op, KernelOp)]
        self.choice = Choice({k: f for k in kernels if (f := factors_of(k)) and multiplies(k)})
        self.wanted = {base_of(k.inputs[n]) for k, f in self.choice.factors.items() for n in f}
        large = {r for r in self._rounded(kernels) if _size(type_of(r).shape) >= _SMALL}
        self.choice.values = {r for r in large | self.wanted if _is_storable(r)}
        self._settle()
        rows = [k for k in kernels if k.algorithm.data in ("row", "reduction")]
        self.choice.tables = {k: t for k in rows if (t := self._tables(k))}

    def _tables(self, kernel: KernelOp) -> tuple[int, ...]:
        if not self.choice.values.issuperset(kernel.outputs):
            return ()
        known = [type_of(v) for v in kernel.inputs]
        large = [n for n, t in enumerate(known) if t.dtype == F32 and _size(t.shape) >= _LARGE]
        return tuple(n for n in large if isinstance(kernel.inputs[n].owner, ConstantOp))

    def _rounded(self, kernels: list[KernelOp]) -> set[SSAValue]:
        """What has come through a product of rounded factors."""
        found: set[SSAValue] = set()
        for kernel in kernels:
            if kernel in self.choice.factors or any(base_of(v) in found for v in kernel.inputs):
                found.update(kernel.outputs)
        return found

    def _settle(self) -> None:
        """Drops values that a reader does not take, until all do."""
        values = self.choice.values
        while refused := {v for v in values if not self._is_taken(v)}:
            values -= refused

    def _is_taken(self, value: SSAValue) -> bool:
        kernel = value.owner
        assert isinstance(kernel, KernelOp)
        moved = kernel.algorithm.data in MOVES and value not in self.wanted
        sources = [base_of(v) for v in kernel.inputs if moved and _is_float(v)]
        if not self.choice.values.issuperset(sources):
            return False
        return all(self._takes(op, number) for op, number in self._readers(value))

    def _readers(self, value: SSAValue) -> Iterator[tuple[Operation, int]]:
        for use in value.uses:
            if is_view(use.operation) and use.operation.parent is self.block:
                yield from self._readers(use.operation.results[0])
            else:
                yield use.operation, use.index

    def _takes(self, op: Operation, number: int) -> bool:
        if not isinstance(op, KernelOp) or op.parent is not self.block:
            return False
        if op.algorithm.data in MOVES:
            return op.results[0] in self.choice.values
        if op in self.choice.factors:
            return True
        return op.algorithm.data in _COMPUTES and self.reads(op) and not _is_mask(op, number)


def _is_storable(value: SSAValue) -> bool:
    """Whether a value is the result of a kernel that can round it."""
    kernel = value.owner
    if not isinstance(kernel, KernelOp) or type_of(value).dtype != F32:
        return False
    return kernel.algorithm.data in (*_COMPUTES, *MOVES)


def _is_mask(kernel: KernelOp, number: int) -> bool:
    masks = [v for op in kernel.ops if isinstance(op, AttentionOp) for v in op.operands[3:]]
    return kernel.block.args[number] in masks


def _is_float(value: SSAValue) -> bool:
    return type_of(value).dtype == F32 and not isinstance(value.owner, ConstantOp)
