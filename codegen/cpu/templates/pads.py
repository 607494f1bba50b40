"""Pads with a constant: a row is filled, copied, and filled again.

A row is what lies side by side in memory: the last dim that is padded, and all behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IndexType, i1
from xdsl.ir import SSAValue

from ....ir.affine import IndexSpace
from ....ir.dims import Dim, product
from ....ir.kernel import KernelOp
from ....ir.ops.shape import PadOp, param_dims
from ....ir.scalar import Scalar, const
from ....ir.types import type_of
from ..elements import to_memory
from ..expression import ExpressionLowering
from ..target import CpuTarget
from .frame import Code, Frame, grain_of, static
from .runs import copy_run, fill_run


def pad_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a kernel of one ``mlc.pad`` of mode ``constant``; a task is a row of the result."""
    frame = Frame(kernel, name, target)
    (op,) = (op for op in kernel.ops if isinstance(op, PadOp))
    return _Pad(frame, op).build()


class _Pad:
    def __init__(self, frame: Frame, op: PadOp):
        self.frame = frame
        self.b = frame.b
        self.op = op
        self.x = frame.buffers[list(frame.kernel.block.args).index(op.x)]
        self.result = frame.buffers[len(frame.kernel.inputs)]
        pads, rank = param_dims(op.pads), len(self.x.shape)
        self.begins, ends = pads[:rank], pads[rank:]
        padded = [k for k in range(rank) if self.begins[k] != 0 or ends[k] != 0]
        self.last = padded[-1] if padded else 0
        inside = product(self.x.shape[self.last + 1 :])
        self.before: Dim = self.begins[self.last] * inside if rank else 0
        self.after: Dim = ends[self.last] * inside if rank else 0
        self.length = product(self.x.shape[self.last :])

    def build(self) -> Code:
        """The whole function."""
        frame, b = self.frame, self.b
        rows = self.result.shape[: self.last]
        size = self.before + self.length + self.after
        value = self._value()
        with b.loop(frame.begin, frame.end) as row:
            place = b.mul_index(row, frame.dim(size))
            indices = [
                b.op(arith.SubiOp, [index, frame.dim(begin)], IndexType())
                for index, begin in zip(frame.unflatten(row, rows), self.begins, strict=False)
            ]
            inside = self._inside(indices, rows)
            image = b.region(lambda: self._row(indices, place, value))
            outside = b.region(lambda: fill_run(frame, value, self.result, place, size))
            b.add(scf.IfOp(inside, [], image, outside))
        samples = rows[0] if rows else 1
        return frame.finish(product(rows), grain_of(static((size,)) // 8), samples=samples)

    def _value(self) -> SSAValue:
        """What is added, as it is in memory."""
        dtype = type_of(self.op.x).dtype
        operand = self.op.value
        element: Scalar = (
            const(0, dtype) if operand is None else self.frame.fused.element(operand, ())
        )
        lowering = ExpressionLowering(self.frame.scope(IndexSpace(()), {}))
        return to_memory(self.b, lowering.lower(element), dtype)

    def _inside(self, indices: Sequence[SSAValue], rows: Sequence[Dim]) -> SSAValue:
        """Whether a row is one of x; a negative index is a large one."""
        b, inside = self.b, self.b.constant(1, i1)
        for index, size, padded in zip(indices, self.x.shape, rows, strict=False):
            if size != padded:
                test = b.compare("ult", index, self.frame.dim(size))
                inside = b.op(arith.AndIOp, [inside, test], i1)
        return inside

    def _row(self, indices: Sequence[SSAValue], place: SSAValue, value: SSAValue) -> None:
        frame, b = self.frame, self.b
        source = b.index(0)
        for k, index in enumerate(indices):
            source = b.add_index(b.mul_index(source, frame.dim(self.x.shape[k])), index)
        source = b.mul_index(source, frame.dim(self.length))
        self._fill(value, place, self.before)
        place = b.add_index(place, frame.dim(self.before))
        copy_run(frame, self.x, source, self.result, place, self.length)
        self._fill(value, b.add_index(place, frame.dim(self.length)), self.after)

    def _fill(self, value: SSAValue, place: SSAValue, count: Dim) -> None:
        if count != 0:
            fill_run(self.frame, value, self.result, place, count)
