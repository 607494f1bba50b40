"""A plain copy: for results that lie elsewhere than where they are wanted."""

from __future__ import annotations

from xdsl.ir import Block, Region

from ....ir.kernel import KernelOp, YieldOp
from ....ir.ops.shape import ReshapeOp
from ....ir.types import TensorType
from ..target import CpuTarget
from .frame import Code
from .row import row_kernel


def copy_kernel(type: TensorType, name: str, target: CpuTarget) -> Code:
    """Code that copies a tensor of ``type``."""
    outer, body = Block(arg_types=[type]), Block(arg_types=[type])
    same = ReshapeOp.to(body.args[0], type.shape)
    body.add_ops([same, YieldOp(operands=[same.results])])
    kernel = KernelOp([outer.args[0]], [type], Region(body), "row")

    return row_kernel(kernel, name, target)
