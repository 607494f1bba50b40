"""Weights that are pruned while they are trained come to the zeros that were asked for."""

from __future__ import annotations

import numpy as np
import pytest
from compress_models import convolution, mlp
from mlc.passes.compress.fading import Fading, whole_weights
from mlc.passes.compress.recipe import Recipe, Sparsify
from mlc.passes.compress.sparsify_weights import SparsifyWeights
from xdsl.dialects.builtin import ModuleOp


def fading_of(module: ModuleOp, options: Sparsify) -> Fading:
    module, recipe = module.clone(), Recipe(sparsify=options)
    whole = whole_weights(module, recipe)
    SparsifyWeights(recipe).apply(module)
    return Fading.of(module, recipe, whole)


@pytest.mark.parametrize("module", [mlp(), convolution(groups=2)], ids=["mlp", "convolution"])
@pytest.mark.parametrize("pattern", ["unstructured", "4x1", "2:4"])
def test_zeros_come_by_and_by(module: ModuleOp, pattern: str):
    fading = fading_of(module, Sparsify(0.5, pattern))
    scores = [np.abs(whole) for whole in fading.whole]
    assert all(mask.all() for mask in fading.masks(scores, 0.0))
    half = fading.masks(scores, 0.5)
    end = fading.masks([s * h for s, h in zip(scores, half, strict=True)], 1.0)
    for layer, stays, ends in zip(fading.layers, half, end, strict=True):
        assert stays.mean() == pytest.approx(0.75, abs=0.01)
        assert not (ends & ~stays).any()
        np.testing.assert_array_equal(ends, layer.weight() != 0)


@pytest.mark.parametrize("pattern", ["unstructured", "4x1"])
def test_layers_are_compared_where_they_share_a_sparsity(pattern: str):
    fading = fading_of(mlp(), Sparsify(0.5, pattern, scope="model"))
    least, *others = [np.abs(whole) for whole in fading.whole]
    masks = fading.masks([least * 1e-6, *others], 0.5)
    assert all(mask.all() for mask in masks[1:])
    assert (~masks[0]).sum() == pytest.approx(0.25 * sum(m.size for m in masks), rel=0.02)
