"""Replaces composite ops by simpler ones, except those that the target has a kernel for.

%y = "mlc.softmax"(%x)   ->   max, sub, exp, sum, div
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.rewriter import Rewriter

from ..ir.op import GraphOp
from ..ir.structure import Composite
from .contract import Pass, Promise
from .rewrite import adder_before


@dataclass(frozen=True)
class Decompose(Pass):
    """Repeats until nothing composite is left.

    Attributes:
        keep: Says which ops stay because the target has a kernel for them.
    """

    name = "decompose"
    promise = Promise.ROUNDING
    keep: Callable[[GraphOp], bool] = lambda op: False

    def apply(self, module: ModuleOp) -> None:
        """Decomposes ops, those that come out of it included."""
        waiting = [op for op in module.walk() if self._concerns(op)]
        while waiting:
            op = waiting.pop()
            if isinstance(op, GraphOp):
                waiting += [new for new in _decompose(op) if self._concerns(new)]

    def _concerns(self, op: object) -> bool:
        if not isinstance(op, GraphOp) or not isinstance(op.structure(), Composite):
            return False
        return not self.keep(op)


def _decompose(op: GraphOp) -> list[GraphOp]:
    added: list[GraphOp] = []
    results = op.decompose(adder_before(op, added))
    Rewriter.replace_op(op, [], list(results))
    return added
