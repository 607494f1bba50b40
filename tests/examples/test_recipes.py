"""The recipes among the examples are right, and can be followed."""

from __future__ import annotations

from pathlib import Path

import mlc
import numpy as np
import pytest
from mlc.passes.compress.recipe_file import read_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted((EXAMPLES / "recipes").glob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_recipe_can_be_followed(file: Path):
    images = (np.load(EXAMPLES / "digits" / "test_set.npz")["pixels"] / 16).astype(np.float32)
    digits, calibration = EXAMPLES / "digits" / "digits.onnx", {"image": images[:32]}
    options = {"target": "reference", "calibration": calibration}
    model = mlc.compile(digits, recipe=read_recipe(file), **options)
    assert np.isfinite(model(images[:2])).all()


def test_all_are_listed():
    listed = (EXAMPLES / "recipes" / "README.md").read_text()
    assert len(FILES) >= 7
    assert all(f"({file.name})" in listed for file in FILES)
