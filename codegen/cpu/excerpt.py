"""One op or kernel of a model as a model of its own, so that it can be measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, BlockArgument, SSAValue

from ...ir.kernel import KernelOp
from ...ir.module import model_module
from ...ir.op import GraphOp
from ...ir.ops.constant import ConstantOp
from ...ir.ops.control import ReturnOp


def excerpt(subject: GraphOp | KernelOp) -> ModuleOp:
    """A module that computes ``subject`` alone: constants stay, other operands are inputs.

    Results of a kernel are left in scratch memory, where a model would have them; what is returned
    instead is a number.
    """
    values = dict.fromkeys(subject.operands)
    sources = {value: _source(value) for value in values}
    inputs = [v for v in values if not isinstance(sources[v].owner, ConstantOp)]
    block = Block(arg_types=[v.type for v in inputs])
    mapped: dict[SSAValue, SSAValue] = dict(zip(inputs, block.args, strict=True))
    for value, source in sources.items():
        if isinstance(source.owner, ConstantOp):
            constant = source.owner.clone()
            block.add_op(constant)
            mapped[value] = constant.results[0]
    copy = subject.clone(value_mapper=mapped)
    block.add_op(copy)
    results = list(copy.results)
    if isinstance(subject, KernelOp):
        zero = ConstantOp.of(np.zeros((), np.float32))
        block.add_op(zero)
        results = [zero.results[0]]
    block.add_op(ReturnOp(operands=[results]))
    return model_module(block, _numbered("x", inputs), _numbered("y", results))


def _numbered(letter: str, values: Sequence[SSAValue]) -> list[str]:
    return [f"{letter}{n}" for n in range(len(values))]


def _source(value: SSAValue) -> SSAValue:
    """Where a kernel's argument comes from; other values come from themselves."""
    if isinstance(value, BlockArgument) and isinstance(kernel := value.block.parent_op(), KernelOp):
        return kernel.inputs[value.index]
    return value
