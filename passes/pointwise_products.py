"""Convolutions that see one place at a time become products, where those compute on codes.

%w = "mlc.dequantize"(%codes, %scale)         %w = "mlc.dequantize"(%codes, %scale)   [64, 128]
%y = "mlc.conv"(%x, %w)  w: [1, 1, 64, 128]   %y = "mlc.matmul"(%x, %w)
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.data import DataAttr
from ..ir.op import GraphOp, copy_source
from ..ir.ops.constant import ConstantOp
from ..ir.ops.conv import ConvOp
from ..ir.ops.matmul import MatmulOp
from ..ir.ops.quant import DequantizeOp
from ..ir.types import tensor, type_of
from .contract import Pass, Promise
from .decode_weights import Choice
from .rewrite import again
from .values import is_constant, producer

# Fewer weights are no memory to speak of, and so many places see them that codes are slower.
_FEWEST = 4096


@dataclass(frozen=True)
class PointwiseProducts(Pass):
    """Concerns convolutions by weights of few bits.

    Attributes:
        choose: Says what the target computes on as codes.
    """

    name = "pointwise-products"
    promise = Promise.EXACT
    choose: Choice = lambda op: (False, "")

    def apply(self, module: ModuleOp) -> None:
        """Leaves other convolutions, and those whose codes would be decoded all the same."""
        for op in list(module.walk()):
            if isinstance(op, ConvOp) and (weight := _encoded(op)) and _sees_one_place(op):
                self._try(op, weight)

    def _try(self, op: ConvOp, weight: DequantizeOp) -> None:
        block = op.parent
        assert block is not None
        constants = [_as_matrix(v) for v in weight.operands]
        blocks = {"blocks": weight.blocks[-2:]} if weight.blocks else {}
        matrix = again(weight, *(c.result for c in constants), **blocks)
        product = MatmulOp(op.x, matrix.result)
        made: list[GraphOp] = [*constants, matrix, product]
        for new in made:
            copy_source(op, new)
        block.insert_ops_before(made, op)
        taken, _ = self.choose(matrix)
        if taken:
            op.result.replace_all_uses_with(product.result)
        for dead in [op] if taken else reversed(made):
            dead.detach()
            dead.erase()


def _encoded(op: ConvOp) -> DequantizeOp | None:
    """What decodes the weight, if that is large."""
    weight = producer(op.w, DequantizeOp)
    if weight is None or not all(is_constant(v) for v in weight.operands):
        return None
    assert isinstance(weight.x.owner, ConstantOp)
    return weight if weight.x.owner.value.array.size >= _FEWEST else None


def _sees_one_place(op: ConvOp) -> bool:
    window = type_of(op.w).shape[:-2], op.strides
    plain = all(size == 1 for sizes in window for size in sizes)
    return plain and op.groups == 1 and not any(p != 0 for p in op.pads) and op.to is None


def _as_matrix(value: SSAValue) -> ConstantOp:
    """A constant ``[1, …, C, O]`` without the dims of the window; a number stays one."""
    assert isinstance(value.owner, ConstantOp)
    data, type = value.owner.value, type_of(value)
    made = tensor(type.shape[-2:], type.dtype)
    shape = tuple(int(str(d)) for d in made.shape)
    return ConstantOp(value=DataAttr.lazy(made, lambda: data.array.reshape(shape)))
