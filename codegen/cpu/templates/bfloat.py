"""Products of bf16 summed in f32: two neighbours of the depth are one step.

Where the machine has no instruction for that, halves of words are widened to f32 first.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import VectorType, bf16, i32
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir.kernel import KernelOp
from ....ir.types import DTYPES
from ..target import CpuTarget
from .contraction import AHEAD
from .frame import Code, Frame
from .grouped import GroupedProduct, is_grouped
from .products import product_of
from .rooted import Rooted

_BF16 = DTYPES["bf16"]


def bfloat_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code | None:
    """Code for a kernel around a product of bf16 activations and weights; None for another."""
    rooted = Rooted(Frame(kernel, name, target))
    product = product_of(rooted, by_sample=True)
    if product is None or not is_grouped(kernel, product, (_BF16, _BF16)):
        return None
    return BfloatProduct(rooted, product).build()


class BfloatProduct(GroupedProduct):
    """The tiles of a product of bf16."""

    group = 2

    def _depth(
        self,
        level: int,
        left: SSAValue,
        right: SSAValue,
        height: int,
        width: int,
        total: SSAValue,
    ) -> SSAValue:
        return self._sums(level, left, right, [total])[0]

    def _dots(
        self, left: SSAValue, right: SSAValue, totals: Sequence[SSAValue], count: int
    ) -> list[SSAValue]:
        b, zero, one = self.b, self.b.index(0), self.b.index(1)
        (total,) = totals
        assert isinstance(total.type, VectorType)
        height, width = total.type.get_shape()
        pairs = loop.tile((height, count), bf16)
        x = b.load(self._memory(self.product.left.number), left, pairs, [self._row_stride(), one])
        y = b.load(self.words, right, loop.tile((1, width), i32), [zero, one])
        if self._waits_for_weights():
            self._ask_for(b.add_index(right, b.index(AHEAD)), width)
        return [b.add(loop.DotOp(x, y, total)).results[0]]
