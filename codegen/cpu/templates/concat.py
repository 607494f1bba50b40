"""Concatenation: for each index before the axis, every operand's run is copied to its place.

A slice along that axis is a run of what it is cut from: it is copied from there. Where there are
few indices before the axis, a task is a part of what one has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType
from xdsl.ir import SSAValue

from ....ir.dims import Dim, product
from ....ir.kernel import KernelOp
from ....ir.ops.shape import ConcatOp, SliceOp, param_dims
from ....ir.types import type_of
from ..expression import Buffer
from ..target import CpuTarget
from .frame import Code, Frame, grain_of, static
from .runs import copy_run

# Elements of a part, and of how many rows each is a task of its own.
_PART = 4096
_ROWS = 16


@dataclass(frozen=True)
class _Run:
    """Neighbouring elements for each row, in a buffer whose rows are ``pitch`` apart."""

    source: Buffer
    pitch: Dim
    start: Dim
    size: Dim


def concat_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a kernel of one ``mlc.concat``, with slices of operands along its axis."""
    frame, op = Frame(kernel, name, target), kernel.ops[-1]
    assert isinstance(op, ConcatOp)
    b, result = frame.b, frame.buffers[len(kernel.inputs)]
    before, inside = result.shape[: op.axis], product(result.shape[op.axis :])
    runs = [_run_of(frame, operand, op.axis) for operand in op.operands]
    parts = _parts(product(before), inside)
    with b.loop(frame.begin, frame.end) as task:
        row, part = frame.unflatten(task, [product(before), parts])
        place = b.mul_index(row, frame.dim(inside))
        if parts == 1:
            _copy(frame, runs, row, result, place)
        else:
            _copy_part(frame, runs, row, result, place, b.mul_index(part, b.index(_PART)))
    cost = static((inside,)) // parts // 8
    samples = result.shape[0] if op.axis else 1
    return frame.finish(product(before) * parts, grain_of(cost), samples=samples)


def _run_of(frame: Frame, operand: SSAValue, axis: int) -> _Run:
    cut = operand.owner if isinstance(operand.owner, SliceOp) else None
    whole = cut.x if cut else operand
    buffer = frame.buffers[list(frame.kernel.block.args).index(whole)]
    start = param_dims(cut.starts)[axis] if cut else 0
    sizes = type_of(operand).shape[axis:]
    return _Run(buffer, product(buffer.shape[axis:]), product((start, *sizes[1:])), product(sizes))


def _parts(rows: Dim, inside: Dim) -> int:
    few = isinstance(rows, int) and rows < _ROWS
    return max(1, -(-inside // _PART)) if few and isinstance(inside, int) else 1


def _copy(
    frame: Frame, runs: Sequence[_Run], row: SSAValue, result: Buffer, place: SSAValue
) -> None:
    """A whole row."""
    b = frame.b
    for run in runs:
        copy_run(frame, run.source, _start(frame, run, row), result, place, run.size)
        place = b.add_index(place, frame.dim(run.size))


def _copy_part(
    frame: Frame,
    runs: Sequence[_Run],
    row: SSAValue,
    result: Buffer,
    place: SSAValue,
    begin: SSAValue,
) -> None:
    """A part of a row, from ``begin`` on: of each run what lies in it."""
    b, type = frame.b, IndexType()
    end, offset = b.add_index(begin, b.index(_PART)), b.index(0)
    for run in runs:
        stop = b.add_index(offset, frame.dim(run.size))
        low = b.op(arith.MaxSIOp, [begin, offset], type)
        high = b.op(arith.MaxSIOp, [b.op(arith.MinSIOp, [end, stop], type), low], type)
        passed, count = (b.op(arith.SubiOp, pair, type) for pair in ([low, offset], [high, low]))
        start = b.add_index(_start(frame, run, row), passed)
        copy_run(frame, run.source, start, result, b.add_index(place, low), count)
        offset = stop


def _start(frame: Frame, run: _Run, row: SSAValue) -> SSAValue:
    b = frame.b
    return b.add_index(b.mul_index(row, frame.dim(run.pitch)), frame.dim(run.start))
