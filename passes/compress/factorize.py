"""A weight becomes two thin factors.

    %y = "mlc.matmul"(%x, %w)   [768, 768]   ->   %h = "mlc.matmul"(%x, %a)   [768, 192]
                                                  %y = "mlc.matmul"(%h, %b)   [192, 768]

A convolution becomes one with fewer filters and a 1x1 convolution. Layers where this would not
take fewer multiplications are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from ...ir.ops.constant import ConstantOp
from ...ir.ops.conv import ConvOp
from ...ir.types import type_of
from ..contract import Pass, Promise
from ..rewrite import again
from .hessian import Moments, moments_of
from .layers import Layer, layers_of
from .recipe import LowRank, Recipe
from .report import Report, Step, sqnr
from .samples import Samples


@dataclass(frozen=True)
class FactorizeWeights(Pass):
    """Factorizes the weights of all layers that the recipe names.

    Attributes:
        recipe: Which layers, and to which rank.
        samples: Calibration data, by which the method ``activation`` judges.
        report: Is told about every layer.
    """

    name = "factorize-weights"
    promise = Promise.LOSSY
    recipe: Recipe = field(default_factory=Recipe)
    samples: Samples | None = None
    report: Report = field(default_factory=Report)

    def apply(self, module: ModuleOp) -> None:
        """Puts two layers in the place of one."""
        todo = [(layer, o) for layer in layers_of(module) if (o := self._asked(layer))]
        fine = [(layer, o) for layer, o in todo if not refusal(layer, o)]
        moments = self._moments(module, [layer for layer, o in fine if o.method != "svd"])
        for layer, options in self.report.each("factorize weights", todo):
            why = refusal(layer, options)
            self.report.add(
                Step(layer.name, _text(options), "nothing", why)
                if why
                else factorize_layer(layer, options, moments.get(layer))
            )

    def _asked(self, layer: Layer) -> LowRank | None:
        return self.recipe.low_rank_of(layer.name)

    def _moments(self, module: ModuleOp, layers: list[Layer]) -> dict[Layer, Moments]:
        return moments_of(module, layers, self.samples) if self.samples and layers else {}


def rank_of(layer: Layer, options: LowRank) -> int:
    """The rank that ``options`` ask for."""
    return max(1, round(options.ratio * min(layer.inputs, layer.outputs)))


def refusal(layer: Layer, options: LowRank) -> str:
    """Why a layer is left alone; empty where it is not."""
    if layer.groups != 1:
        return "its channels are in groups that do not mix"
    rank = rank_of(layer, options)
    before, after = layer.inputs * layer.outputs, rank * (layer.inputs + layer.outputs)
    if after < before:
        return ""
    return f"rank {rank} takes {after} multiplications a row, the whole matrix {before}"


def factors(
    weight: np.ndarray, rank: int, hessian: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The best ``[inputs, rank]`` and ``[rank, outputs]``.

    Best for the weight itself, or with a Hessian for the layer's output: in the coordinates where
    the inputs are white, both are the same.
    """
    if hessian is None:
        return _halves(weight, rank)
    root = np.linalg.cholesky(hessian)
    left, right = _halves(root.T @ weight, rank)
    return np.linalg.solve(root.T, left), right


def factorize_layer(layer: Layer, options: LowRank, moments: Moments | None) -> Step:
    """Puts two ops in the place of one, and says how close they come."""
    rank = rank_of(layer, options)
    matrix = layer.matrices()[0]
    hessian = moments.hessian(0) if moments else None
    left, right = factors(matrix, rank, hessian)
    _place(layer, left, right)
    return Step(
        layer.name,
        _text(options),
        f"rank {rank} of {min(matrix.shape)} by {'activation' if moments else 'svd'}",
        sqnr=sqnr(matrix, left @ right, hessian),
    )


def _halves(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    u, sizes, v = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(sizes[:rank])
    return u[:, :rank] * root, root[:, None] * v[:rank]


def _place(layer: Layer, left: np.ndarray, right: np.ndarray) -> None:
    dtype = type_of(layer.op.operands[1]).dtype
    first = layer.add(ConstantOp.of(layer.as_weight(left[None], len(left[0])).astype(dtype)))
    thin = layer.add(again(layer.op, layer.input, first))
    layer.use(thin, 0)
    kernel = [1] * (len(layer.shape) - 2)
    layer.use(layer.add(ConstantOp.of(right.reshape(*kernel, *right.shape).astype(dtype))))
    if isinstance(layer.op, ConvOp):
        _make_pointwise(layer, layer.op)


def _make_pointwise(layer: Layer, op: ConvOp) -> None:
    """The convolution that sees one place at a time, of the operands that ``op`` has now."""
    ones = (1,) * (len(layer.shape) - 2)
    pointwise = again(op, *op.operands, strides=ones, dilations=ones, pads=(0,) * 2 * len(ones))
    layer.become(layer.add(pointwise))


def _text(options: LowRank) -> str:
    return f"low rank {options.ratio:.0%}"
