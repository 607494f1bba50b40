"""What can be trained in a compressed module, and how what was trained gets back into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.module import main_function
from ...ir.op import GraphOp, source_of
from ...ir.ops.constant import ConstantOp
from ...ir.ops.conv import ConvOp
from ...ir.ops.elementwise import AddOp
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.norm import LayerNormOp, RmsNormOp
from ...ir.ops.quant import DequantizeOp
from ...ir.types import F32, is_float, type_of
from .fading import Fading
from .layers import placed_before
from .recipe import Recipe


@dataclass(frozen=True)
class Weight:
    """Something that is trained.

    Attributes:
        value: A constant, or what decodes constants.
        mask: Where it may differ from 0; None: everywhere.
        whole: What it begins as, to come to its zeros while it is trained; None: it has them.
    """

    value: SSAValue
    mask: np.ndarray | None = None
    whole: np.ndarray | None = None


def trainable(module: ModuleOp, recipe: Recipe, fading: Fading) -> list[Weight]:
    """The weights of layers as they are encoded, and the vectors of biases and norms.

    Layers that were pruned keep their zeros, but for those that are ``fading``.
    """
    whole = fading.by_weight()
    found: dict[SSAValue, Weight] = {}
    for op in main_function(module).body.block.ops:
        if isinstance(op, MatmulOp | ConvOp) and _is_weight(op.operands[1]):
            weight = op.operands[1]
            pruned = recipe.sparsify_of(source_of(op)) is not None
            mask = _values(weight) != 0 if pruned else None
            found[weight] = Weight(weight, mask, whole.get(weight))
        elif isinstance(op, AddOp | LayerNormOp | RmsNormOp):
            found |= {v: Weight(v) for v in op.operands if _is_vector(v)}
    return list(found.values())


def put_back(weights: Sequence[Weight], arrays: Sequence[Sequence[np.ndarray]]) -> None:
    """Replaces constants by trained ones: of each weight itself, or the first that it decodes."""
    for weight, trained in zip(weights, arrays, strict=True):
        value, op = weight.value, weight.value.owner
        assert isinstance(op, GraphOp)
        made = [
            _constant_before(op, array, old) for array, old in zip(trained, _read(op), strict=False)
        ]
        if isinstance(op, ConstantOp):
            value.replace_all_uses_with(made[0])
        else:
            for k, constant in enumerate(made):
                op.operands[k] = constant


def _constant_before(op: GraphOp, array: np.ndarray, old: SSAValue) -> SSAValue:
    return placed_before(op, ConstantOp.of(array.astype(type_of(old).dtype)))


def _read(op: GraphOp) -> Sequence[SSAValue]:
    return op.results if isinstance(op, ConstantOp) else op.operands


def _is_weight(value: SSAValue) -> bool:
    op = value.owner
    if isinstance(op, DequantizeOp):
        return all(isinstance(v.owner, ConstantOp) for v in op.operands)
    return isinstance(op, ConstantOp) and is_float(type_of(value).dtype)


def _is_vector(value: SSAValue) -> bool:
    type = type_of(value)
    return isinstance(value.owner, ConstantOp) and type.rank == 1 and type.dtype == F32


def _values(value: SSAValue) -> np.ndarray:
    op = value.owner
    if isinstance(op, ConstantOp):
        return op.value.array
    assert isinstance(op, DequantizeOp)
    constants = [v.owner for v in op.operands]
    return op.reference(*(c.value.array for c in constants if isinstance(c, ConstantOp)))
