"""The row template: reductions along the innermost dim, and elementwise chains around them.

A program holds whole rows in registers, so that what is read once is loaded once: softmax and norms
in one pass. Rows too long for that, or of unknown length, are walked through in blocks, once for
each reduction and once for the results::

    softmax:  m = max(x)   |   s = sum(exp(x - m))   |   y = exp(x - m) / s
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TypeGuard

from xdsl.ir import SSAValue

from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.dims import Dim, Shape, ceildiv
from ....ir.kernel import Fused, KernelOp
from ....ir.op import GraphOp
from ....ir.scalar import Scalar, nodes_of
from ....ir.structure import Reduce, neutral
from ....ir.types import type_of
from ..arithmetic import combined, combiner
from ..elements import literal, register_type
from ..frame import Code, Frame, plain
from ..layout import Access, Group, access_of, groups_of, total
from ..printer import Printer, Scope
from ..target import CudaTarget
from .flat import Placement, divides, nothing_placed, place, power_of_two
from .pointwise import say
from .reduction import reduction_kernel

_LONGEST = 16_384
_BLOCK = 4096
_ELEMENTS = 2048
_PER_WARP = 512


def row_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code | None:
    """Code for a kernel with reductions along the last dim of its widest shape; else None.

    Rows that do not fit registers, of which just a sum or the like is wanted, need not be walked
    through by one program.
    """
    reductions = [op for op in kernel.ops if isinstance(op.structure(), Reduce)]
    if not reductions:
        return None
    shapes = {type_of(v).shape for v in (*kernel.yielded, *(op.results[0] for op in reductions))}
    if len(reductions) == len(shapes) == 1 and not _fits(row_shape(kernel.ops)[-1]):
        return reduction_kernel(kernel, name, target)
    return _Rows(Frame(kernel, name, target)).build()


def row_shape(ops: list[GraphOp]) -> Shape:
    """The shape of what the reductions of a kernel read."""
    return next(type_of(op.operands[0]).shape for op in ops if isinstance(op.structure(), Reduce))


def _fits(columns: Dim) -> TypeGuard[int]:
    """Whether a row fits registers."""
    return isinstance(columns, int) and columns <= _LONGEST


class _Rows:
    def __init__(self, frame: Frame):
        self.frame = frame
        self.ops = frame.kernel.ops
        self.shape = row_shape(self.ops)
        self.space = IndexSpace(self.shape)
        self.indices = tuple(s.axis(n) for n in range(len(self.shape)))
        self.column = len(self.shape) - 1
        self.columns = self.shape[-1]
        self.registers: dict[int, str] = {}
        self.pending = list(dict.fromkeys(frame.kernel.yielded))
        self.rows = Placement({}, {})
        self.height, self.block, self.held = 1, _BLOCK, False
        if _fits(self.columns):
            self.block, self.held = power_of_two(self.columns), True

    def build(self) -> Code:
        """The whole function."""
        frame = self.frame
        height = max(1, _ELEMENTS // self.block) if self.held else 1
        groups = self._row_groups()
        count = total(groups)
        height = min(height, power_of_two(count)) if isinstance(count, int) else height
        self.height = height
        frame.constant("ROWS", height)
        frame.constant("BLOCK", self.block)
        frame.bind("(tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]", "i")
        self.rows = nothing_placed(len(self.shape))
        place(frame, self.rows, groups, "i", divides(height, count))
        self._say(height)
        if self.held:
            self._compute("tl.arange(0, BLOCK)[None, :]")
        else:
            self._walk()
        warps = max(1, min(16, height * self.block // _PER_WARP))
        return frame.finish(ceildiv(count, height), warps)

    def _say(self, height: int) -> None:
        if self.held:
            why = f"{height} rows of {self.columns} in registers, in one pass"
        else:
            why = f"rows of {self.columns} do not fit registers: blocks of {self.block}"
        say(self.frame.kernel, "row", why)

    def _row_groups(self) -> list[Group]:
        """The dims outside of a row, as far as all reads walk through them together."""
        probe, expressions = Fused(self.frame.kernel.block), []
        for number, op in enumerate(self.ops):
            structure = op.structure()
            if isinstance(structure, Reduce):
                expressions.append(probe.inline(self._body(op, structure), op))
                probe.stored[op.results[0]] = -1 - number
        wanted = self.frame.kernel.yielded
        expressions += [probe.element(v, self._where(v)) for v in wanted]
        access = access_of(expressions, self.space, self.frame.buffers)
        own = [self.space.position(self._place_of(v), type_of(v).shape) for v in wanted]
        access = Access((*access.forms, *own), access.values)
        return groups_of(range(self.column), self.shape, access)

    def _compute(self, columns: str) -> None:
        """All ops in order, on whole rows."""
        printer = self._printer(columns)
        for op in self.ops:
            structure = op.structure()
            if isinstance(structure, Reduce):
                body = self.frame.fused.inline(self._body(op, structure), op)
                value = self._masked(printer.named(body), body, structure)
                self._hold(op, structure, body, self._reduced(value, structure, body))
        self._write(printer, [v for v in self.pending if 0 not in type_of(v).shape])

    def _walk(self) -> None:
        """A loop over the columns for each reduction, and one for the results."""
        for op in self.ops:
            structure = op.structure()
            if isinstance(structure, Reduce):
                body = self.frame.fused.inline(self._body(op, structure), op)
                self._hold(op, structure, body, self._reduce_by_blocks(structure, body))
        narrow = [v for v in self.pending if self._by_row(v)]
        self._write(self._printer("0"), narrow)
        with self._loop():
            printer = self._printer("(start + tl.arange(0, BLOCK))[None, :]")
            self._write(printer, [v for v in self.pending if v not in narrow])

    def _reduce_by_blocks(self, structure: Reduce, body: Scalar) -> str:
        frame, dtype = self.frame, body.dtype
        start = literal(neutral(structure.combine, dtype), dtype)
        sums = frame.bind(f"tl.full([ROWS, BLOCK], {start}, {register_type(dtype)})")
        with self._loop():
            printer = self._printer("(start + tl.arange(0, BLOCK))[None, :]")
            value = self._masked(printer.value(body), body, structure)
            frame.bind(combined(structure.combine, dtype, sums, value), sums)
        return self._reduced(sums, structure, body)

    def _loop(self) -> AbstractContextManager[None]:
        return self.frame.loop("start", self.columns, self.block)

    def _printer(self, columns: str) -> Printer:
        """Prints at the columns ``columns``; a number stands for what has none."""
        placement = Placement(dict(self.rows.axes), dict(self.rows.masks))
        if columns != "0":
            self.frame.bind(columns, "j")
            group = Group((self.column,), self.columns)
            place(self.frame, placement, [group], "j", divides(self.block, self.columns))
        scope = Scope(
            self.frame,
            self.space,
            placement.axes,
            placement.masks,
            registers=self.registers,
            lanes="i",
        )
        return Printer(scope)

    def _body(self, op: GraphOp, structure: Reduce) -> Scalar:
        outer = self.indices[: type_of(op.results[0]).rank]
        return structure.body(outer, (self.indices[-1],))

    def _masked(self, value: str, body: Scalar, structure: Reduce) -> str:
        """A value that changes nothing where the row has ended."""
        start = literal(neutral(structure.combine, body.dtype), body.dtype)
        if not self._is_full(body):
            value = f"tl.broadcast_to({plain(value)}, [ROWS, BLOCK])"
        whole = divides(self.block, self.columns)
        return value if whole else f"tl.where(j_ok, {plain(value)}, {start})"

    def _is_full(self, body: Scalar) -> bool:
        """Whether a value has an element for each row and column that are at hand."""
        extents = self.space.extents
        axes = {n.attr for n in nodes_of(body) if n.op == "axis" and extents[n.attr] != 1}
        return self.column in axes and (self.height == 1 or bool(axes - {self.column}))

    def _reduced(self, value: str, structure: Reduce, body: Scalar) -> str:
        function = combiner(structure.combine, body.dtype)
        return self.frame.bind(f"tl.reduce({plain(value)}, 1, {function})[:, None]")

    def _hold(self, op: GraphOp, structure: Reduce, body: Scalar, total: str) -> None:
        """Keeps what a reduction gives in a register."""
        result = Scalar("load", (), body.dtype, self.frame.new_number())
        self.registers[result.attr] = total
        printer = Printer(Scope(self.frame, self.space, self.rows.axes, registers=self.registers))
        finished = structure.finish(result)
        number = self.frame.new_number()
        self.registers[number] = printer.value(finished)
        self.frame.fused.stored[op.results[0]] = number

    def _by_row(self, value: SSAValue) -> bool:
        """Whether a value has one element a row, not one a column."""
        shape = type_of(value).shape
        return len(shape) < len(self.shape) or (shape[-1] == 1 and self.columns != 1)

    def _write(self, printer: Printer, values: Sequence[SSAValue]) -> None:
        first = len(self.frame.kernel.inputs)
        nodes = [self.frame.fused.element(v, self._where(v)) for v in values]
        texts = [printer.value(n) for n in nodes]
        for value, node, text in zip(values, nodes, texts, strict=True):
            buffer = self.frame.buffers[first + self.frame.kernel.yielded.index(value)]
            printer.store(node, text, self._place_of(value), buffer)

    def _where(self, value: SSAValue) -> tuple[Scalar, ...]:
        """The indices of a value: at the row and column, or at the row alone."""
        return self.indices[: type_of(value).rank]

    def _place_of(self, value: SSAValue) -> list[Scalar]:
        """Where a value is stored."""
        pairs = zip(type_of(value).shape, self._where(value), strict=True)
        return [s.const(0, s.I64) if dim == 1 else index for dim, index in pairs]
