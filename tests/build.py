"""Builds the op of a case."""

from __future__ import annotations

from cases import Case
from mlc.ir.op import GraphOp
from mlc.ir.types import tensor
from xdsl.ir import Block


def build(case: Case) -> GraphOp:
    """The op of ``case`` on the arguments of a block of its own."""
    block = Block(arg_types=[tensor(shape, dtype) for shape, dtype in case.operands])
    args = [list(block.args)] if case.op.name == "mlc.concat" else list(block.args)
    op = case.op(*args, **case.params)
    block.add_op(op)
    return op
