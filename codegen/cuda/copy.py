"""A plain copy as a kernel: for results that lie elsewhere than where they are wanted."""

from __future__ import annotations

from xdsl.ir import Block, Region, SSAValue

from ...ir.kernel import KernelOp, YieldOp
from ...ir.ops.shape import ReshapeOp
from ...ir.types import type_of


def copy_of(value: SSAValue) -> KernelOp:
    """A kernel, in no block, that copies ``value``."""
    type = type_of(value)
    body = Block(arg_types=[type])
    same = ReshapeOp.to(body.args[0], type.shape)
    body.add_ops([same, YieldOp(operands=[same.results])])
    return KernelOp([value], [type], Region(body), "row")
