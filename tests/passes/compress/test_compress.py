"""Compressed graphs mean what the methods say, and good methods beat plain ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compress_models import batches, convolution, mlp, random
from mlc.ir.interpreter import interpret
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.passes.compress.baseline import span
from mlc.passes.compress.compress import check_recipe, compress_passes
from mlc.passes.compress.costs import stored_bytes
from mlc.passes.compress.layers import layers_of
from mlc.passes.compress.ranges import Histogram, grid_of
from mlc.passes.compress.recipe import LowRank, Override, Quantize, Recipe, RecipeError, Sparsify
from mlc.passes.compress.report import Report
from mlc.passes.compress.samples import Samples
from mlc.passes.compress.smooth_inputs import SmoothInputs
from mlc.passes.manager import difference, run_passes
from xdsl.dialects.builtin import ModuleOp


def compressed(module: ModuleOp, recipe: Recipe, data: list[np.ndarray] | None = None) -> Report:
    samples = Samples(data, module) if data else None
    report = Report()
    check_recipe(recipe, module, samples)
    run_passes(module, compress_passes(recipe, samples, report))
    return report


def error_of(recipe: Recipe, data: list[np.ndarray] | None = None) -> float:
    """How far the compressed perceptron is from the float one, on inputs not seen before."""
    module, (x,) = mlp(), batches(1, 128)
    wanted = interpret(module, [x])
    compressed(module, recipe, data)
    return difference(wanted[0], interpret(module, [x])[0])


def decoded(module: ModuleOp) -> list[DequantizeOp]:
    return [op for op in module.walk() if isinstance(op, DequantizeOp)]


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        (Quantize(), 0.01),
        (Quantize(symmetric=True), 0.01),
        (Quantize(bits=4, group=16), 0.15),
        (Quantize(bits=4, group=20), 0.15),
        (Quantize(bits=4, group=16, symmetric=True), 0.2),
        (Quantize(bits=2, group=8), 0.6),
        (Quantize(bits=2, group=8, symmetric=True), 0.9),
    ],
)
@pytest.mark.parametrize("method", ["nearest", "hqq", "gptq"])
def test_weights_of_few_bits(options: Quantize, bound: float, method: str):
    options = replace(options, method=method)
    assert 0 < error_of(Recipe(options), batches() if method == "gptq" else None) < bound


def test_the_graph_holds_codes_of_the_bits_asked_for():
    module = mlp()
    weights = [layer.weight() for layer in layers_of(module)]
    report = compressed(module, Recipe(Quantize(bits=4, group=16, method="nearest")))
    products = [op for op in module.walk() if isinstance(op, MatmulOp)]
    for op, weight, product in zip(decoded(module), weights, products, strict=True):
        assert op.operand_type(0).dtype.name == "uint4"
        assert op.operand_type(1).shape == (weight.shape[0] // 16, weight.shape[1])
        arrays = [o.owner.value.array for o in op.operands if isinstance(o.owner, ConstantOp)]
        got = op.reference(*arrays)
        assert np.abs(got - weight).max() <= arrays[1].max() * 0.51
        stored = weight.size // 2 + weight.size // 16 * 2 + weight.size // 32
        assert stored_bytes(span(product.x, product.result)) == stored
    assert [entry.layer for entry in report.steps] == ["body/first", "head"]


def test_gptq_beats_nearest():
    options = Quantize(bits=4, group=16)
    gptq = error_of(Recipe(options), batches())
    assert gptq < 0.8 * error_of(Recipe(Quantize(bits=4, group=16, method="nearest")))


@pytest.mark.parametrize("groups", [1, 4, 16])
@pytest.mark.parametrize("options", [Quantize(), Quantize(bits=4, group=8)])
def test_convolutions_of_few_bits(groups: int, options: Quantize):
    module, x = convolution(groups), random(2, 7, 7, 16)
    wanted = interpret(module, [x])[0]
    compressed(module, Recipe(options), [random(2, 7, 7, 16, seed=k) for k in range(3)])
    assert difference(wanted, interpret(module, [x])[0]) < 0.2


@pytest.mark.parametrize("groups", [1, 4])
def test_rows_times_matrices_are_the_layer(groups: int):
    module, x = convolution(groups), random(2, 7, 7, 16)
    (layer,) = layers_of(module)
    products = layer.rows(x) @ layer.matrices()
    got = np.moveaxis(products, 0, -2).reshape(2, 4, 4, 16)
    np.testing.assert_allclose(got, interpret(module, [x])[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "4x1", "1x4", "16x1"])
def test_pruned_weights(method: str, pattern: str):
    module, options = mlp(), Sparsify(0.5, pattern, method)
    compressed(module, Recipe(sparsify=options), batches())
    for layer in layers_of(module):
        zero = layer.weight().T == 0
        assert zero.mean() == pytest.approx(0.5, abs=0.05)
        if options.n_of_m:
            assert (zero.reshape(len(zero), -1, 4).sum(2) == 2).all()
        rows, columns = options.block
        blocks = zero.reshape(zero.shape[0] // rows, rows, -1, columns).mean((1, 3))
        assert set(np.unique(blocks)) <= {0, 1}


def test_better_pruning_is_better():
    plain, wanda, best = (
        error_of(Recipe(sparsify=Sparsify(0.5, method=m)), batches())
        for m in ("magnitude", "wanda", "sparsegpt")
    )
    assert best < wanda < plain


def test_sparsity_of_the_model_as_a_whole():
    module = mlp()
    compressed(module, Recipe(sparsify=Sparsify(0.75, scope="model")))
    zeros = [layer.weight() == 0 for layer in layers_of(module)]
    assert np.concatenate([z.reshape(-1) for z in zeros]).mean() == pytest.approx(0.75, abs=0.01)


def test_quantization_keeps_zeros():
    module = mlp()
    recipe = Recipe(Quantize(bits=4, group=16), Sparsify(0.5, method="sparsegpt"))
    compressed(module, recipe, batches())
    for op in decoded(module):
        arrays = [o.owner.value.array for o in op.operands if isinstance(o.owner, ConstantOp)]
        assert (op.reference(*arrays) == 0).mean() >= 0.5


def test_low_rank_is_two_products():
    module = mlp(64, 64, 64)
    weight = layers_of(module)[0].weight()
    report = compressed(module, Recipe(low_rank=LowRank(0.25)))
    products = [op for op in module.walk() if isinstance(op, MatmulOp)]
    assert len(products) == 4
    left, right = (layer.weight() for layer in layers_of(module)[:2])
    u, s, v = np.linalg.svd(weight)
    np.testing.assert_allclose(left @ right, u[:, :16] * s[:16] @ v[:16], atol=1e-4)
    assert report.steps[0].done == "rank 16 of 64 by svd"


def test_low_rank_that_knows_the_inputs_is_better():
    plain, aware = (
        error_of(Recipe(low_rank=LowRank(0.5, method)), batches())
        for method in ("svd", "activation")
    )
    assert aware < plain


def test_low_rank_is_refused_where_it_does_not_pay():
    module = mlp(32, 32, 32)
    report = compressed(module, Recipe(low_rank=LowRank(0.5)))
    assert [entry.done for entry in report.steps] == ["nothing", "nothing"]
    assert "1.00x the time of the whole weight" in report.steps[0].why
    assert len(layers_of(module)) == 2


def test_low_rank_convolutions():
    module, x = convolution(), random(2, 7, 7, 16)
    wanted = interpret(module, [x])[0]
    compressed(module, Recipe(low_rank=LowRank(0.8)))
    got = interpret(module, [x])[0]
    assert len(layers_of(module)) == 2
    assert 0 < difference(wanted, got) < 0.5


def test_layers_by_name():
    module = mlp()
    recipe = Recipe(Quantize(), layers=(Override("body/*", quantize=False),))
    report = compressed(module, recipe)
    assert [entry.layer for entry in report.steps] == ["head"]


def test_everything_wrong_is_said_at_once():
    bad = [random(4, 32), random(4, 31), np.full((4, 32), np.nan, np.float32)]
    recipe = Recipe(Quantize(bits=5), layers=(Override("tail*", quantize=False),))
    with pytest.raises(RecipeError) as caught:
        compressed(mlp(), recipe, bad)
    text = str(caught.value)
    assert len(caught.value.problems) == 4
    for part in ("bits is 5", "'tail*'; the layers are body/first, head", "batch 1", "batch 2"):
        assert part in text


def test_missing_calibration():
    with pytest.raises(RecipeError, match="needs calibration data"):
        compressed(mlp(), Recipe(sparsify=Sparsify(method="wanda")))


def test_a_pattern_that_fits_no_layer():
    with pytest.raises(RecipeError, match=r"fits no layer.*31 inputs"):
        compressed(mlp(31, 31, 31), Recipe(sparsify=Sparsify(pattern="2:4")))


def test_calibration_by_name_is_cut_into_batches():
    module = mlp()
    samples = Samples({"x": random(20, 32)}, module)
    assert [len(batch[0]) for batch in samples] == [8, 8, 4]
    assert Samples({"z": random(20, 32)}, module).problems()


@pytest.mark.parametrize("range", ["min-max", "percentile", "mse", "entropy"])
def test_static_activations(range: str):
    assert 0 < error_of(Recipe(Quantize(scheme="static", range=range)), batches()) < 0.1


def test_dynamic_activations():
    assert 0 < error_of(Recipe(Quantize(scheme="dynamic", method="nearest"))) < 0.02


@pytest.mark.parametrize("scheme", ["static", "dynamic"])
def test_convolutions_of_integers(scheme: str):
    module, x = convolution(4), random(2, 7, 7, 16)
    wanted = interpret(module, [x])[0]
    compressed(module, Recipe(Quantize(scheme=scheme)), [x])
    assert 0 < difference(wanted, interpret(module, [x])[0]) < 0.02


def test_integer_products_read_codes_on_both_sides():
    module = mlp()
    compressed(module, Recipe.of("int8"), batches())
    for op in module.walk():
        if isinstance(op, MatmulOp):
            kinds = [type(o.owner) for o in op.operands]
            assert kinds == [DequantizeOp, DequantizeOp]
    stored = [op.operand_type(0).dtype.name for op in decoded(module)]
    assert stored == ["uint8", "int8", "uint8", "int8"]


def test_ranges_forget_rare_outliers():
    seen = Histogram()
    for part in np.array_split(np.clip(random(100_000), -4, 4), 7):
        seen.add(part)
    seen.add(np.array([40.0]))
    scales = {m: float(grid_of(seen, m).scale) for m in ("min-max", "percentile", "mse", "entropy")}
    assert scales["min-max"] == pytest.approx(44 / 255, rel=0.02)
    assert max(scales["percentile"], scales["entropy"]) < scales["min-max"] / 2
    assert scales["mse"] < scales["min-max"]
    assert seen.counts.sum() == 100_001


def test_a_value_never_seen_has_a_range():
    grid = grid_of(Histogram(), "mse")
    assert float(grid.nearest(np.zeros(()))) == 0


def smoothed(strength: float) -> float:
    """The error where one channel is a hundred times as large, and its weights as small."""
    module, tilt = mlp(), np.where(np.arange(32) == 3, 100, 1).astype(np.float32)
    first = layers_of(module)[0]
    first.replace_weight(first.weight() / tilt[:, None])
    x, *data = (batch * tilt for batch in batches())
    wanted = interpret(module, [x])[0]
    compressed(module, Recipe(Quantize(scheme="static", smooth=strength)), data)
    return difference(wanted, interpret(module, [x])[0])


def test_smoothing_helps_inputs_with_outliers():
    assert smoothed(0.5) < 0.5 * smoothed(0.0)


def test_smoothing_changes_nothing_but_rounding():
    module, (x,) = mlp(), batches(1)
    wanted = interpret(module, [x])[0]
    recipe = Recipe(Quantize(scheme="static", smooth=0.5))
    SmoothInputs(recipe, Samples([x], module)).apply(module)
    assert 0 < difference(wanted, interpret(module, [x])[0]) < 1e-5
