"""Regions of interest with as many samples a cell as it spans elements; a program is a cell."""

from __future__ import annotations

from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.dims import ceildiv, product
from ....ir.kernel import KernelOp
from ....ir.ops.roi import RoiAlignOp
from ....ir.scalar import Scalar
from ....ir.structure import neutral
from ....ir.types import type_of
from ..arithmetic import combined
from ..elements import literal, register_type
from ..frame import Code, Frame, dim_text
from ..printer import Printer, Scope
from ..target import CudaTarget
from .flat import power_of_two
from .pointwise import say

_BLOCK = 256
_MANY = 1 << 30  # samples: no bound is known
_AXES = ("region", "row", "column", "channel", "down", "right")


def roi_align_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code:
    """Code for an alignment of regions."""
    frame = Frame(kernel, name, target)
    (op,) = (op for op in kernel.ops if isinstance(op, RoiAlignOp))
    shape = type_of(op.result).shape
    block = min(_BLOCK, power_of_two(shape[3])) if isinstance(shape[3], int) else _BLOCK
    cells = [*shape[:3], ceildiv(shape[3], block)]
    frame.constant("BLOCK", block)
    frame.bind("tl.program_id(0)", "program")
    *places, part = frame.unflatten("program", cells)
    for axis, place in zip(_AXES, places, strict=False):
        frame.bind(place if place != "0" else "program * 0", axis)
    frame.bind(f"{part} * BLOCK + tl.arange(0, BLOCK)", "channel")
    frame.bind(f"channel < {dim_text(shape[3])}", "channel_ok")
    _Cell(frame, op).build()
    say(kernel, "roi_align", f"a cell a program, {block} channels at once")
    return frame.finish(product(cells), max(1, block // 64))


class _Cell:
    def __init__(self, frame: Frame, op: RoiAlignOp):
        self.frame, self.op, self.wide = frame, op, op.wide()
        self.shares = [Scalar("load", (), self.wide, frame.new_number()) for _ in range(2)]

    def build(self) -> None:
        """Combines the samples of a cell."""
        frame, op, wide = self.frame, self.op, self.wide
        kind, combine = register_type(wide), "max" if op.mode == "max" else "add"
        for k in range(2):
            count = frame.fused.inline(op.count(k, s.axis(0)), op)
            frame.bind(self._printer().value(count), f"count{k}")
            frame.bind(f"1.0 / tl.maximum(count{k}, 1).to({kind})", f"share{k}")
        frame.bind(f"tl.full([BLOCK], {literal(neutral(combine, wide), wide)}, {kind})", "total")
        at = tuple(s.axis(n) for n in range(6))
        sample = frame.fused.inline(op.sample(at[:4], at[4:], self.shares), op, self.shares)
        loops = [frame.block(f"for n{k} in range(0, count{k})") for k in range(2)]
        with loops[0], loops[1]:
            for k, axis in enumerate(_AXES[4:]):
                frame.bind(f"program * 0 + n{k}", axis)
            value = self._printer().value(sample)
            frame.bind(combined(combine, wide, "total", value), "total")
        frame.bind("(count0 * count1)", "number")
        if op.mode == "avg":
            frame.bind(f"total / tl.maximum(number, 1).to({kind})", "total")
        frame.bind("tl.where(number > 0, total, 0.0)", "total")
        held = Scalar("load", (), wide, frame.new_number())
        result = frame.buffers[len(frame.kernel.inputs)]
        self._printer({held.attr: "total"}).store(held, "total", at[:4], result)

    def _printer(self, registers: dict[int, str] | None = None) -> Printer:
        shape = type_of(self.op.result).shape
        # An axis of size 1 would not lead anywhere.
        extents = tuple(2 if size == 1 else size for size in (*shape, _MANY, _MANY))
        known = {share.attr: f"share{k}" for k, share in enumerate(self.shares)}
        space, axes = IndexSpace(extents), dict(enumerate(_AXES))
        return Printer(
            Scope(self.frame, space, axes, {3: "channel_ok"}, {**known, **(registers or {})})
        )
