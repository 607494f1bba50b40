"""Recipes: files round trip, and everything that is wrong is said at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mlc.ir.errors import MlcError
from mlc.passes.compress.recipe import (
    LowRank,
    Override,
    Quantize,
    Recipe,
    RecipeError,
    Sparsify,
    Tables,
)
from mlc.passes.compress.recipe_file import (
    parse_recipe,
    read_recipe,
    recipe_of,
    recipe_text,
    recipe_values,
    write_recipe,
)

RECIPES = {
    "all": Recipe(
        Quantize(bits=4, group=32), Sparsify(0.8, "4x1"), LowRank(0.25, "svd"), Tables(4)
    ),
    "defaults": Recipe(quantize=Quantize()),
    "overrides": Recipe(
        Quantize(bits=2, group=64, symmetric=True),
        layers=(
            Override('a "quoted" \\ name', quantize=False),
            Override("*head*", Quantize(bits=8), Sparsify(0.5, "2:4"), low_rank=False),
        ),
    ),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_recipes_round_trip(recipe: Recipe, tmp_path: Path):
    assert parse_recipe(recipe_text(recipe)) == recipe
    assert recipe_of(recipe_values(recipe)) == recipe
    write_recipe(recipe, tmp_path / "recipe.toml")
    assert read_recipe(tmp_path / "recipe.toml") == recipe


def test_the_last_override_that_fits_counts():
    recipe = Recipe(
        Quantize(), layers=(Override("*", quantize=False), Override("head", Quantize(bits=4)))
    )
    assert recipe.quantize_of("body") is None
    assert recipe.quantize_of("head") == Quantize(bits=4)
    assert recipe.sparsify_of("head") is None


def test_short_forms():
    recipe = Recipe.of("int4", 0.9, 0.5)
    assert recipe.quantize == Quantize(bits=4, group=32)
    assert recipe.sparsify == Sparsify(0.9)
    assert recipe.low_rank == LowRank(0.5)
    assert [Recipe.of(tables=bits).tables for bits in (8, 4)] == [Tables(8), Tables(4, 32)]
    with pytest.raises(RecipeError, match="'int3': expected int8"):
        Recipe.of("int3")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (Quantize(bits=3), "bits is 3"),
        (Quantize(group=5), "group is 5"),
        (Quantize(bits=4, scheme="static"), "needs bits = 8"),
        (Quantize(method="magic"), "method is 'magic': expected auto"),
        (Sparsify(1.5), "sparsity is 1.5"),
        (Sparsify(pattern="4x"), "pattern is '4x'"),
        (Sparsify(pattern="4:2"), "0 < N < M"),
        (Sparsify(pattern="0x4"), "empty block"),
        (Sparsify(0.9, "2:4"), "is 0.9, but the pattern '2:4' says 0.5"),
        (Quantize(bits=4, average=3.0), "give one of the two"),
        (Sparsify(scope="model", method="wanda"), "'magnitude'"),
        (LowRank(0), "ratio is 0"),
        (Sparsify(90), "less than 1; 90 % is 0.9"),
        (Sparsify(method="sparsgpt"), "sparsegpt; did you mean 'sparsegpt'?"),
    ],
)
def test_impossible_options(options: Quantize | Sparsify | LowRank, problem: str):
    (found,) = options.problems()
    assert problem in found


def test_options_of_other_types():
    recipe = Recipe(Quantize(bits="4", group=np.int64(32)), Sparsify(np.float32(0.5)))  # type: ignore
    assert recipe.wrong_types() == ["quantize.bits is '4': expected int"]


def test_parts_in_wrong_places():
    recipe = Recipe(Sparsify(0.9), layers=(Override("head", quantize="int4"), "tail"))  # type: ignore
    first, second, third = recipe.wrong_types()
    assert first.startswith("quantize is Sparsify(sparsity=0.9")
    assert second == "layers 'head': quantize is 'int4': expected Quantize or bool"
    assert third == "layers hold 'tail': expected overrides"
    (problem,) = Recipe(Quantize(), layers=Override("head")).wrong_types()  # type: ignore
    assert problem.startswith("layers is Override")


def test_a_file_is_told_all_its_mistakes():
    text = 'speed = 1\n[quantize]\nbits = "four"\ngruop = 32\ngroup = 5\n'
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text + "[[layers]]\nsparsify = 3\n")
    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 6
    parts = ("'speed'", "bits is 'four': expected int", "'gruop'", "pattern", "sparsify is 3")
    for part in (*parts, "group is 5", "did you mean 'group'?", "layers need a pattern"):
        assert part in problems


@pytest.mark.parametrize("layers", ['"head"', "{ head = false }", '["head"]'])
def test_layers_that_are_no_tables(layers: str):
    with pytest.raises(RecipeError, match="expected tables, each with a pattern"):
        parse_recipe(f"layers = {layers}\n[quantize]\nbits = 8\n")


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(MlcError, match="cannot read the recipe"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[[[")
    with pytest.raises(MlcError, match="is no TOML"):
        read_recipe(tmp_path / "bad.toml")
