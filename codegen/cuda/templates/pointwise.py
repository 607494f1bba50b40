"""The pointwise template: every element on its own, a block of neighbours a program.

What is read across the grain, as in a transpose, is computed in square tiles, so that reads and
writes both go along memory.
"""

from __future__ import annotations

from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.dims import Dim, ceildiv, product
from ....ir.kernel import KernelOp
from ....ir.op import Param
from ....ir.types import type_of
from ..frame import Code, Frame
from ..layout import Access, Group, access_of, groups_of, total
from ..printer import Printer, Scope
from ..target import CudaTarget
from .flat import Placement, divides, nothing_placed, place, power_of_two

_BLOCK = 1024
_TILE = 32
_PER_WARP = 256


def pointwise_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code:
    """Code for a kernel of Maps of one shape."""
    return _Pointwise(Frame(kernel, name, target)).build()


class _Pointwise:
    def __init__(self, frame: Frame):
        self.frame = frame
        self.kernel = frame.kernel
        self.shape = type_of(self.kernel.yielded[0]).shape
        self.space = IndexSpace(self.shape)
        self.indices = tuple(s.axis(n) for n in range(len(self.shape)))
        self.results = [frame.fused.element(v, self.indices) for v in self.kernel.yielded]
        access = access_of(self.results, self.space, frame.buffers)
        own = self.space.position(self.indices, self.shape)
        access = Access((*access.forms, own), access.values)
        self.access = access
        self.groups = groups_of(range(len(self.shape)), self.shape, access)

    def build(self) -> Code:
        """The whole function."""
        across = self._across()
        return self._flat() if across is None else self._tiles(across)

    def _across(self) -> Group | None:
        """The group along which a load has neighbours, where it has none along the last."""
        if len(self.groups) < 2:
            return None
        last = self.groups[-1]
        for form in self.access.forms:
            if form.coefficient(last.inner) not in (0, 1):
                return next((g for g in self.groups if form.coefficient(g.inner) == 1), None)
        return None

    def _flat(self) -> Code:
        frame, size = self.frame, total(self.groups)
        block = min(_BLOCK, power_of_two(size)) if isinstance(size, int) else _BLOCK
        placement = nothing_placed(len(self.shape))
        frame.constant("BLOCK", block)
        if size != 1:
            frame.bind("tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)", "i")
        place(frame, placement, self.groups, "i", divides(block, size))
        say(self.kernel, "elementwise", f"{block} neighbours a program")
        self._write(placement, "i" if len(self.groups) > 1 else "")
        return frame.finish(ceildiv(size, block), max(1, block // _PER_WARP))

    def _tiles(self, across: Group) -> Code:
        """Programs are tiles of ``across`` and the last group, for each index of the others."""
        frame, last = self.frame, self.groups[-1]
        others = [g for g in self.groups if g is not across and g is not last]
        counts: list[Dim] = [ceildiv(g.size, _TILE) for g in (across, last)]
        frame.constant("TILE", _TILE)
        frame.bind("tl.program_id(0)", "program")
        parts = frame.unflatten("program", [*(g.size for g in others), *counts])
        placement = nothing_placed(len(self.shape))
        placement.axes.update({g.inner: p for g, p in zip(others, parts, strict=False)})
        rows = (("r", "[:, None]", across, parts[-2]), ("c", "[None, :]", last, parts[-1]))
        for name, spread, group, part in rows:
            frame.bind(f"({part} * TILE + tl.arange(0, TILE)){spread}", name)
            place(frame, placement, [group], name, divides(_TILE, group.size))
        say(self.kernel, "tiles", f"it reads across the grain: tiles of {_TILE} x {_TILE}")
        self._write(placement, "")
        return frame.finish(product([*(g.size for g in others), *counts]), 4)

    def _write(self, placement: Placement, flat: str) -> None:
        scope = Scope(self.frame, self.space, placement.axes, placement.masks, flat=flat)
        printer = Printer(scope)
        first = len(self.kernel.inputs)
        values = [printer.value(e) for e in self.results]
        for n, (node, value) in enumerate(zip(self.results, values, strict=True)):
            printer.store(node, value, self.indices, self.frame.buffers[first + n])


def say(kernel: KernelOp, algorithm: str, why: str) -> None:
    """Keeps what was chosen, and why."""
    kernel.properties["algorithm"] = Param(algorithm)
    kernel.properties["why"] = Param(why)
