"""What is the same for all elements: it is computed once, where the kernel's function begins.

Such values wait in memory, from where an instruction repeats them for its lanes at no cost.
"""

from __future__ import annotations

from collections.abc import Container

from xdsl.ir import Block, SSAValue

from ...ir import loop
from ...ir.scalar import Scalar, nodes_of
from ...ir.types import F32, I32
from .builder import LoopBuilder
from .elements import compute_type


class Uniform:
    """The beginning of a function while the rest is written."""

    def __init__(self) -> None:
        self.b = LoopBuilder(Block())
        self._places: dict[int, tuple[Scalar, SSAValue]] = {}

    def place(self, node: Scalar) -> SSAValue | None:
        """The memory that holds ``node``, or None where it has not been kept."""
        known = self._places.get(id(node))
        return known[1] if known else None

    def keep(self, node: Scalar, value: SSAValue) -> SSAValue:
        """Writes the value of ``node``, which ``b`` has computed, to memory of its own."""
        memory = self.b.add(loop.AllocaOp(1, compute_type(node.dtype))).results[0]
        self.b.store(value, memory, self.b.index(0))
        self._places[id(node)] = node, memory
        return memory

    def move_to(self, block: Block) -> None:
        """Puts what has been written before everything in ``block``."""
        first = block.first_op
        for op in list(self.b.block.ops):
            op.detach()
            if first is None:
                block.add_op(op)
            else:
                block.insert_op_before(op, first)


def is_uniform(node: Scalar, buffers: Container[int]) -> bool:
    """Whether ``node`` is computed from constants and ``buffers`` of one number."""
    if not node.args or node.op == "load" or node.dtype not in (F32, I32):
        return False
    return not any(_moves(n, buffers) for n in nodes_of(node))


def _moves(node: Scalar, buffers: Container[int]) -> bool:
    if node.op == "load":
        return bool(node.args) or node.attr not in buffers
    return node.op in ("axis", "size")
