"""The reduction template: a block of results a program, with a loop over what is reduced.

Small windows, as in pooling and depthwise convolution, are combined element by element: one result
a lane. Longer reductions take a block of elements at once, and combine across it at the end; those
with few results are taken in parts.
"""

from __future__ import annotations

import numpy as np

from ....ir.dims import Dim, ceildiv, product
from ....ir.kernel import KernelOp
from ....ir.scalar import Scalar, const
from ....ir.structure import neutral
from ....ir.types import I64
from ..arithmetic import combined, combiner
from ..blocks import Blocks, Sums, count_parts, ranked_blocks, results_in_parts
from ..elements import literal, register_type
from ..frame import Buffer, Code, Frame, dim_text
from ..layout import Access, access_of, groups_of, total
from ..printer import Printer, Scope
from ..target import CudaTarget
from .cut import Cut
from .flat import Placement, divides, nothing_placed, place, power_of_two
from .parts import Parts
from .pointwise import say
from .rooted import Rooted

_WINDOW = 64
_UNROLLED = 9
_LANES = 256
_UNKNOWN = 1 << 31
_PROGRAM = "tl.program_id(0)"


def reduction_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code:
    """Code for a kernel with one reduction."""
    return _Reduction(Frame(kernel, name, target)).build()


class _Reduction(Rooted):
    def build(self) -> Code:
        """The whole function."""
        rank = len(self.indices)
        own = self.space.position(self.indices, self.type.shape)
        access = access_of([self.body, *self.results], self.space, self.frame.buffers)
        access = Access((*access.forms, own), access.values)
        self.groups = groups_of(range(rank), self.space.extents, access)
        inner = range(rank, len(self.space.extents))
        self.inner = groups_of(inner, self.space.extents, access)
        self.count = total(self.inner)
        self.along = self._runs_along(access)
        small = isinstance(self.count, int) and self.count <= _WINDOW
        return self._windows() if small else self._blocks()

    def _runs_along(self, access: Access) -> bool:
        """Whether neighbours in memory are combined, not results of their own.

        What most is read of decides: an operand that differs from result to result.
        """
        depth = [g.inner for g in self.inner[-1:]]
        lane = [g.inner for g in self.groups[-1:]]
        across = any(
            f.coefficient(n) == 1 and f.coefficient(k) not in (0, 1)
            for f in access.forms
            for n in lane
            for k in depth
        )
        return not across and any(f.coefficient(k) == 1 for f in access.forms for k in depth)

    def _windows(self) -> Code:
        """One result a lane; the window's elements one after the other."""
        frame, count = self.frame, self.count
        assert isinstance(count, int)
        placement = self._place_results(_LANES, "")
        start = literal(neutral(self.structure.combine, self.body.dtype), self.body.dtype)
        sort = register_type(self.body.dtype)
        steps = self._window_steps()
        if len(steps) > _UNROLLED:
            say(frame.kernel, "reduction", f"a loop over {count} elements, one result a lane")
            frame.bind(f"tl.full({self._shape(1)}, {start}, {sort})", "total")
            with frame.loop("r", count):
                here = nothing_placed(0)
                place(frame, here, self.inner, "r", True)
                self._step(Placement({**placement.axes, **here.axes}, placement.masks))
        else:
            say(frame.kernel, "reduction", f"{count} elements unrolled, one result a lane")
            frame.bind(f"tl.full({self._shape(1)}, {start}, {sort})", "total")
            for step in steps:
                body = self.frame.fused.inline(self.structure.body(self.indices, step), self.root)
                self._step(placement, body=body)
        self.write(Printer(self._scope(placement)))
        return frame.finish(self._grid(_LANES), max(1, self._lanes(_LANES) // 128))

    def _window_steps(self) -> list[tuple[Scalar, ...]]:
        """The reduced indices at each element of the window."""
        sizes = [e for e in self.structure.extents if isinstance(e, int)]
        return [tuple(const(k, I64) for k in place) for place in np.ndindex(*sizes)]

    def _blocks(self) -> Code:
        """A block of results by a block of elements."""
        frame, count = self.frame, self.count
        sums = self._sums()
        options = [b.option for b in ranked_blocks(sums, frame.target)]
        blocks = Blocks(*frame.pick("blocks", options, sums.subject))
        lanes, depth = blocks.lanes, blocks.depth
        cut = Cut(frame, count, count_parts(blocks, sums, frame.target), depth)
        why = "along memory" if self.along else "across memory"
        why = f"{lanes} results by {depth} elements at once, {why}{cut.why(blocks.parts)}"
        say(frame.kernel, "reduction", why)
        room = results_in_parts(blocks, frame.target)
        parts = Parts(self, cut, blocks.parts, room) if blocks.parts > 1 else None
        first, last, program = self._placed_part(parts, lanes)
        placement = self._place_results(lanes, "[:, None]", program)
        dtype, combine = self.body.dtype, self.structure.combine
        start = literal(neutral(combine, dtype), dtype)
        frame.constant("DEPTH", depth)
        frame.bind(f"tl.full({self._shape('DEPTH')}, {start}, {register_type(dtype)})", "total")
        with frame.loop("step", last, depth, first):
            frame.bind("(step + tl.arange(0, DEPTH))[None, :]", "r")
            here = nothing_placed(0)
            place(frame, here, self.inner, "r", divides(depth, count))
            axes = {**placement.axes, **here.axes}
            self._step(Placement(axes, {**placement.masks, **here.masks}), here.masks, start)
        frame.bind(f"tl.reduce(total, 1, {combiner(combine, dtype)})[:, None]", "total")
        grid, warps = self._grid(lanes), max(1, min(8, lanes * depth // 512))
        if parts:
            parts.leave(self._scope(placement))
            return parts.finish(grid * cut.count, warps)
        self.write(Printer(self._scope(placement)))
        return frame.finish(grid, warps)

    def _sums(self) -> Sums:
        operands = list(self.frame.buffers.values())[: len(self.frame.kernel.inputs)]
        read = max(operands, key=_elements).dtype if operands else self.body.dtype
        return Sums(total(self.groups), self.count, read.itemsize, self.along)

    def _placed_part(self, parts: Parts | None, lanes: int) -> tuple[str, str, str]:
        """Where a program's loop begins and ends, and which block of results is its own."""
        if parts is None:
            return "0", dim_text(self.count), _PROGRAM
        self.frame.bind(_PROGRAM, "program")
        part, block = self.frame.unflatten("program", [parts.cut.count, self._grid(lanes)])
        return *parts.cut.bounds(part), block

    def _lanes(self, most: int) -> int:
        results = total(self.groups)
        return min(most, power_of_two(results)) if isinstance(results, int) else most

    def _shape(self, depth: int | str) -> str:
        return "[LANES]" if depth == 1 else f"[LANES, {depth}]"

    def _grid(self, lanes: int) -> Dim:
        return ceildiv(total(self.groups), self._lanes(lanes))

    def _place_results(self, most: int, spread: str, program: str = _PROGRAM) -> Placement:
        frame, lanes = self.frame, self._lanes(most)
        placement = nothing_placed(len(self.indices))
        frame.constant("LANES", lanes)
        frame.bind(f"({program} * LANES + tl.arange(0, LANES)){spread}", "i")
        place(frame, placement, self.groups, "i", divides(lanes, total(self.groups)))
        return placement

    def _step(
        self,
        placement: Placement,
        masks: dict[int, str] | None = None,
        start: str = "",
        body: Scalar | None = None,
    ) -> None:
        axes = {**dict.fromkeys(range(len(self.space.extents)), "0"), **placement.axes}
        printer = Printer(Scope(self.frame, self.space, axes, placement.masks))
        value = printer.value(self.body if body is None else body)
        if masks:
            value = f"tl.where({' & '.join(masks.values())}, {value}, {start})"
        step = combined(self.structure.combine, self.body.dtype, "total", value)
        self.frame.bind(step, "total")

    def _scope(self, placement: Placement) -> Scope:
        """Where the combined value is at hand."""
        axes = {**dict.fromkeys(range(len(self.space.extents)), "0"), **placement.axes}
        registers = {self.result.attr: "total"}
        return Scope(self.frame, self.space, axes, placement.masks, registers, lanes="i")


def _elements(buffer: Buffer) -> int:
    """How many there are, for comparing: unknown sizes are large."""
    size = product(buffer.shape)
    return size if isinstance(size, int) else _UNKNOWN
