"""Channels between two layers are scaled so that the weights on both sides reach equally far.

%h = relu(%x @ %a + %b)              %h = relu(%x @ (%a / s) + %b / s)
%y = %h @ %c                   ->    %y = %h @ (s * %c)

After Nagel et al., "Data-free quantization through weight equalization and bias correction", 2019.
What comes between has to let positive scales through: a bias that scales with it, a ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ...ir.op import GraphOp
from ...ir.ops.constant import ConstantOp
from ...ir.ops.elementwise import AddOp, ReluOp
from ...ir.types import type_of
from ..contract import Pass, Promise
from .layers import Layer, layers_of, placed_before
from .recipe import Recipe

# Scales are limited, so that a channel that hardly counts does not become noise.
_MOST = 1e3


@dataclass(frozen=True)
class EqualizeLayers(Pass):
    """Evens out the channels between layers for which the recipe says so.

    Attributes:
        recipe: Which layers.
    """

    name = "equalize-layers"
    promise = Promise.ROUNDING
    recipe: Recipe = field(default_factory=Recipe)

    def apply(self, module: ModuleOp) -> None:
        """Scales weights and biases."""
        asked = [layer for layer in layers_of(module) if self._asked(layer)]
        known: dict[Operation, Layer] = {layer.op: layer for layer in asked}
        for first in known.values():
            biases, reader = _followed(first.result)
            second = known.get(reader) if reader else None
            if second and second.input is not first.input and _reads_channels(first, second):
                _equalize(first, biases, second)

    def _asked(self, layer: Layer) -> bool:
        options = self.recipe.quantize_of(layer.name)
        return options is not None and options.equalize


def _followed(value: SSAValue) -> tuple[list[GraphOp], Operation | None]:
    """The biases that are added to a value, and the op that reads it after a ReLU at most."""
    biases: list[GraphOp] = []
    while True:
        use = value.get_unique_use()
        op = use.operation if use else None
        if isinstance(op, AddOp) and _is_vector(op.operands[1]):
            biases.append(op)
        elif not isinstance(op, ReluOp):
            return biases, op
        value = op.results[0]


def _is_vector(value: SSAValue) -> bool:
    return isinstance(value.owner, ConstantOp) and type_of(value).rank == 1


def _reads_channels(first: Layer, second: Layer) -> bool:
    """Whether each input of ``second`` at a place is one output of ``first``."""
    return second.segment * second.groups == first.shape[-1]


def _equalize(first: Layer, biases: list[GraphOp], second: Layer) -> None:
    before, after = first.weight(), second.weight()
    channels = before.shape[-1]
    reach = np.abs(before).reshape(-1, channels).max(0)
    grouped = np.abs(after).reshape(-1, second.segment, second.groups, second.outputs)
    read = grouped.max((0, 3)).T.reshape(-1)
    there = (reach > 0) & (read > 0)
    scale = np.ones(channels)
    scale[there] = np.clip(np.sqrt(reach[there] / read[there]), 1 / _MOST, _MOST)
    first.replace_weight(before / scale)
    for op in biases:
        owner = op.operands[1].owner
        assert isinstance(owner, ConstantOp)
        array = owner.value.array
        op.operands[1] = placed_before(op, ConstantOp.of((array / scale).astype(array.dtype)))
    by_group = scale.reshape(second.groups, second.segment).T
    shaped = after.reshape(-1, second.segment, second.groups, second.outputs)
    second.replace_weight((shaped * by_group[None, :, :, None]).reshape(after.shape))
