"""Folds what multiplies the channels of a convolution or matrix product into its weights.

    %c = "mlc.conv"(%x, %w)            ->   %c = "mlc.conv"(%x, %w2)     w2 = w * s
    %b = "mlc.add"(%c, %bias)               %r = "mlc.add"(%c, %bias2)   bias2 = bias * s + t
    %m = "mlc.mul"(%b, %s)
    %r = "mlc.add"(%m, %t)

This is what is left of a batch norm at inference. A weight that something else reads too is left
alone, so that it is not stored twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.op import Add, GraphOp
from ..ir.ops.conv import ConvOp, ConvTransposeOp
from ..ir.ops.elementwise import AddOp, MulOp
from ..ir.ops.matmul import MatmulOp
from ..ir.ops.shape import ReshapeOp
from ..ir.types import is_float, type_of
from .canonical.arithmetic import constants_together
from .contract import Pass, Promise
from .fold_constants import placed
from .rewrite import Rule, again, rewrite
from .values import is_constant, producer, used_once


@dataclass(frozen=True)
class FoldScales(Pass):
    """Run after arithmetic is canonical: constants on the right, no constant divisors."""

    name = "fold-scales"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Moves products before sums, and then into weights."""
        products: list[Rule] = [_into_weight, _before_bias]
        rewrite(module, {MulOp: products, AddOp: [constants_together]})


def _into_weight(op: GraphOp, add: Add) -> SSAValue | None:
    """``conv(x, w) * s`` is ``conv(x, w * s)``."""
    value, scale = op.operands
    layer = _layer(value)
    if layer is None or not _is_by_channel(scale, layer):
        return None
    weight = placed(MulOp(layer.operands[1], _flat(scale, add)), add)
    return add(again(layer, layer.operands[0], weight))


def _before_bias(op: GraphOp, add: Add) -> SSAValue | None:
    """``(conv(x, w) + b) * s`` is ``conv(x, w) * s + b * s``."""
    value, scale = op.operands
    bias = producer(value, AddOp)
    layer = _layer(bias.x) if bias and used_once(value) else None
    if bias is None or layer is None or not _is_by_channel(scale, layer):
        return None
    if not is_constant(bias.y) or not _is_by_channel(bias.y, layer):
        return None
    return add(AddOp(add(MulOp(bias.x, scale)), placed(MulOp(bias.y, scale), add)))


def _layer(value: SSAValue) -> GraphOp | None:
    """The layer that makes ``value``, if its weight may be changed."""
    layer = value.owner
    if not isinstance(layer, ConvOp | ConvTransposeOp | MatmulOp) or not used_once(value):
        return None
    weight = layer.operands[1]
    return layer if is_constant(weight) and used_once(weight) else None


def _is_by_channel(scale: SSAValue, layer: GraphOp) -> bool:
    """Whether a constant has one number, or one for each channel of the result and weight."""
    type, result = type_of(scale), type_of(layer.results[0])
    if not is_constant(scale) or not is_float(type.dtype) or type.rank > result.rank:
        return False
    if type.size == 1:
        return True
    channels = type_of(layer.operands[1]).shape[-1]
    return type.shape[-1] == type.size == channels == result.shape[-1]


def _flat(scale: SSAValue, add: Add) -> SSAValue:
    """Without leading dims, which the weight might not have."""
    size = type_of(scale).size
    return placed(ReshapeOp.to(scale, () if size == 1 else (size,)), add)
