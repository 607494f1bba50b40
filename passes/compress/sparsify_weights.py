"""Weights become constants with zeros, which kernels detect and skip.

%w = "mlc.constant"()  0.1 -2.0 0.3      ->     %w = "mlc.constant"()  0.0 -2.0 0.0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from .hessian import Moments
from .layers import Layer
from .masks import block_sums, misfit, pruned
from .recipe import Sparsify
from .report import Step, sqnr
from .sensitivity import sparsities
from .sparse_gpt import sparse_gpt
from .weight_pass import WeightPass


@dataclass(frozen=True)
class SparsifyWeights(WeightPass[Sparsify]):
    """Prunes the weights of all layers that the recipe names; ``samples`` tell what matters."""

    name = "sparsify-weights"

    def asked(self, layer: str) -> Sparsify | None:
        """As the recipe says."""
        return self.recipe.sparsify_of(layer)

    def apply(self, module: ModuleOp) -> None:
        """Puts zeros into weights."""
        fine: list[tuple[Layer, Sparsify]] = []
        for layer, options in self.todo(module):
            if why := misfit(layer.segment, layer.outputs, options):
                self.refuse(layer.name, options, why)
            else:
                fine.append((layer, options))
        moments = self.moments(module, [layer for layer, o in fine if uses_data(o)])
        chosen = _by_sensitivity(_by_threshold(fine), moments)
        for layer, options in self.report.each("prune weights", chosen):
            self.report.add(sparsify_layer(layer, options, moments.get(layer)))


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
        options.text(),
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
