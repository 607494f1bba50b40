"""Compressions on top of each other: each sees what the earlier left, all keep their meaning."""

from __future__ import annotations

import mlc
import numpy as np
import pytest
from compress_models import batches, convolution, mlp, random
from mlc.ir.interpreter import interpret
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.passes.compress.compress import check_recipe, compress_passes
from mlc.passes.compress.layers import layers_of
from mlc.passes.compress.recipe import LowRank, Quantize, Recipe, RecipeError, Sparsify
from mlc.passes.compress.report import Report
from mlc.passes.compress.samples import Samples
from mlc.passes.manager import difference, run_passes
from xdsl.dialects.builtin import ModuleOp

INT4, INT8 = Quantize(bits=4, group=8), Quantize(scheme="static", smooth=0.5)
HALF = Sparsify(0.5, method="sparsegpt")
COMBINED = {
    "sparse int8": (Recipe(INT8, HALF), 0.35),
    "sparse int4": (Recipe(INT4, HALF), 0.35),
    "low rank int4": (Recipe(INT4, low_rank=LowRank(0.5)), 0.4),
    "low rank int8": (Recipe(INT8, low_rank=LowRank(0.5)), 0.4),
    "low rank sparse": (Recipe(sparsify=Sparsify(0.3, method="wanda"), low_rank=LowRank(0.5)), 0.5),
    "blocks int8": (Recipe(INT8, Sparsify(0.5, "4x1", "wanda")), 0.8),
    "all": (Recipe(INT8, Sparsify(0.3, method="sparsegpt"), LowRank(0.5)), 0.5),
}


def compressed(module: ModuleOp, recipe: Recipe, data: list[np.ndarray]) -> Report:
    samples, report = Samples(data, module), Report()
    check_recipe(recipe, module, samples)
    run_passes(module, compress_passes(recipe, samples, report))
    return report


def stored(module: ModuleOp) -> list[np.ndarray]:
    """The codes of all weights, their zero points subtracted."""
    products = [op for op in module.walk() if isinstance(op, MatmulOp)]
    found = []
    for op in products:
        weight = op.y.owner
        assert isinstance(weight, DequantizeOp)
        found.append(decoded(weight))
    return found


def decoded(op: DequantizeOp) -> np.ndarray:
    return op.reference(*(v.owner.value.array for v in op.operands))  # type: ignore[union-attr]


@pytest.mark.parametrize("name", COMBINED)
def test_the_meaning_is_kept(name: str):
    recipe, bound = COMBINED[name]
    module, x = mlp(64, 96, 64), batches(1, 128, 64)[0]
    wanted = interpret(module, [x])[0]
    compressed(module, recipe, batches(inputs=64))
    assert 0 < difference(wanted, interpret(module, [x])[0]) < bound


@pytest.mark.parametrize("name", COMBINED)
def test_native_code_means_the_same(name: str):
    recipe, x = COMBINED[name][0], batches(1, 16, 64)[0]
    options = {"recipe": recipe, "calibration": batches(inputs=64), "cache": False}
    native = mlc.compile(mlp(64, 96, 64), **options)(x)
    exact = mlc.compile(mlp(64, 96, 64), target="reference", **options)(x)
    assert difference(exact, native) < 1e-2 if recipe.quantize is INT8 else 1e-4


@pytest.mark.parametrize("quantize", [INT4, INT8], ids=["int4", "int8"])
def test_integers_keep_zeros(quantize: Quantize):
    module = mlp(64, 96, 64)
    compressed(module, Recipe(quantize, Sparsify(0.75, "4x1", "wanda")), batches(inputs=64))
    for weight in stored(module):
        assert (weight.T.reshape(-1, 4, weight.shape[0]) == 0).all(1).mean() >= 0.75


def test_factors_are_pruned_and_rounded():
    module = mlp(64, 96, 64)
    report = compressed(module, Recipe(INT4, HALF, LowRank(0.5)), batches(inputs=64))
    assert [w.shape for w in stored(module)] == [(64, 32), (32, 96), (96, 32), (32, 64)]
    assert all((w == 0).mean() >= 0.5 for w in stored(module))
    done = [step.done for step in report.of("head")]
    assert done[0].startswith("rank 32 of 64")
    assert [d.split()[-1] for d in done[1:]] == ["sparsegpt"] * 2 + ["gptq"] * 2


def test_convolutions_too():
    module, x = convolution(), random(2, 7, 7, 16)
    wanted = interpret(module, [x])[0]
    recipe = Recipe(INT8, Sparsify(0.3, method="sparsegpt"), LowRank(0.75))
    compressed(module, recipe, [random(2, 7, 7, 16, seed=k) for k in range(4)])
    assert 0 < difference(wanted, interpret(module, [x])[0]) < 0.6


def test_what_is_encoded_already_is_left_alone():
    module = mlp()
    compressed(module, Recipe(Quantize(method="nearest")), batches())
    with pytest.raises(RecipeError, match="quantized already: prune and factorize before"):
        compressed(module, Recipe(sparsify=HALF), batches())
    assert layers_of(module) == []


def test_a_part_that_is_encoded_is_told():
    module, both = mlp(), Recipe(Quantize(method="nearest"))
    run_passes(module, compress_passes(mlc.Recipe.of("int4"), None, Report())[-1:])
    report = Report()
    run_passes(module, compress_passes(both, None, report)[-1:])
    assert [step.done for step in report.steps] == ["nothing", "nothing"]


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (Recipe(Quantize(bits=4, scheme="static")), "needs bits = 8"),
        (Recipe(Quantize(smooth=0.5)), "smooth needs the scheme 'static'"),
        (Recipe(Quantize(scheme="dynamic", method="awq")), "'awq' needs the scheme 'weights'"),
        (Recipe(Quantize(scheme="static", average=4.0)), "average needs the scheme 'weights'"),
        (Recipe(Quantize(average=1.0)), "average is 1.0"),
        (Recipe(sparsify=Sparsify(pattern="2:4", scope="sensitivity")), "has no say in an N:M"),
        (Recipe(sparsify=Sparsify(scope="model", method="wanda")), "needs the method 'magnitude'"),
        (Recipe(sparsify=Sparsify(pattern="64x1")), "fits no layer: 48 outputs"),
        (Recipe(None, Sparsify(pattern="32x1"), LowRank(0.25)), "fits no layer: 8 outputs"),
        (Recipe(low_rank=LowRank(form="tucker", by="energy")), "'energy' is for the form 'matrix'"),
        (Recipe(low_rank=LowRank(form="cp", method="activation")), "for the form 'matrix'"),
        (Recipe(low_rank=LowRank(form="thin")), "low_rank.form is 'thin'"),
    ],
)
def test_what_conflicts_is_said_before_any_work(recipe: Recipe, text: str):
    module = mlp()
    before = str(module)
    with pytest.raises(RecipeError) as caught:
        compressed(module, recipe, batches())
    assert text in str(caught.value)
    assert str(module) == before
