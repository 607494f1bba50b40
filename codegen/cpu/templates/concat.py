"""Concatenation: for each index before the axis, every operand's block is copied to its place."""

from __future__ import annotations

from ....ir.dims import product
from ....ir.kernel import KernelOp
from ....ir.ops.shape import ConcatOp
from ..target import CpuTarget
from .frame import Code, Frame, grain_of, static
from .runs import copy_run


def concat_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a kernel of one ``mlc.concat``; a task is an index before the axis."""
    frame = Frame(kernel, name, target)
    (op,) = kernel.ops
    assert isinstance(op, ConcatOp)
    b, result = frame.b, frame.buffers[len(kernel.inputs)]
    inside = result.shape[op.axis :]
    operands = [frame.buffers[list(kernel.block.args).index(o)] for o in op.operands]
    with b.loop(frame.begin, frame.end) as row:
        place = b.mul_index(row, frame.dim(product(inside)))
        for source in operands:
            size = product(source.shape[op.axis :])
            copy_run(frame, source, b.mul_index(row, frame.dim(size)), result, place, size)
            place = b.add_index(place, frame.dim(size))
    tasks = product(result.shape[: op.axis])
    samples = result.shape[0] if op.axis else 1
    return frame.finish(tasks, grain_of(static(inside) // 8), samples=samples)
