"""Outlying channels of a layer's input become tamer, and its weight larger there, by the inverse.

    %y = "mlc.matmul"(%x, %w)        ->      %t = "mlc.mul"(%x, %inverse)
                                             %y = "mlc.matmul"(%t, %scaled)

After Xiao et al., "SmoothQuant", 2022, with a strength of which 0 changes nothing. What is
quantized next has one scale for all channels; weights keep one for each output, and take it better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.ops.constant import ConstantOp
from ...ir.ops.elementwise import MulOp
from ...ir.ops.matmul import MatmulOp
from ...ir.types import type_of
from ..contract import Pass, Promise
from .hessian import moments_of
from .layers import Layer, layers_of
from .recipe import Recipe
from .samples import Samples

_TINY = 1e-5


@dataclass(frozen=True)
class SmoothInputs(Pass):
    """Evens out what matrix products read for which the recipe names a static scheme.

    Products that read one value go on reading one.

    Attributes:
        recipe: Which layers, and how much.
        samples: Calibration data.
    """

    name = "smooth-inputs"
    promise = Promise.ROUNDING
    recipe: Recipe = field(default_factory=Recipe)
    samples: Samples | None = None

    def apply(self, module: ModuleOp) -> None:
        """Scales inputs and weights."""
        shared: dict[tuple[SSAValue, float], list[Layer]] = {}
        for layer in layers_of(module):
            strength = self._strength(layer)
            if strength and isinstance(layer.op, MatmulOp):
                shared.setdefault((layer.input, strength), []).append(layer)
        first = [layers[0] for layers in shared.values()]
        if not first or self.samples is None:
            return
        moments = moments_of(module, first, self.samples)
        for (_, strength), layers in shared.items():
            _smooth(layers, moments[layers[0]].largest[0], strength)

    def _strength(self, layer: Layer) -> float:
        options = self.recipe.quantize_of(layer.name)
        return options.smooth if options and options.scheme == "static" else 0.0


def _smooth(layers: Sequence[Layer], reach: np.ndarray, strength: float) -> None:
    reach = np.maximum(reach, _TINY)
    rescale(layers, (reach / np.exp(np.log(reach).mean())) ** strength)


def rescale(layers: Sequence[Layer], scale: np.ndarray) -> None:
    """Divides the input that all ``layers`` read by ``scale``, and multiplies their weights."""
    weights = [layer.weight() for layer in layers]
    dtype = type_of(layers[0].input).dtype
    inverse = layers[0].add(ConstantOp.of((1 / scale).astype(dtype)))
    tame = layers[0].add(MulOp(layers[0].input, inverse))
    for layer, weight in zip(layers, weights, strict=True):
        layer.use(tame, 0)
        layer.replace_weight(weight * scale[:, None])
