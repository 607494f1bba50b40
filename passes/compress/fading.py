"""Weights that are pruned step by step while they are trained.

The schedule of Zhu and Gupta, "To prune, or not to prune", 2017, is the caller's; which weights go
is decided anew at each step, by scores that training gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.op import GraphOp
from .layers import Layer, layers_of
from .masks import block_sums, pruned
from .recipe import Recipe, Sparsify

# The weights of layers as they were before they were pruned.
Whole = Mapping[GraphOp, np.ndarray]


@dataclass(frozen=True)
class Fading:
    """How pruned weights come to their zeros, if they begin as they were.

    Attributes:
        layers: What reads them, each weight once.
        asked: What the recipe says of each.
        zeros: The share of zeros that each has.
        whole: The weights before they were pruned.
    """

    layers: Sequence[Layer]
    asked: Sequence[Sparsify]
    zeros: Sequence[float]
    whole: Sequence[np.ndarray]

    @staticmethod
    def of(module: ModuleOp, recipe: Recipe, whole: Whole) -> Fading:
        """Of the layers of a pruned module that are known whole."""
        found: dict[SSAValue, Layer] = {}
        for layer in layers_of(module):
            if layer.op in whole:
                found.setdefault(layer.op.operands[1], layer)
        layers = list(found.values())
        return Fading(
            layers,
            [o for layer in layers if (o := recipe.sparsify_of(layer.name))],
            [float((layer.weight() == 0).mean()) for layer in layers],
            [whole[layer.op] for layer in layers],
        )

    def by_weight(self) -> dict[SSAValue, np.ndarray]:
        """The whole weights by what they have become."""
        weights = [layer.op.operands[1] for layer in self.layers]
        return dict(zip(weights, self.whole, strict=True))

    def masks(self, scores: Sequence[np.ndarray], share: float) -> list[np.ndarray]:
        """Where each weight stays when a ``share`` of the zeros is there; the least scores go.

        Layers whose sparsity was asked for all together are compared with each other.
        """
        pairs = zip(self.layers, scores, strict=True)
        matrices = [layer.as_matrices(score) for layer, score in pairs]
        options = self._options(matrices, share)
        return [
            layer.as_weight(np.stack([~pruned(matrix, o) for matrix in group]))
            for layer, group, o in zip(self.layers, matrices, options, strict=True)
        ]

    def _options(self, matrices: Sequence[np.ndarray], share: float) -> list[Sparsify]:
        """What is asked of each layer when a ``share`` of the zeros is there."""
        found = [_part(o, zeros, share) for o, zeros in zip(self.asked, self.zeros, strict=True)]
        for together in {o for o in self.asked if o.scope != "layer"}:
            members = [k for k, o in enumerate(self.asked) if o == together]
            scores = [_block_scores(matrices[k], together) for k in members]
            count = sum(found[k].sparsity * s.size for k, s in zip(members, scores, strict=True))
            threshold = _highest_of_least(np.concatenate(scores), round(count))
            for k, s in zip(members, scores, strict=True):
                found[k] = replace(together, sparsity=float((s <= threshold).mean()))
        return found


def _part(options: Sparsify, zeros: float, share: float) -> Sparsify:
    if not options.n_of_m:
        return replace(options, sparsity=zeros * share)
    stay, of = options.n_of_m
    return replace(options, pattern=f"{of - round(share * (of - stay))}:{of}")


def _block_scores(matrices: np.ndarray, options: Sparsify) -> np.ndarray:
    outputs, inputs = options.block
    return np.stack([block_sums(matrix, inputs, outputs) for matrix in matrices]).reshape(-1)


def _highest_of_least(scores: np.ndarray, count: int) -> float:
    return float(np.partition(scores, count - 1)[count - 1]) if count else -np.inf


def whole_weights(module: ModuleOp, recipe: Recipe) -> Whole:
    """What is about to be pruned."""
    layers = [layer for layer in layers_of(module) if recipe.sparsify_of(layer.name)]
    return {layer.op: layer.weight() for layer in layers}
