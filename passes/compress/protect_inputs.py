"""Inputs that are large get larger weights before rounding, so that these lose less.

    %y = "mlc.matmul"(%x, %w)        ->      %t = "mlc.mul"(%x, %inverse)
                                             %y = "mlc.matmul"(%t, %scaled)

After Lin et al., "AWQ: Activation-aware weight quantization", 2023: the power of an input's size by
which its weights grow is searched for what loses least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.ops.matmul import MatmulOp
from ..contract import Pass, Promise
from .grid import Levels, best_range
from .hessian import Moments, moments_of
from .layers import Layer, layers_of
from .recipe import Quantize, Recipe
from .report import energy
from .rounding import chunks_of, nearest
from .samples import Samples
from .smooth_inputs import rescale

_POWERS = np.linspace(0, 1, 11)
_TINY = 1e-5

Asked = tuple[Layer, Quantize]


@dataclass(frozen=True)
class ProtectInputs(Pass):
    """Scales what matrix products read whose weights the recipe rounds by ``awq``.

    Products that read one value go on reading one.

    Attributes:
        recipe: Which layers.
        samples: Calibration data.
    """

    name = "protect-inputs"
    promise = Promise.ROUNDING
    recipe: Recipe = field(default_factory=Recipe)
    samples: Samples | None = None

    def apply(self, module: ModuleOp) -> None:
        """Scales inputs and weights."""
        shared: dict[SSAValue, list[Asked]] = {}
        for layer in layers_of(module):
            options = self.recipe.quantize_of(layer.name)
            if options and options.method == "awq" and isinstance(layer.op, MatmulOp):
                shared.setdefault(layer.input, []).append((layer, options))
        if not shared or self.samples is None:
            return
        moments = moments_of(module, [asked[0][0] for asked in shared.values()], self.samples)
        for asked in shared.values():
            _protect(asked, moments[asked[0][0]])


def _protect(asked: Sequence[Asked], moments: Moments) -> None:
    hessian = moments.hessian(0)
    size = np.sqrt(np.maximum(np.diagonal(hessian), _TINY))
    size /= np.exp(np.log(size).mean())
    tried = [sum(_noise(*a, hessian, size**power) for a in asked) for power in _POWERS]
    power = float(_POWERS[int(np.argmin(tried))])
    if power:
        rescale([layer for layer, _ in asked], size**power)


def _noise(layer: Layer, options: Quantize, hessian: np.ndarray, scale: np.ndarray) -> float:
    """What rounding does to the result when the weight has grown by ``scale``."""
    weight, levels = layer.matrices()[0], Levels(options.bits, options.symmetric)
    chunks = chunks_of(layer.inputs, layer.segment, options.group)
    rounded = nearest(weight * scale[:, None], chunks, lambda part, _: best_range(part, levels))
    return energy(rounded.values(chunks) / scale[:, None] - weight, hessian)
