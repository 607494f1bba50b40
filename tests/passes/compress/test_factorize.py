"""Weights as products of small tensors: what they make, what they cost, where they are refused."""

from __future__ import annotations

import numpy as np
import pytest
from compress_models import batches, convolution, mlp, random
from mlc.ir.interpreter import interpret
from mlc.ir.op import GraphOp
from mlc.passes.compress.compress import compress_passes
from mlc.passes.compress.factors import balanced, canonical, halves, train, tucker
from mlc.passes.compress.layers import layers_of
from mlc.passes.compress.recipe import LowRank, Recipe
from mlc.passes.compress.report import Report
from mlc.passes.compress.samples import Samples
from mlc.passes.manager import difference, run_passes
from xdsl.dialects.builtin import ModuleOp


class Free:
    """Nothing costs anything, so that nothing is refused."""

    def seconds(self, ops: list[GraphOp]) -> float:
        return 1.0 / len(list(ops))


class Dear:
    """Every op costs the same, so that several are refused."""

    def seconds(self, ops: list[GraphOp]) -> float:
        return float(len(list(ops)))


def factorized(
    module: ModuleOp, options: LowRank, costs: object = None, data: list[np.ndarray] | None = None
) -> Report:
    report, samples = Report(), Samples(data, module) if data else None
    made = compress_passes(Recipe(low_rank=options), samples, report, costs)  # type: ignore[arg-type]
    run_passes(module, made[:1])
    return report


def error(module: ModuleOp, x: np.ndarray, options: LowRank) -> float:
    wanted = interpret(module, [x])
    factorized(module, options, Free())
    return difference(wanted[0], interpret(module, [x])[0])


@pytest.mark.parametrize(
    ("form", "ratio"), [("matrix", 1.0), ("tucker", 1.0), ("train", 1.0), ("train", 0.3)]
)
def test_factors_make_the_weight(form: str, ratio: float):
    matrix = form in ("matrix", "train")
    module, x = (mlp(), batches(1)[0]) if matrix else (convolution(), random(2, 7, 7, 16))
    found = error(module, x, LowRank(ratio, form=form))
    assert found < 1e-5 if ratio == 1 else 0.1 < found < 1


def test_windows_of_vectors():
    """The error of a sum of so many products of vectors is that of their sum, no more."""
    module, x = convolution(), random(2, 7, 7, 16)
    (layer,) = layers_of(module)
    found = canonical(layer.matrices()[0].reshape(9, 16, 16), 16)
    wanted = (layer.rows(x) @ found.whole.reshape(1, 144, 16))[0].reshape(2, 4, 4, 16)
    factorized(module, LowRank(1.0, form="cp"), Free())
    assert len(layers_of(module)) == 3
    np.testing.assert_allclose(interpret(module, [x])[0], wanted, rtol=1e-3, atol=1e-3)


def test_what_is_low_rank_is_found():
    a, b, c = random(9, 4, seed=1), random(16, 4, seed=2), random(12, 4, seed=3)
    weight = np.einsum("tr,cr,fr->tcf", a, b, c)
    for found in (tucker(weight, 4, 4), canonical(weight, 4)):
        assert difference(weight, found.whole) < 1e-2
    thin = random(24, 3, seed=4) @ random(3, 20, seed=5)
    assert difference(thin, halves(thin, 3).whole) < 1e-5
    kron = np.kron(random(6, 5, seed=6), random(4, 4, seed=7))
    assert difference(kron, train(kron, 1).whole) < 1e-5


def test_balanced_factors():
    assert [balanced(n) for n in (768, 3072, 7, 1)] == [(32, 24), (64, 48), (7, 1), (1, 1)]


def test_layers_that_get_slower_are_refused():
    module = mlp()
    report = factorized(module, LowRank(0.1), Dear())
    assert [s.done for s in report.steps] == ["nothing", "nothing"]
    assert "x the time of the whole weight" in report.steps[0].why
    assert len(layers_of(module)) == 2


@pytest.mark.parametrize("form", ["tucker", "cp"])
def test_forms_for_windows_are_refused_for_matrices(form: str):
    report = factorized(mlp(), LowRank(0.5, form=form))
    assert "convolutions with a window" in report.steps[0].why


def test_a_train_is_refused_for_convolutions_and_primes():
    assert "is for matrices" in factorized(convolution(), LowRank(0.5, form="train")).steps[0].why
    report = factorized(mlp(31, 32, 32), LowRank(0.5, form="train"))
    assert "31 x 32 has a side that is no product" in report.steps[0].why


def test_ranks_by_what_they_keep_and_take():
    asked = {by: LowRank(0.9, by=by) for by in ("energy", "rank")}
    asked |= {"error": LowRank(0.3, by="error"), "time": LowRank(0.5, by="time")}
    done = {by: factorized(mlp(64, 64, 64), o, Free()).steps[0] for by, o in asked.items()}
    ranks = {by: int(step.done.split()[1]) for by, step in done.items()}
    assert ranks["rank"] == 58
    assert ranks["energy"] < ranks["error"] + 5 < 64
    energy, error = (10 ** (-(done[by].sqnr or 0) / 10) for by in ("energy", "error"))
    assert 0.05 < energy <= 0.1
    assert 0.05 < error <= 0.09 + 1e-6


def test_the_time_asked_for_is_taken():
    module = mlp(64, 64, 64)
    step = factorized(module, LowRank(0.5, by="time")).steps[0]
    assert step.done.startswith("rank 16 of 64")


def test_convolutions_that_know_their_inputs():
    module, x = convolution(), random(2, 7, 7, 16)
    wanted = interpret(module, [x])[0]
    report = factorized(module, LowRank(0.5), Free(), [x, random(2, 7, 7, 16, seed=5)])
    assert report.steps[0].done == "rank 8 of 16 by activation"
    assert 0 < difference(wanted, interpret(module, [x])[0]) < 0.6
