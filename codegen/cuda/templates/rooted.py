"""What templates around one reduction share: what is combined, and the epilogue."""

from __future__ import annotations

from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.op import GraphOp
from ....ir.scalar import Scalar, replaced
from ....ir.structure import Reduce
from ....ir.types import TensorType, type_of
from ..frame import Frame
from ..printer import Printer


class Rooted:
    """A kernel with one reduction, Maps before it, and elementwise Maps of its shape after it.

    Attributes:
        root: The reduction.
        structure: What it computes.
        type: The type of its result.
        indices: The axes of its result.
        reduced: The axes that are combined.
        space: All axes.
        body: What is combined, over the kernel's buffers.
        result: The load that stands for the combined value.
        results: The elements of the kernel's results, over the buffers and ``result``.
    """

    def __init__(self, frame: Frame):
        self.frame = frame
        (self.root,) = (op for op in frame.kernel.ops if _reduces(op))
        structure = self.root.structure()
        assert isinstance(structure, Reduce)
        self.structure = structure
        self.type: TensorType = type_of(self.root.results[0])
        rank = self.type.rank
        self.indices = tuple(s.axis(n) for n in range(rank))
        self.reduced = tuple(s.axis(rank + n) for n in range(len(structure.extents)))
        self.space = IndexSpace((*self.type.shape, *structure.extents))
        self.body = frame.fused.inline(structure.body(self.indices, self.reduced), self.root)
        self.result = Scalar("load", (), self.body.dtype, frame.new_number())
        self.results = self._results()

    def _results(self) -> list[Scalar]:
        held = self.frame.new_number()
        self.frame.fused.stored[self.root.results[0]] = held
        finished = self.structure.finish(self.result)
        return [
            replaced(self.frame.fused.element(v, self.indices), held, finished)
            for v in self.frame.kernel.yielded
        ]

    def write(self, printer: Printer) -> None:
        """Computes and stores all results."""
        first = len(self.frame.kernel.inputs)
        values = [printer.value(node) for node in self.results]
        for n, (node, value) in enumerate(zip(self.results, values, strict=True)):
            printer.store(node, value, self.indices, self.frame.buffers[first + n])


def _reduces(op: GraphOp) -> bool:
    return isinstance(op.structure(), Reduce)
