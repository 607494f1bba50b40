"""The row template: elementwise chains, and reductions along the innermost dim between them.

A row is computed in passes over its columns, one for each reduction and a last one. What a pass
computes and a later one needs again is kept in the row of a result, if it costs more than a load::

    softmax:  m = max(x)   |   y[j] = exp(x[j] - m); s += y[j]   |   y[j] = y[j] / s
"""

from __future__ import annotations

from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType
from xdsl.ir import BlockArgument, SSAValue

from ....ir import loop
from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.dims import Shape, product, static_size
from ....ir.kernel import KernelOp
from ....ir.op import GraphOp
from ....ir.ops.elementwise import CastOp
from ....ir.scalar import Scalar
from ....ir.structure import Reduce, neutral
from ....ir.types import type_of
from ..arithmetic import combine, combine_lanes
from ..elements import compute_type, storage_type, to_memory
from ..expression import Buffer, ExpressionLowering
from ..target import CpuTarget
from .access import contiguous, effort, load_forms, merged_dims, op_effort, unrounded
from .columns import fold_columns, for_columns
from .frame import Code, Frame, grain_of, static
from .planes import planes_kernel

_BLOCK = 4096
# The machine vectors of a tile at most; fewer where these leave no rest.
_VECTORS = 4
_WORTH_KEEPING = 12
_LONGEST_ROW = 8192
_PICTURES = 4


