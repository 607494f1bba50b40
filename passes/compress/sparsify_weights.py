"""Weights become constants with zeros, which kernels detect and skip.

%w = "mlc.constant"()  0.1 -2.0 0.3      ->     %w = "mlc.constant"()  0.0 -2.0 0.0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from ..contract import Pass, Promise
from .hessian import Moments, moments_of
from .layers import Layer, encoded_layers, layers_of
from .masks import block_sums, misfit, pruned
from .recipe import Recipe, Sparsify
from .report import ENCODED, Report, Step, sqnr
from .samples import Samples
from .sensitivity import sparsities
from .sparse_gpt import sparse_gpt


@dataclass(frozen=True)
class SparsifyWeights(Pass):
    """Prunes the weights of all layers that the recipe names.

    Attributes:
        recipe: Which layers, and how.
        samples: Calibration data, which Wanda and SparseGPT need.
        report: Is told about every layer.
    """

    name = "sparsify-weights"
    promise = Promise.LOSSY
    recipe: Recipe = field(default_factory=Recipe)
    samples: Samples | None = None
    report: Report = field(default_factory=Report)

    def apply(self, module: ModuleOp) -> None:
        """Puts zeros into weights."""
        todo = [(layer, o) for layer in layers_of(module) if (o := self._asked(layer))]
        fine = [(layer, o) for layer, o in todo if not _problem(layer, o)]
        for layer, options in todo:
            if (layer, options) not in fine:
                self.report.add(_refused(layer, options))
        moments = self._moments(module, [layer for layer, o in fine if uses_data(o)])
        chosen = _by_sensitivity(_by_threshold(fine), moments)
        for layer, options in self.report.each("prune weights", chosen):
            self.report.add(sparsify_layer(layer, options, moments.get(layer)))

        for name in encoded_layers(module):
            if options := self.recipe.sparsify_of(name):
                self.report.add(Step(name, _text(options), "nothing", ENCODED))

    def _asked(self, layer: Layer) -> Sparsify | None:
        return self.recipe.sparsify_of(layer.name)

    def _moments(self, module: ModuleOp, layers: list[Layer]) -> dict[Layer, Moments]:
        return moments_of(module, layers, self.samples) if self.samples and layers else {}


def sparsify_layer(layer: Layer, options: Sparsify, moments: Moments | None) -> Step:
    """Prunes the weight of one layer, and says how well."""
    before = layer.matrices()
    after = np.stack(
        [_prune(matrix, options, moments, group) for group, matrix in enumerate(before)]
    )
    layer.replace_weight(layer.as_weight(after))
    hessian = moments.hessian(0) if moments else None
    kept = int(np.count_nonzero(after))
    return Step(
        layer.name,
        _text(options),
        f"{1 - kept / after.size:.1%} zeros by {options.method}",
        sqnr=sqnr(before[0], after[0], hessian),
    )


def _prune(
    matrix: np.ndarray, options: Sparsify, moments: Moments | None, group: int
) -> np.ndarray:
    if moments is None or options.method == "magnitude":
        return np.where(pruned(np.abs(matrix), options), 0, matrix)
    if options.method == "sparsegpt":
        return sparse_gpt(matrix, moments.hessian(group), options)
    norms = np.sqrt(np.diagonal(moments.products[group]))
    return np.where(_wanda(np.abs(matrix) * norms[:, None], options), 0, matrix)


def _wanda(scores: np.ndarray, options: Sparsify) -> np.ndarray:
    """Each output on its own, or each row of blocks: scores of two outputs do not compare."""
    if options.n_of_m:
        return pruned(scores, options)
    width = options.block[0]
    columns = range(0, scores.shape[1], width)
    return np.concatenate([pruned(scores[:, c : c + width], options) for c in columns], 1)


def uses_data(options: Sparsify) -> bool:
    """Whether the inputs of a layer tell which weights are pruned, or how many."""
    return options.needs_data() or options.scope == "sensitivity"


def _by_sensitivity(
    layers: Sequence[tuple[Layer, Sparsify]], moments: dict[Layer, Moments]
) -> list[tuple[Layer, Sparsify]]:
    """With the sparsity of each layer that loses least where one was asked for all together."""
    shared = [(layer, o) for layer, o in layers if o.scope == "sensitivity"]
    shares = sparsities(shared, moments)
    found = {layer: share for (layer, _), share in zip(shared, shares, strict=True)}
    return [(layer, replace(o, sparsity=found.get(layer, o.sparsity))) for layer, o in layers]


def _by_threshold(layers: Sequence[tuple[Layer, Sparsify]]) -> list[tuple[Layer, Sparsify]]:
    """With the sparsity of each layer where one was asked for the model as a whole.

    One threshold for all weights, each in units of its layer's spread, gives every layer a share.
    """
    kinds = {o for _, o in layers if o.scope == "model"}
    thresholds = {o: _threshold([layer for layer, p in layers if p == o], o) for o in kinds}
    return [
        (layer, _with_share(layer, o, thresholds[o]) if o in kinds else o) for layer, o in layers
    ]


def _threshold(layers: Sequence[Layer], options: Sparsify) -> float:
    scores = np.concatenate([_scores(layer, options).reshape(-1) for layer in layers])
    return float(np.quantile(scores, options.sparsity))


def _with_share(layer: Layer, options: Sparsify, threshold: float) -> Sparsify:
    return replace(options, sparsity=float((_scores(layer, options) < threshold).mean()))


def _scores(layer: Layer, options: Sparsify) -> np.ndarray:
    size = np.abs(layer.matrices())
    outputs, inputs = options.block
    sums = np.stack([block_sums(matrix, inputs, outputs) for matrix in size])
    return sums / (float(size.std()) or 1.0)


def _problem(layer: Layer, options: Sparsify) -> str:
    return misfit(layer.segment, layer.outputs, options)


def _refused(layer: Layer, options: Sparsify) -> Step:
    return Step(layer.name, _text(options), "nothing", _problem(layer, options))


def _text(options: Sparsify) -> str:
    share = "" if options.n_of_m else f" {options.sparsity:.0%}"
    return f"sparsify{share} {options.pattern}"
