"""Scatters, turned round: each element of the result looks for the updates that are meant for it.

So updates that meet in one element come in their order, and nothing is written twice.
"""

from __future__ import annotations

from functools import reduce
from operator import and_

from xdsl.ir import SSAValue

from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.dims import Dim, Shape, ceildiv, product
from ....ir.kernel import KernelOp
from ....ir.ops.scatter import ScatterElementsOp, ScatterNdOp, ScatterOp
from ....ir.scalar import Scalar
from ....ir.types import type_of
from ..frame import Code, Frame
from ..layout import Group, total
from ..printer import Printer, Scope
from ..target import CudaTarget
from .flat import divides, nothing_placed, place
from .pointwise import say

_BLOCK = 256


def scatter_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code:
    """Code for a kernel of one scatter."""
    (op,) = (op for op in kernel.ops if isinstance(op, ScatterOp))
    return _Scatter(Frame(kernel, name, target), op).build()


class _Scatter:
    def __init__(self, frame: Frame, op: ScatterOp):
        self.frame, self.op = frame, op
        self.shape: Shape = type_of(op.x).shape
        self.indices = type_of(op.indices)
        self.count: Dim = self._count()
        self.step = s.axis(len(self.shape))
        self.space = IndexSpace((*self.shape, self.count))
        self.own = [s.axis(n) for n in range(len(self.shape))]

    def build(self) -> Code:
        """A lane is an element of the result; it goes through all updates that may be its own."""
        frame, rank = self.frame, len(self.shape)
        groups = [Group((n,), d) for n, d in enumerate(self.shape) if d != 1]
        frame.constant("BLOCK", _BLOCK)
        frame.bind("tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)", "i")
        placement = nothing_placed(rank + 1)
        place(frame, placement, groups, "i", divides(_BLOCK, total(groups)))
        dtype = type_of(self.op.x).dtype
        held = Scalar("load", (), dtype, frame.new_number())
        scope = Scope(frame, self.space, placement.axes, placement.masks, lanes="i")
        printer = Printer(scope)
        start = printer.value(frame.fused.element(self.op.x, self.own))
        frame.bind(f"tl.broadcast_to({start}, [BLOCK])", "result")
        with frame.loop("u", self.count):
            axes = {**placement.axes, rank: "u"}
            registers = {held.attr: "result"}
            inner = Printer(Scope(frame, self.space, axes, placement.masks, registers))
            frame.bind(inner.value(self._after(held)), "result")
        scope.registers = {held.attr: "result"}
        last = Printer(scope)
        last.store(held, "result", self.own, frame.buffers[len(frame.kernel.inputs)])
        say(frame.kernel, "scatter", "each element looks for its updates, in their order")
        return frame.finish(ceildiv(product(self.shape), _BLOCK), 4)

    def _count(self) -> Dim:
        """How many updates an element goes through."""
        if isinstance(self.op, ScatterElementsOp):
            return self.indices.shape[self.op.axis]
        return product(self.indices.shape[:-1])

    def _after(self, held: Scalar) -> Scalar:
        """The element after one update."""
        hits, update = (
            self._elements() if isinstance(self.op, ScatterElementsOp) else self._slices()
        )
        reduction = self.op.reduction
        value = update if reduction == "none" else s.binary(reduction, held, update)
        return s.select(reduce(and_, hits), value, held)

    def _elements(self) -> tuple[list[Scalar], Scalar]:
        op = self.op
        assert isinstance(op, ScatterElementsOp)
        where = [*self.own[: op.axis], self.step, *self.own[op.axis + 1 :]]
        inside = [
            self.own[n] < s.size(d)
            for n, d in enumerate(self.indices.shape)
            if n != op.axis and d != self.shape[n]
        ]
        index = self._guarded(op.indices, where, inside)
        update = self._guarded(op.updates, where, inside)
        return [*inside, self._meets(index, op.axis)], update

    def _slices(self) -> tuple[list[Scalar], Scalar]:
        op = self.op
        assert isinstance(op, ScatterNdOp)
        depth = self.indices.shape[-1]
        assert isinstance(depth, int)
        outer, place = [], self.step
        for size in reversed(self.indices.shape[1:-1]):
            outer.insert(0, place % s.size(size))
            place = place // s.size(size)
        if self.indices.rank > 1:
            outer.insert(0, place)
        element = self.frame.fused.element
        hits = [
            self._meets(element(op.indices, [*outer, s.const(k, s.I64)]), k) for k in range(depth)
        ]
        return hits or [s.const(True, s.BOOL)], element(op.updates, [*outer, *self.own[depth:]])

    def _guarded(self, value: SSAValue, where: list[Scalar], inside: list[Scalar]) -> Scalar:
        element = self.frame.fused.element(value, where)
        return s.select(reduce(and_, inside), element, 0) if inside else element

    def _meets(self, index: Scalar, axis: int) -> Scalar:
        """Whether an index, which may count from the end, is the element's own."""
        wide = s.cast(index, s.I64)
        wrapped = s.select(wide < 0, wide + s.size(self.shape[axis]), wide)
        return s.compare("eq", wrapped, self.own[axis])
