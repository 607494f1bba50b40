"""Concatenation: for each index before the axis, every operand's block is copied to its place."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ....ir.dims import product
from ....ir.kernel import KernelOp
from ....ir.ops.shape import ConcatOp
from ..elements import storage_type
from ..target import CpuTarget
from .columns import for_columns
from .frame import Code, Frame, grain_of, static


def concat_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a kernel of one ``mlc.concat``; a task is an index before the axis."""
    frame = Frame(kernel, name, target)
    (op,) = kernel.ops
    assert isinstance(op, ConcatOp)
    b, result = frame.b, frame.buffers[len(kernel.inputs)]
    inside = result.shape[op.axis :]
    operands = [list(kernel.block.args).index(o) for o in op.operands]
    with b.loop(frame.begin, frame.end) as row:
        place = b.mul_index(row, frame.dim(product(inside)))
        for number in operands:
            size = product(frame.buffers[number].shape[op.axis :])
            _copy(frame, number, b.mul_index(row, frame.dim(size)), place, frame.dim(size))
            place = b.add_index(place, frame.dim(size))
    tasks = product(result.shape[: op.axis])
    return frame.finish(tasks, grain_of(static(inside) // 8))


def _copy(frame: Frame, number: int, source: SSAValue, target: SSAValue, size: SSAValue) -> None:
    b, type = frame.b, frame.kernel.block.args[number].type
    element = storage_type(type.dtype)  # pyright: ignore[reportAttributeAccessIssue]
    lanes = 4 * frame.target.lanes(max(8, 8 * type.dtype.itemsize))  # pyright: ignore[reportAttributeAccessIssue]
    memory, result = frame.buffers[number].memory, frame.buffers[len(frame.kernel.inputs)].memory

    def body(column: SSAValue, width: int) -> None:
        kind = b.tile_of(element, width)
        value = b.load(memory, b.add_index(source, column), kind, b.unit_strides(width))
        b.store(value, result, b.add_index(target, column), b.unit_strides(width))

    for_columns(b, b.index(0), size, lanes, body)
