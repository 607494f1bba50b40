"""Replaces composite ops by simpler ones, except those that the target has a kernel for.

%y = "mlc.softmax"(%x)   ->   max, sub, exp, sum, div
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.rewriter import Rewriter

from ..ir.op import GraphOp, copy_source
from ..ir.structure import Composite
from .contract import Pass, Promise


@dataclass(frozen=True)
class Decompose(Pass):
    """Repeats until nothing composite is left.

    Attributes:
        keep: The names of ops that stay.
    """

    name = "decompose"
    promise = Promise.ROUNDING
    keep: frozenset[str] = frozenset()

    def apply(self, module: ModuleOp) -> None:
        """Decomposes ops, those that come out of it included."""
        waiting = [op for op in module.walk() if self._concerns(op)]
        while waiting:
            op = waiting.pop()
            if isinstance(op, GraphOp):
                waiting += [new for new in _decompose(op) if self._concerns(new)]

    def _concerns(self, op: object) -> bool:
        if not isinstance(op, GraphOp) or op.name in self.keep:
            return False
        return isinstance(op.structure(), Composite)


def _decompose(op: GraphOp) -> list[GraphOp]:
    added: list[GraphOp] = []
    block = op.parent
    assert block is not None

    def add(new: GraphOp) -> SSAValue:
        copy_source(op, new)
        block.insert_op_before(new, op)
        added.append(new)
        return new.results[0]

    results = op.decompose(add)
    Rewriter.replace_op(op, [], list(results))
    return added
