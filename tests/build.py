"""Builds the op of a case."""

from __future__ import annotations

from cases import Case
from mlc.ir.op import GraphOp
from xdsl.ir import Block


def build(case: Case) -> GraphOp:
    """The op of ``case`` on the arguments of a block of its own."""
    block = Block(arg_types=case.types())
    op = case.op(*block.args, **case.params)
    block.add_op(op)
    return op
