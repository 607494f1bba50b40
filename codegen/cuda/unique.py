"""Different elements by other kernels: those that, sorted, differ from the one before.

%values, %first, %inverse, %counts = "mlc.unique"(%x)   ->   top_k, ne, non_zero, gather, cum_sum
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.rewriter import Rewriter

from ...ir.dims import product
from ...ir.op import Add
from ...ir.ops.compose import Composer
from ...ir.ops.constant import DimsOp
from ...ir.ops.elementwise import (
    AddOp,
    AndOp,
    EqOp,
    IsnanOp,
    MaxOp,
    MinOp,
    NeOp,
    NotOp,
    OrOp,
    SelectOp,
    SubOp,
)
from ...ir.ops.index import GatherOp
from ...ir.ops.select import NonZeroOp, UniqueOp
from ...ir.ops.shape import IotaOp, dims_param
from ...ir.ops.sort import CumSumOp, TopKOp
from ...ir.types import I32, I64, is_float, type_of
from ...passes.contract import Pass, Promise
from ...passes.rewrite import adder_before


@dataclass(frozen=True)
class UniqueBySorting(Pass):
    """Takes apart what compares single elements."""

    name = "unique-by-sorting"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Looks at every op."""
        for op in [op for op in module.walk() if isinstance(op, UniqueOp)]:
            if product(d for n, d in enumerate(type_of(op.x).shape) if n != op.axis) == 1:
                results = _Sorted(adder_before(op, []), op).results()
                Rewriter.replace_op(op, [], results)


class _Sorted:
    def __init__(self, add: Add, op: UniqueOp):
        self.add, self.op, self.compose = add, op, Composer(add)
        self.count = op.size

    def results(self) -> list[SSAValue]:
        """Values, first occurrences, numbers, how often each occurs."""
        op, c = self.op, self.compose
        (size,) = type_of(op.inverse).shape
        values, order = self._sort(c.reshape(op.x, (size,)))
        fresh = self._fresh(values)
        places = c.reshape(self.add(NonZeroOp(fresh, count=op.count)), (self.count,))
        number = self.add(CumSumOp(c.cast(fresh, I64), axis=0))
        number = self.add(SubOp(number, c.constant(1, I64)))
        inverse = self._pick(number, self._sort(c.cast(order, I32))[1])
        found = [self._pick(values, places), self._pick(order, places), self._lengths(places)]
        if not op.ordered:
            by_place = self._sort(found[1])[1]
            found = [self._pick(v, by_place) for v in found]
            inverse = self._pick(self._sort(by_place)[1], inverse)
        shaped = c.reshape(found[0], type_of(op.values).shape)
        return [shaped, found[1], inverse, found[2]]

    def _sort(self, x: SSAValue) -> tuple[SSAValue, SSAValue]:
        """Ascending, and where each element was."""
        (size,) = dims_param(type_of(x).shape)
        top = TopKOp(x, k=size, axis=0, largest=False)
        self.add(top)
        return top.values, top.indices

    def _fresh(self, values: SSAValue) -> SSAValue:
        """Which elements differ from the one before."""
        add, number = self.add, self.compose.constant
        index = add(IotaOp(shape=dims_param(type_of(values).shape)))
        before = add(MaxOp(add(SubOp(index, number(1, I64))), number(0, I64)))
        last = self._pick(values, before)
        differs = add(NeOp(values, last))
        if is_float(type_of(values).dtype):
            both = add(AndOp(add(IsnanOp(values)), add(IsnanOp(last))))
            differs = add(AndOp(differs, add(NotOp(both))))
        return add(OrOp(differs, add(EqOp(index, number(0, I64)))))

    def _lengths(self, places: SSAValue) -> SSAValue:
        """How far it is from each place to the next."""
        add, c = self.add, self.compose
        (size,) = type_of(self.op.inverse).shape
        end, last = (add(DimsOp.of((d,), ())) for d in (size, self.count - 1))
        index = add(IotaOp(shape=dims_param((self.count,))))
        after = self._pick(places, add(MinOp(add(AddOp(index, c.constant(1, I64))), last)))
        return add(SubOp(add(SelectOp(add(EqOp(index, last)), end, after)), places))

    def _pick(self, x: SSAValue, indices: SSAValue) -> SSAValue:
        return self.add(GatherOp(x, indices, axis=0))
