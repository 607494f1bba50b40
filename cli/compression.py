"""Arguments that say how a model is compressed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from ..ir.errors import MlcError
from ..passes.compress.recipe import SHORT_FORMS, Recipe
from ..passes.compress.recipe_file import read_recipe
from .arguments import arrays_of


def add_compression(parser: argparse.ArgumentParser) -> None:
    """The recipe, its short forms, and calibration data."""
    group = parser.add_argument_group("compression")
    group.add_argument(
        "--recipe", metavar="FILE", help="recipe.toml; short forms replace its parts"
    )
    group.add_argument("--quantize", choices=list(SHORT_FORMS), help="numbers of few bits")
    group.add_argument("--sparsify", type=float, metavar="SHARE", help="weights to set to zero")
    group.add_argument("--low-rank", type=float, metavar="SHARE", help="of the rank to keep")
    group.add_argument(
        "--calibration", metavar="FILE.npz", help="inputs by name, samples along the first dim"
    )


def compression_of(chosen: argparse.Namespace) -> dict[str, Any]:
    """What the arguments ask for, as arguments of ``compiled``.

    Raises:
        MlcError: A file cannot be read, or there is data without a recipe.
    """
    short = Recipe.of(chosen.quantize, chosen.sparsify, chosen.low_rank)
    recipe = read_recipe(chosen.recipe) if chosen.recipe else Recipe()
    parts = {"quantize": short.quantize, "sparsify": short.sparsify, "low_rank": short.low_rank}
    recipe = replace(recipe, **{name: part for name, part in parts.items() if part})
    asked = chosen.recipe or short != Recipe()
    if chosen.calibration and not asked:
        raise MlcError("--calibration is data for a recipe: give --recipe, --quantize or another")
    data = arrays_of([chosen.calibration]) if chosen.calibration else None
    return {"recipe": recipe if asked else None, "calibration": data}
