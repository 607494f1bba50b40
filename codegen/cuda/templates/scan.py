"""Cumulative sums and products: a block of a line at once, with what came before carried along."""

from __future__ import annotations

from ....ir import scalar as s
from ....ir.kernel import KernelOp
from ....ir.ops.reduce import accumulator
from ....ir.ops.sort import CumulativeOp
from ....ir.structure import neutral
from ....ir.types import type_of
from ..arithmetic import combined, combiner
from ..elements import literal, register_type
from ..frame import Code, Frame, dim_text
from ..target import CudaTarget
from .flat import power_of_two
from .lines import Lines
from .pointwise import say

_BLOCK = 1024
_ELEMENTS = 2048


def scan_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code:
    """Code for a kernel of one cumulative op."""
    frame = Frame(kernel, name, target)
    (op,) = (op for op in kernel.ops if isinstance(op, CumulativeOp))
    x = type_of(op.x)
    wide = accumulator(x.dtype)
    size = x.shape[op.axis]
    block = min(_BLOCK, power_of_two(size)) if isinstance(size, int) else _BLOCK
    lines = Lines(frame, x.shape, op.axis, max(1, _ELEMENTS // block))
    place = s.size(size) - 1 - s.axis(op.axis) if op.reverse else s.axis(op.axis)
    start = neutral(op.COMBINE, wide)
    before = (s.size(size) - s.axis(op.axis)) if op.reverse else s.axis(op.axis) - 1
    element = s.cast(frame.fused.element(op.x, lines.at(before if op.exclusive else place)), wide)
    if op.exclusive:
        element = s.select(s.axis(op.axis) > 0, element, start)
    frame.constant("BLOCK", block)
    frame.bind(f"tl.full([LINES, 1], {literal(start, wide)}, {register_type(wide)})", "total")
    with frame.loop("start", size, block):
        frame.bind("(start + tl.arange(0, BLOCK))[None, :]", "j")
        frame.bind(f"tl.broadcast_to(j < {dim_text(size)}, [LINES, BLOCK])", "j_ok")
        printer = lines.printer("j", "j_ok")
        value = f"tl.where(j_ok, {printer.value(element)}, {literal(start, wide)})"
        function = combiner(op.COMBINE, wide)
        frame.bind(value, "block")
        frame.bind(f"tl.associative_scan(block, 1, {function})", "scanned")
        held = s.Scalar("load", (), wide, frame.new_number())
        frame.bind(combined(op.COMBINE, wide, "total", "scanned"), "scanned")
        printer = lines.printer("j", "j_ok", {held.attr: "scanned"})
        printer.store(held, "scanned", lines.at(place), frame.buffers[len(kernel.inputs)])
        step = f"tl.reduce(block, 1, {function})[:, None]"
        frame.bind(combined(op.COMBINE, wide, "total", step), "total")
    say(kernel, "scan", f"blocks of {block} along a line, what came before is carried")
    return frame.finish(lines.programs, 4)
