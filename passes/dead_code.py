"""Removes ops whose results nobody uses; graph ops are pure.

%0 = "mlc.exp"(%x)        ->   (nothing)
"mlc.return"(%x)               "mlc.return"(%x)
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp

from ..ir.op import GraphOp
from .contract import Pass, Promise


@dataclass(frozen=True)
class EliminateDeadCode(Pass):
    """Walks backwards once, so that whole unused chains go."""

    name = "eliminate-dead-code"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Erases unused graph ops."""
        for op in reversed(list(module.walk())):
            if isinstance(op, GraphOp) and not any(r.uses for r in op.results):
                op.detach()
                op.erase()
