"""Sparsity and bits shared out among layers by what they lose; options of rounding beside these."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compress_models import batches, convolution, mlp, random
from mlc.ir.interpreter import interpret
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.passes.compress.allocate import Curve, shared_out
from mlc.passes.compress.compress import check_recipe, compress_passes, prepare_passes
from mlc.passes.compress.layers import layers_of
from mlc.passes.compress.recipe import Quantize, Recipe, Sparsify
from mlc.passes.compress.report import Report
from mlc.passes.compress.samples import Samples
from mlc.passes.manager import difference, run_passes
from xdsl.dialects.builtin import ModuleOp


def compressed(module: ModuleOp, recipe: Recipe, data: list[np.ndarray] | None = None) -> None:
    samples = Samples(data, module) if data else None
    check_recipe(recipe, module, samples)
    run_passes(module, prepare_passes(recipe))
    run_passes(module, compress_passes(recipe, samples, Report()))


def uneven() -> ModuleOp:
    """A first layer that says hardly anything with most of its weights, a second that does."""
    module = mlp()
    first = layers_of(module)[0]
    weight = first.weight()
    first.replace_weight(np.where(np.abs(weight) > 1.5, weight, 0.01 * weight))
    return module


def error(
    recipe: Recipe, data: list[np.ndarray] | None = None, model: ModuleOp | None = None
) -> float:
    module, (x,) = model or uneven(), batches(1, 128)
    wanted = interpret(module, [x])
    compressed(module, recipe, data)
    return difference(wanted[0], interpret(module, [x])[0])


def test_a_budget_goes_where_it_helps():
    flat = Curve(np.array([1.0, 2.0, 4.0]), np.array([0.11, 0.105, 0.1]))
    steep = Curve(np.array([1.0, 2.0, 4.0]), np.array([10.0, 1.0, 0.1]))
    assert shared_out([flat, steep], 5) == [0, 2]
    assert shared_out([flat, steep], 3) == [0, 1]
    assert shared_out([flat, steep], 8) == [2, 2]
    assert shared_out([flat, steep], 1) == [0, 0]


@pytest.mark.parametrize("data", [None, batches()], ids=["no data", "data"])
def test_sparsity_by_sensitivity(data: list[np.ndarray] | None):
    method = "sparsegpt" if data else "magnitude"
    options = Sparsify(0.6, method=method, scope="sensitivity")
    module = uneven()
    compressed(module, Recipe(sparsify=options), data)
    shares = [float((layer.weight() == 0).mean()) for layer in layers_of(module)]
    assert 0.72 > shares[0] > shares[1] + 0.15
    assert np.mean(shares) == pytest.approx(0.6, abs=0.02)
    even = error(Recipe(sparsify=replace(options, scope="layer")), data)
    assert error(Recipe(sparsify=options), data) < 0.9 * even


def test_bits_by_sensitivity():
    module = mlp()
    second = layers_of(module)[1]
    weight = second.weight()
    second.replace_weight(np.where(np.arange(48)[:, None] % 2, 0.3, 0.0) + 0 * weight)
    options = Quantize(average=4.0, group=16, method="nearest")
    compressed(module, Recipe(options))
    stored = [op.operand_type(0).dtype.name for op in module.walk() if isinstance(op, DequantizeOp)]
    assert stored == ["uint4", "uint2"]


def test_awq_beats_nearest_where_inputs_differ():
    nearest = Quantize(bits=4, group=16, method="nearest")
    plain = error(Recipe(nearest), batches(), mlp())
    assert error(Recipe(replace(nearest, method="awq")), batches(), mlp()) < 0.9 * plain


@pytest.mark.parametrize("groups", [1, 4])
def test_bias_correction_keeps_means(groups: int):
    data = [np.abs(random(2, 7, 7, 16, seed=k)) for k in range(8)]
    options = Quantize(bits=2, group=8, method="nearest")

    def mean_error(options: Quantize) -> float:
        module = convolution(groups)
        wanted = [interpret(module, [x])[0] for x in data]
        compressed(module, Recipe(options), data)
        got = [interpret(module, [x])[0] for x in data]
        return float(np.abs(np.mean(got, (0, 1, 2, 3)) - np.mean(wanted, (0, 1, 2, 3))).mean())

    assert mean_error(replace(options, correct_bias=True)) < 0.2 * mean_error(options)


def test_equalizing_changes_nothing_but_rounding():
    module, (x,) = mlp(), batches(1)
    tilt = np.exp(random(48, seed=9))
    first, second = layers_of(module)
    first.replace_weight(first.weight() * tilt)
    second.replace_weight(second.weight() / tilt[:, None])
    wanted = interpret(module, [x])[0]
    plain = Quantize(group=0, method="nearest")
    run_passes(module, prepare_passes(Recipe(replace(plain, equalize=True))))
    assert 0 < difference(wanted, interpret(module, [x])[0]) < 1e-5
    reaches = [np.abs(w).max(axis) for w, axis in zip(weights(module), (0, 1), strict=True)]
    np.testing.assert_allclose(reaches[0], reaches[1], rtol=1e-4)


def weights(module: ModuleOp) -> list[np.ndarray]:
    return [layer.weight() for layer in layers_of(module)]


def test_equalizing_leaves_alone_what_is_not_asked_for():
    module = mlp()
    before = [op.value for op in module.walk() if isinstance(op, ConstantOp)]
    run_passes(module, prepare_passes(Recipe(Quantize())))
    assert [op.value for op in module.walk() if isinstance(op, ConstantOp)] == before
