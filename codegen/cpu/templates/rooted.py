"""What templates around one root share: its epilogue, the elementwise ops that follow it."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.op import GraphOp
from ....ir.scalar import Scalar, replaced
from ....ir.structure import Reduce
from ....ir.types import TensorType, type_of
from ..elements import to_memory
from ..expression import ExpressionLowering
from .access import effort, unrounded
from .frame import Frame


class Rooted:
    """A kernel with one reduction, Maps before it, and elementwise Maps of its shape after it.

    Attributes:
        root: The reduction.
        structure: What it computes.
        type: The type of its result.
        indices: The axes of its result.
        reduced: The axes that are summed over.
        body: What is combined, over the kernel's buffers.
        result: The load that stands for the root's value in ``epilogue``.
    """

    def __init__(self, frame: Frame):
        self.frame = frame
        self.root = root_of(frame.kernel.ops)
        structure = self.root.structure()
        assert isinstance(structure, Reduce)
        self.structure = structure
        self.type: TensorType = type_of(self.root.results[0])
        rank = self.type.rank
        self.indices = tuple(s.axis(n) for n in range(rank))
        self.reduced = tuple(s.axis(rank + n) for n in range(len(structure.extents)))
        self.space = IndexSpace((*self.type.shape, *structure.extents))
        body = structure.body(self.indices, self.reduced)
        self.body = frame.fused.inline(body, self.root)
        self.result = Scalar("load", (), self.body.dtype, frame.new_number())
        self.epilogue = self._epilogue()
        self.effort = sum(effort(e) for _, e in self.epilogue)

    def _epilogue(self) -> list[tuple[int, Scalar]]:
        """For each result of the kernel: its buffer and its element."""
        value = self.root.results[0]
        held = self.frame.new_number()
        self.frame.fused.stored[value] = held
        finished = self.structure.finish(self.result)
        first = len(self.frame.kernel.inputs)
        return [
            (first + n, replaced(self.frame.fused.element(v, self.indices), held, finished))
            for n, v in enumerate(self.frame.kernel.yielded)
        ]

    def write(self, lowering: ExpressionLowering) -> None:
        """Computes and stores all results at the lowering's tile."""
        for number, expression in self.epilogue:
            value: SSAValue = lowering.tile(unrounded(expression))
            narrow = to_memory(self.frame.b, value, expression.dtype)
            lowering.store(narrow, self.indices, self.frame.buffers[number])


def root_of(ops: list[GraphOp]) -> GraphOp:
    """The one reduction of a kernel."""
    (root,) = (op for op in ops if isinstance(op.structure(), Reduce))
    return root