def row_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a kernel of Maps and of reductions along the last dim of its widest shape."""
    return planes_kernel(kernel, name, target) or _Rows(Frame(kernel, name, target)).build()


def row_shape(kernel: KernelOp) -> Shape:
    """The widest shape that is computed: of what is stored, or of a reduction's operand.

    What is moved inside may be of wider ones, of which a part is read.
    """
    shapes = [type_of(v).shape for v in kernel.yielded]
    reduced = (op for op in kernel.ops if isinstance(op.structure(), Reduce))
    shapes += [type_of(op.operands[0]).shape for op in reduced]
    return max(shapes, key=lambda shape: (len(shape), static(tuple(d or 1 for d in shape))))


def _decodes(kernel: KernelOp, op: GraphOp) -> bool:
    """Whether an op only widens an operand, which is done where elements of it are read."""
    inside = isinstance(op, CastOp) and isinstance(op.x, BlockArgument)
    return inside and op.results[0] not in kernel.yielded


class _Rows:
    def __init__(self, frame: Frame):
        self.frame = frame
        self.b = frame.b
        self.ops = [op for op in frame.kernel.ops if not _decodes(frame.kernel, op)]
        self.shape = row_shape(frame.kernel)
        self.space = IndexSpace(self.shape)
        self.indices = tuple(s.axis(n) for n in range(len(self.shape)))
        self.reductions = [op for op in self.ops if isinstance(op.structure(), Reduce)]
        self.registers: dict[int, SSAValue] = {}
        self.axes: dict[int, SSAValue] = {}
        self.pending = list(dict.fromkeys(frame.kernel.yielded))
        self.merged = self._merged()
        self.rows = self.shape[: len(self.shape) - self.merged]
        self.columns = product(self.shape[len(self.rows) :])
        self.blocked = not self.reductions and product(self.rows) == 1

    def build(self) -> Code:
        """The whole function."""
        cost = sum(op_effort(op) for op in self.ops)
        with self.b.loop(self.frame.begin, self.frame.end) as row:
            start, stop = self._place(row)
            for op in self.ops:
                self._visit(op)
            self._last_pass(start, stop)
        if self.blocked:
            tasks = (self.columns + (_BLOCK - 1)) // _BLOCK
            return self.frame.finish(tasks, grain_of(cost * static((self.columns,)) // 8))
        grain = grain_of(cost * static((self.columns,)) // 8)
        return self.frame.finish(
            product(self.rows), grain, samples=self.rows[0] if self.rows else 1
        )

    def _merged(self) -> int:
        """How many innermost dims the columns run over as if they were one.

        Samples of pictures, and their rows, stay tasks of their own.
        """
        plain = min(1, len(self.shape))
        if self.reductions or any(type_of(v).shape != self.shape for v in self.pending):
            return plain
        forms = [self.space.position(self.indices, self.shape)]
        for value in self.pending:
            found = load_forms(self._element(value), self.space, self.frame.buffers)
            if found is None:
                return plain
            forms += found
        merged = merged_dims(self.shape, forms)
        several = len(self.shape) >= _PICTURES and self.shape[0] != 1
        return min(merged, len(self.shape) - 2) if several else merged

    def _place(self, row: SSAValue) -> tuple[SSAValue, SSAValue]:
        """Sets the axes at ``row``; gives the range of columns."""
        b, zero, columns = self.b, self.b.index(0), self.frame.dim(self.columns)
        self.axes = dict.fromkeys(range(len(self.shape)), zero)
        if not self.blocked:
            self.axes.update(enumerate(self.frame.unflatten(row, self.rows)))
            return zero, columns
        size = static_size((self.columns,))
        if size is not None and size <= _BLOCK:
            return zero, columns
        start = b.mul_index(row, b.index(_BLOCK))
        end = b.add_index(start, b.index(_BLOCK))
        return start, b.op(arith.MinSIOp, [end, columns], IndexType())

    def _visit(self, op: GraphOp) -> None:
        """Computes reductions, and what depends on the row alone, where they stand."""
        structure = op.structure()
        if isinstance(structure, Reduce):
            self._hold(op.results[0], self._reduce(op, structure))
        elif op.operands and self._by_row(op.results[0]):
            self._hold(op.results[0], self._lowering().lower(self._element(op.results[0])))

    def _by_row(self, value: SSAValue) -> bool:
        """Whether a value has one element a row, not one a column."""
        shape = type_of(value).shape
        if not self.reductions or self.shape[-1] == 1:
            return False
        return len(shape) < len(self.shape) or shape[-1] == 1

    def _hold(self, value: SSAValue, register: SSAValue) -> None:
        """Keeps a row's value in a register; writes it where it is a result."""
        if value in self.pending:
            self._write(self._lowering(), value, register)
            self.pending.remove(value)
        number = self.frame.new_number()
        self.registers[number] = register
        self.frame.fused.stored[value] = number

    def _reduce(self, op: GraphOp, structure: Reduce) -> SSAValue:
        """One pass over the columns: a reduction, and the values worth keeping on the way."""
        kept = {v: (number, self._element(v)) for v, number in self._to_keep(op).items()}
        outer = self._where(type_of(op.results[0]).rank)
        body = self.frame.fused.inline(structure.body(outer, (self.indices[-1],)), op)
        dtype = body.dtype

        def initial(lanes: int) -> SSAValue:
            type = self._lowering(None, lanes).scope.tile_type(compute_type(dtype))
            return self.b.constant(neutral(structure.combine, dtype), type)

        def step(first: SSAValue, lanes: int, total: SSAValue) -> SSAValue:
            lowering = self._lowering(first, lanes)
            for value, (number, expression) in kept.items():
                self._write(lowering, value, lowering.tile(unrounded(expression)), number)
            return combine(self.b, structure.combine, dtype, total, lowering.tile(body))

        total = fold_columns(
            self.b,
            self.frame.dim(self.columns),
            self._width([body, *(e for _, e in kept.values())]),
            initial,
            step,
            lambda tile: combine_lanes(self.b, structure.combine, dtype, tile),
            lambda x, y: combine(self.b, structure.combine, dtype, x, y),
        )
        for value, (number, _) in kept.items():
            self.frame.fused.stored[value] = number
        held = Scalar("load", (), dtype, self.frame.new_number())
        self.registers[held.attr] = total
        return self._lowering().lower(structure.finish(held))

    def _to_keep(self, op: GraphOp) -> dict[SSAValue, int]:
        """The values that a reduction's pass computes and that are stored, with their buffers."""
        needed = self._reach(op)
        kept = {v: self._output(v) for v in needed if v in self.pending}
        self.pending = [v for v in self.pending if v not in kept]
        free = list(self.pending)
        for value in needed:
            if value in kept or not self._is_worth_keeping(value, needed, op):
                continue
            row = next((f for f in free if f.type == value.type), None)
            if row is not None:
                free.remove(row)
                kept[value] = self._output(row)
            elif self._is_short():
                kept[value] = self._row_for(value)
        return kept

    def _is_short(self) -> bool:
        size = static_size((self.columns,))
        return size is not None and size <= _LONGEST_ROW

    def _row_for(self, value: SSAValue) -> int:
        """A row of memory that a value is kept in until the next row is computed."""
        b, number = self.b, self.frame.new_number()
        element = storage_type(type_of(value).dtype)
        memory = b.add(loop.AllocaOp(static((self.columns,)), element)).results[0]
        place, columns = b.index(0), self.frame.dim(self.columns)
        for axis, size in enumerate(self.rows):
            place = b.add_index(b.mul_index(place, self.frame.dim(size)), self.axes[axis])
        start = b.op(arith.SubiOp, [b.index(0), b.mul_index(place, columns)], IndexType())
        self.frame.buffers[number] = Buffer(memory, self.shape, start)
        return number

    def _reach(self, op: GraphOp) -> list[SSAValue]:
        """The values with an element a column that ``op`` needs and nobody has stored."""
        found: dict[SSAValue, None] = {}
        waiting = list(op.operands)
        while waiting:
            value = waiting.pop()
            inside = isinstance(value.owner, GraphOp) and value not in self.frame.fused.stored
            if inside and value not in found and isinstance(value.owner, GraphOp):
                found[value] = None
                waiting += value.owner.operands
        order = [r for o in self.ops for r in o.results]
        return [v for v in order if v in found and type_of(v).shape == self.shape]

    def _is_worth_keeping(self, value: SSAValue, needed: list[SSAValue], op: GraphOp) -> bool:
        """Whether something after ``op`` needs a value that is expensive to compute again."""
        users = [use.operation for use in value.uses]
        if not any(u is not op and u.results and u.results[0] not in needed for u in users):
            return False
        expression = self._element(value)
        return effort(expression) >= _WORTH_KEEPING or not self._is_straight([expression])

    def _last_pass(self, start: SSAValue, stop: SSAValue) -> None:
        """Computes all results that are left."""
        wanted = [(v, self._element(v)) for v in self.pending]
        if not wanted:
            return

        def body(first: SSAValue, lanes: int) -> None:
            lowering = self._lowering(first, lanes)
            for value, expression in wanted:
                self._write(lowering, value, lowering.tile(unrounded(expression)))

        for_columns(self.b, start, stop, self._width([e for _, e in wanted]), body)

    def _width(self, expressions: list[Scalar]) -> int:
        """The columns of a tile: some machine vectors, or one element where lanes would differ."""
        if not self.shape:
            return 1
        probe = self._lowering(self.b.index(0), 2)
        if not all(probe.can_tile(e) for e in expressions):
            return 1
        bits = max(8 * type_of(v).dtype.itemsize for v in self.frame.kernel.yielded)
        lanes = self.frame.target.lanes(max(32, bits))
        size = static_size((self.columns,))
        if not size or not self._is_straight(expressions):
            return lanes
        even = (n * lanes for n in range(_VECTORS, 1, -1) if size % (n * lanes) == 0)
        return next(even, _VECTORS * lanes)

    def _is_straight(self, expressions: list[Scalar]) -> bool:
        """Whether neighbouring columns read neighbours, or the same element."""
        fixed = range(len(self.shape) - 1)
        forms = [load_forms(e, self.space, self.frame.buffers, fixed) for e in expressions]
        return all(f is not None and contiguous(f, len(self.shape) - 1) for f in forms)

    def _element(self, value: SSAValue) -> Scalar:
        return self.frame.fused.element(value, self._where(type_of(value).rank))

    def _where(self, rank: int) -> tuple[Scalar, ...]:
        """The indices of a value: at the row and column, or at the row alone."""
        return self.indices[:rank]

    def _output(self, value: SSAValue) -> int:
        return len(self.frame.kernel.inputs) + self.frame.kernel.yielded.index(value)

    def _write(
        self, lowering: ExpressionLowering, value: SSAValue, tile: SSAValue, number: int = -1
    ) -> None:
        type = type_of(value)
        buffer = self.frame.buffers[self._output(value) if number < 0 else number]
        where = [
            s.const(0, s.I64) if dim == 1 else i
            for dim, i in zip(type.shape, self._where(type.rank), strict=True)
        ]
        lowering.store(to_memory(self.b, tile, type.dtype), where, buffer)

    def _lowering(self, first: SSAValue | None = None, lanes: int = 1) -> ExpressionLowering:
        """Lowers at the current row: for ``lanes`` columns from ``first`` on."""
        axes = dict(self.axes)
        if first is not None and self.shape:
            axes[len(self.shape) - 1] = first
        tile = ((len(self.shape) - 1, lanes),) if lanes > 1 else ()
        return ExpressionLowering(self.frame.scope(self.space, axes, tile, self.registers))
