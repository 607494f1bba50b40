"""Computes once what is written twice.

%a = "mlc.exp"(%x)        ->   %a = "mlc.exp"(%x)
%b = "mlc.exp"(%x)             (uses of %b read %a)
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block
from xdsl.rewriter import Rewriter

from ..ir.module import main_function
from ..ir.op import GraphOp
from ..ir.ops.control import blocks_of
from .contract import Pass, Promise


@dataclass(frozen=True)
class EliminateCommonSubexpressions(Pass):
    """Two ops of one kind with the same operands and parameters become one."""

    name = "eliminate-common-subexpressions"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Merges equal ops of each block."""
        for block in blocks_of(main_function(module)):
            _merge(block)


def _merge(block: Block) -> None:
    known: dict[Hashable, GraphOp] = {}
    for op in list(block.ops):
        if not isinstance(op, GraphOp) or op.regions:
            continue
        first = known.setdefault(_key(op), op)
        if first is not op:
            Rewriter.replace_op(op, [], first.results)


def _key(op: GraphOp) -> Hashable:
    return type(op), tuple(op.operands), tuple(sorted(op.properties.items(), key=lambda p: p[0]))
