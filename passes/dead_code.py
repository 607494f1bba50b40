"""Removes ops whose results nobody uses, nor a symbol that they find out; graph ops are pure.

%0 = "mlc.exp"(%x)        ->   (nothing)
"mlc.return"(%x)               "mlc.return"(%x)
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp

from ..ir.late import mentioned
from ..ir.op import GraphOp
from ..ir.ops.select import LateOp, late_symbols
from .contract import Pass, Promise


@dataclass(frozen=True)
class EliminateDeadCode(Pass):
    """Walks backwards once, so that whole unused chains go."""

    name = "eliminate-dead-code"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Erases unused graph ops."""
        late, needed = late_symbols(module.walk()), set[str]()
        for op in reversed(list(module.walk())):
            if not isinstance(op, GraphOp):
                continue
            if any(r.uses for r in op.results) or _tells(op, needed):
                needed |= mentioned(op, late)
            else:
                op.detach()
                op.erase()


def _tells(op: GraphOp, needed: set[str]) -> bool:
    """Whether an op finds out a size that is needed."""
    return isinstance(op, LateOp) and not needed.isdisjoint(op.found())
