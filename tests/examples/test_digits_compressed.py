"""Compressed digit classifiers stay about as good, on images not seen before."""

from __future__ import annotations

from pathlib import Path

import mlc
import numpy as np
import pytest
from mlc.passes.compress.recipe import LowRank, Override, Quantize, Sparsify

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
# The first layer sees nine numbers and the last gives ten: both have no rank to lose.
WHOLE = tuple(Override(name, low_rank=False) for name in ("*_0", "logits"))
HALF_RANK = mlc.Recipe(low_rank=LowRank(0.5), layers=WHOLE)


def images(name: str) -> tuple[np.ndarray, np.ndarray]:
    data = np.load(DIGITS / f"{name}_set.npz")
    return (data["pixels"] / 16).astype(np.float32), data["labels"]


def accuracy(model: mlc.Model) -> float:
    x, labels = images("test")
    return float((np.asarray(model(x)).argmax(1) == labels).mean())


def shifted() -> list[np.ndarray]:
    """The training images, moved by up to a pixel, in batches of 60."""
    random, x = np.random.default_rng(0), images("training")[0]
    moved = [np.roll(x, (r, c), (2, 3)) for r in (-1, 0, 1) for c in (-1, 0, 1)]
    mixed = random.permutation(np.concatenate(moved))
    return np.split(mixed[: len(mixed) // 60 * 60], len(mixed) // 60)


@pytest.fixture(scope="module")
def whole() -> float:
    return accuracy(mlc.compile(DIGITS / "digits.onnx"))


@pytest.mark.parametrize(
    ("recipe", "bound"),
    [
        (mlc.Recipe.of("int8"), 0.005),
        (mlc.Recipe.of("int8-dynamic"), 0.005),
        (mlc.Recipe(Quantize(bits=4, group=32)), 0.01),
        (HALF_RANK, 0.01),
    ],
    ids=["int8", "int8 dynamic", "int4", "half rank"],
)
def test_compressed(recipe: mlc.Recipe, bound: float, whole: float):
    calibration = {"image": images("training")[0][:128]}
    model = mlc.compile(DIGITS / "digits.onnx", recipe=recipe, calibration=calibration)
    assert accuracy(model) >= whole - bound


def test_sparse_integers_after_training(whole: float):
    """A point at most is lost in the 2000 steps of the benchmark; these are fewer."""
    pytest.importorskip("torch")
    pruning = Sparsify(0.9, method="sparsegpt", scope="sensitivity")
    recipe = mlc.Recipe(Quantize(scheme="static"), pruning)
    options = {"steps": 1000, "rate": 0.08, "layers": 0.05, "classes": True, "threads": 1}
    model = mlc.recover(DIGITS / "digits.onnx", recipe, shifted(), cache=False, **options)
    assert accuracy(model) >= whole - 0.025
