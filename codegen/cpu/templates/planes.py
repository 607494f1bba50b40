"""Elementwise kernels whose columns are few, and read from a plane each: as pictures are turned.

    y[h, w, c] = x[c, h, w]

Rows lie side by side in lanes, a register tile for each column; what is stored has the columns of
a row side by side.
"""

from __future__ import annotations

from xdsl.ir import SSAValue

from ....ir import loop
from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.dims import product
from ....ir.kernel import KernelOp
from ....ir.scalar import Scalar
from ....ir.structure import Reduce
from ....ir.types import type_of
from ..elements import to_memory
from ..expression import ExpressionLowering
from ..target import CpuTarget
from .access import contiguous, effort, load_forms, unrounded
from .columns import for_columns
from .frame import Code, Frame, grain_of, static

_FEW = 4


def planes_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code | None:
    """Code for a row kernel that reads planes; None where it reduces, or does not."""
    if len(kernel.yielded) != 1 or any(isinstance(o.structure(), Reduce) for o in kernel.ops):
        return None
    planes = _Planes(Frame(kernel, name, target))
    return planes.build() if planes.fits() else None


class _Planes:
    def __init__(self, frame: Frame):
        self.frame = frame
        (value,) = frame.kernel.yielded
        self.type = type_of(value)
        self.shape = self.type.shape
        self.space = IndexSpace(self.shape)
        self.indices = tuple(s.axis(n) for n in range(len(self.shape)))
        self.element: Scalar = frame.fused.element(value, self.indices)

    def fits(self) -> bool:
        """Whether columns are few and planes apart, in which rows are neighbours."""
        few, last = self.shape[-1:], len(self.shape) - 1
        if last < 1 or not all(isinstance(n, int) and 1 < n <= _FEW for n in few):
            return False
        forms = load_forms(self.element, self.space, self.frame.buffers)
        if forms is None or any(f.rest for f in forms) or not isinstance(self.shape[-2], int):
            return False
        return contiguous(forms, last - 1) and any(f.coefficient(last) not in (0, 1) for f in forms)

    def build(self) -> Code:
        """A task is a line of rows."""
        b, frame, lines = self.frame.b, self.frame, self.shape[:-2]
        rows, width = frame.dim(self.shape[-2]), 4 * frame.target.lanes(32)
        with b.loop(frame.begin, frame.end) as line:
            self.axes = dict(enumerate(frame.unflatten(line, lines)))
            for_columns(b, b.index(0), rows, width, self._rows)
        grain = grain_of(effort(self.element) * static(self.shape[-2:]) // 8)
        return frame.finish(product(lines), grain, samples=lines[0] if lines else 1)

    def _rows(self, first: SSAValue, lanes: int) -> None:
        b, last = self.frame.b, len(self.shape) - 1
        axes, tile = {**self.axes, last - 1: first}, ((last - 1, lanes),)
        columns: list[SSAValue] = []
        for column in range(static(self.shape[-1:])):
            scope = self.frame.scope(self.space, {**axes, last: b.index(column)}, tile)
            element = ExpressionLowering(scope).tile(unrounded(self.element))
            columns.append(to_memory(b, element, self.type.dtype))
        rows = b.add(loop.AlternateOp(columns)).results[0]
        buffer = self.frame.buffers[len(self.frame.kernel.inputs)]
        place = ExpressionLowering(self.frame.scope(self.space, {**axes, last: b.index(0)}))
        start = place.position(self.indices, buffer)
        b.store(rows, buffer.memory, start, [b.index(1)])
