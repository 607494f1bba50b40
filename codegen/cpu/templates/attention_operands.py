"""Where the operands and the result of an attention lie, seen through transposes and casts."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from ....ir import scalar as s
from ....ir.affine import Affine, IndexSpace
from ....ir.ops.attention import AttentionOp
from ....ir.ops.elementwise import CastOp, broadcast_load
from ....ir.ops.shape import ConcatOp, TransposeOp
from ....ir.scalar import Scalar
from ....ir.types import F32, type_of
from .frame import Frame

BATCH, HEAD, QUERY, KEY, FEATURE, VALUE, GROUP = range(7)
# A factor of a product: its memory, its start, and the steps to its next row and along the depth.
Factor = tuple[SSAValue, SSAValue, SSAValue, SSAValue]


class Operands:
    """The sizes of an attention, and the positions of its elements at some axes."""

    def __init__(self, frame: Frame):
        self.frame, self.b = frame, frame.b
        (self.op,) = (op for op in frame.kernel.ops if isinstance(op, AttentionOp))
        q, k, v = (type_of(o).shape for o in self.op.operands[:3])
        self.batch, self.heads, self.queries, self.features = q
        self.groups, self.keys, self.values = k[1], k[2], v[3]
        self.space = IndexSpace((*q[:3], self.keys, self.features, self.values, self.groups))
        self.axes: dict[int, SSAValue] = {}

    def _keys(self, key: SSAValue, stop: SSAValue) -> Factor:
        """Keys from ``key`` to ``stop``, a key a row."""
        return self._factor(self.op.k, KEY, FEATURE, key, by_rows=True)

    def _weighted(self, key: SSAValue, count: SSAValue) -> Factor:
        """The values of ``count`` keys from ``key`` on, a feature a row."""
        return self._factor(self.op.v, KEY, VALUE, key, by_rows=False)

    def _factor(
        self, value: SSAValue, keys: int, features: int, key: SSAValue, by_rows: bool
    ) -> Factor:
        form, memory = self._linear(value, (BATCH, GROUP, keys, features))
        along, across = (self.frame.dim(form.coefficient(a)) for a in (keys, features))
        origin = self.b.add_index(self._start(form), self.b.mul_index(key, along))
        return (memory, origin, along, across) if by_rows else (memory, origin, across, along)

    def mask_form(self) -> tuple[int, Affine] | None:
        """The buffer of the mask and its elements' places, if it is one of f32 in memory."""
        if len(self.op.operands) < 4 or type_of(self.op.operands[3]).dtype != F32:
            return None
        where = tuple(s.axis(a) for a in (BATCH, HEAD, QUERY, KEY))
        load = self.frame.fused.inline(broadcast_load(self.op, 3, where), self.op)
        if load.op != "load" or load.attr not in self.frame.buffers:
            return None
        form = self.space.position(load.args, self.frame.buffers[load.attr].shape)
        return None if form.rest else (load.attr, form)

    def _turned_mask(self) -> tuple[Affine, SSAValue] | None:
        """Where the mask's elements lie, if it lies by keys, so that it must be turned, too."""
        found = self.mask_form()
        if found is None:
            return None
        number, form = found
        by_keys = form.coefficient(KEY) == 1 and form.coefficient(QUERY) != 0
        return (form, self.frame.buffers[number].memory) if by_keys else None

    def _result_indices(self) -> list[Scalar]:
        """The indices of the kernel's result, which may be a transpose of the attention's."""
        indices = [s.axis(a) for a in (BATCH, HEAD, QUERY, VALUE)]
        last = self._result().owner
        last = last.x.owner if isinstance(last, CastOp) else last
        return [indices[p] for p in last.perm] if isinstance(last, TransposeOp) else indices

    def _result(self) -> SSAValue:
        """What the kernel gives but for appended keys and values."""
        kernel = self.frame.kernel
        return next(v for v in kernel.yielded if not isinstance(v.owner, ConcatOp))

    def _linear(self, value: SSAValue, axes: Sequence[int]) -> tuple[Affine, SSAValue]:
        """Where an operand's element lies, and in which memory."""
        load = self.frame.fused.element(value, [s.axis(a) for a in axes])
        load = load.args[0] if load.op == "cast" else load
        assert load.op == "load", "form-kernels draws in nothing but transposes"
        buffer = self.frame.buffers[load.attr]
        form = self.space.position(load.args, buffer.shape)
        return form, buffer.memory

    def _start(self, form: Affine) -> SSAValue:
        """The position at the task's batch, head and first query."""
        total = self.frame.dim(form.constant)
        for axis, factor in form.coefficients.items():
            term = self.b.mul_index(self.axes[axis], self.frame.dim(factor))
            total = self.b.add_index(total, term)
        return total
