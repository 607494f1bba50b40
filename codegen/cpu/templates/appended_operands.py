"""Keys and values that are appended to those of the past: read as they lie, copied on the way."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import arith, scf
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir.dims import Dim, product
from ....ir.op import GraphOp
from ....ir.ops.attention import AttentionOp
from ....ir.ops.shape import ConcatOp
from ....ir.types import type_of
from ..expression import Buffer
from .attention_operands import BATCH, GROUP, KEY, Operands
from .frame import Frame, static
from .runs import copy_run

# Results below this many bytes may be read from the caches by who gets them.
_LARGE = 128 << 10


def appends(op: GraphOp) -> bool:
    """Whether the kernel of an attention appends keys and values itself, in equal parts."""
    if not isinstance(op, AttentionOp) or type_of(op.q).shape[2] != 1:
        return False
    parts = [
        [type_of(o).shape[2] for o in x.owner.operands]
        for x in (op.k, op.v)
        if isinstance(x.owner, ConcatOp) and x.owner.axis == 2
    ]
    return len(parts) == 2 and parts[0] == parts[1]


@dataclass(frozen=True)
class Copy:
    """A result of appending, and whether it is written past the caches, if it can be."""

    buffer: Buffer
    past_caches: SSAValue | None


@dataclass(frozen=True)
class Rows:
    """Rows of features in memory, and where they are copied to, if they are.

    Attributes:
        buffer: What holds them.
        start: The position of the first one of the task.
        pitch: How far they are apart.
        width: How many features there are.
        copy: The result that they are part of.
        place: Where the first one lies in it.
    """

    buffer: Buffer
    start: SSAValue
    pitch: SSAValue
    width: int
    copy: Copy | None
    place: SSAValue

    @property
    def memory(self) -> SSAValue:
        """Where the rows lie."""
        return self.buffer.memory


@dataclass(frozen=True)
class Part:
    """Keys that lie together, and their values: those of the past, or new ones.

    Attributes:
        first: The number of the first key.
        count: How many there are.
    """

    first: Dim
    count: Dim
    keys: SSAValue
    values: SSAValue


class AppendedOperands(Operands):
    """The operands of an attention whose kernel may append keys and values itself."""

    def __init__(self, frame: Frame):
        super().__init__(frame)
        self.lanes = frame.target.lanes(32)
        self.copies = {x: c for x in (self.op.k, self.op.v) if (c := self._copy_of(x))}

    def _copy_of(self, appended: SSAValue) -> Copy | None:
        """Past the caches goes what is so large, and lies so, that this pays."""
        b, number = self.b, self.frame.output(appended)
        if number is None:
            return None
        buffer = self.frame.buffers[number]
        if static(buffer.shape[-1:]) % self.lanes:
            return Copy(buffer, None)
        size = b.mul_index(self.frame.dim(product(buffer.shape)), b.index(4))
        large = b.compare("sge", size, b.index(_LARGE))
        aligned = b.add(loop.AlignedOp(buffer.memory)).results[0]
        return Copy(buffer, b.op(arith.AndIOp, [large, aligned], large.type))

    def _parts(self) -> list[Part]:
        pairs = [
            list(x.owner.operands) if isinstance(x.owner, ConcatOp) else [x]
            for x in (self.op.k, self.op.v)
        ]
        parts: list[Part] = []
        first: Dim = 0
        for k, v in zip(*pairs, strict=True):
            count = type_of(k).shape[2]
            parts.append(Part(first, count, k, v))
            first = first + count
        return parts

    def _rows(self, part: Part, value: SSAValue, whole: SSAValue, features: int) -> Rows:
        """Where the task's rows of an operand lie, and those of the copy."""
        frame, b = self.frame, self.b
        form, memory = self._linear(value, (BATCH, GROUP, KEY, features))
        width = static(type_of(value).shape[3:])
        head = b.mul_index(self.axes[BATCH], frame.dim(self.groups))
        head = b.add_index(head, self.axes[GROUP])
        row = b.add_index(b.mul_index(head, frame.dim(self.keys)), frame.dim(part.first))
        return Rows(
            Buffer(memory, type_of(value).shape),
            self._start(form),
            frame.dim(form.coefficient(KEY)),
            width,
            self.copies.get(whole),
            b.mul_index(row, b.index(width)),
        )

    def _copy(self, rows: Rows, row: SSAValue, tall: int) -> None:
        """Writes some rows to the result that they are part of, if there is one."""
        copy = rows.copy
        if copy is None:
            return
        b, offset = self.b, self.b.mul_index(row, self.b.index(rows.width))
        start, place = b.add_index(rows.start, offset), b.add_index(rows.place, offset)

        run = (self.frame, rows.buffer, start, copy.buffer, place, tall * rows.width)
        if copy.past_caches is None:
            copy_run(*run)
            return
        sides = (b.region(lambda past=past: copy_run(*run, past)) for past in (True, False))
        b.add(scf.IfOp(copy.past_caches, [], *sides))
