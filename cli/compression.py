"""Arguments that say how a model is compressed, and what is told about it."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..ir.errors import MlcError
from ..passes.compress.recipe import PARTS, SHORT_FORMS, Recipe
from ..passes.compress.recipe_file import read_recipe
from ..runtime import Model
from .arguments import arrays_of, check_writable, write_text
from .compression_text import text_of


def add_compression(parser: argparse.ArgumentParser) -> None:
    """The recipe, its short forms, data, the guard, and the report."""
    group = parser.add_argument_group("compression")
    add_recipe(group)
    add = group.add_argument
    add(
        "--validation",
        metavar="FILE.npz",
        help="such inputs to judge by: with an array 'labels' by accuracy, else by agreement",
    )
    add(
        "--max-drop",
        type=float,
        metavar="DROP",
        help="leave layers in floats until no more than this is lost (0.01: a point of accuracy)",
    )
    add(
        "--report",
        metavar="FILE",
        help="compare layer by layer, and write a page (.html) or plain values (.json)",
    )


def add_recipe(group: Any) -> None:
    """The recipe, its short forms, and data to calibrate on."""
    add = group.add_argument
    add("--recipe", metavar="FILE", help="recipe.toml; short forms replace its parts")
    add("--quantize", choices=list(SHORT_FORMS), help="numbers of few bits")
    add("--sparsify", type=float, metavar="SHARE", help="weights to set to zero")
    add("--low-rank", type=float, metavar="SHARE", help="of the rank to keep")
    add("--tables", type=int, metavar="BITS", help="of embeddings: 8, 4 or 2")
    add("--calibration", metavar="FILE.npz", help="inputs by name, samples along the first dim")


def recipe_of(chosen: argparse.Namespace) -> Recipe | None:
    """The recipe of the command line.

    Raises:
        MlcError: A file cannot be read.
    """
    short = Recipe.of(**{part: getattr(chosen, part) for part in PARTS})
    if not chosen.recipe and short == Recipe():
        return None
    recipe = read_recipe(chosen.recipe) if chosen.recipe else Recipe()
    given = {part: options for part in PARTS if (options := getattr(short, part))}
    return replace(recipe, **given)


def calibration_of(chosen: argparse.Namespace) -> Any:
    """The data to calibrate on, or None.

    Raises:
        MlcError: The file cannot be read.
    """
    return _arrays(chosen.calibration)


def compression_of(chosen: argparse.Namespace) -> dict[str, Any]:
    """What the arguments ask for, as arguments of ``compiled``.

    Raises:
        MlcError: A file cannot be read, or there is data without a recipe.
    """
    recipe = recipe_of(chosen)
    _check(chosen, recipe is not None)
    return {
        "recipe": recipe,
        "calibration": calibration_of(chosen),
        "validation": _arrays(chosen.validation),
        "max_drop": chosen.max_drop,
        "measure": bool(chosen.report),
    }


def tell(model: Model, chosen: argparse.Namespace) -> None:
    """Prints what compression came to, and writes the report that was asked for.

    Raises:
        MlcError: The report cannot be written.
    """
    found = model.report.get("compression")
    if not found:
        return
    print(text_of(found))
    if chosen.report:
        kind = Path(chosen.report).suffix
        write_text(_KINDS[kind](model, Path(chosen.model).name), chosen.report)
        print(f"{chosen.report}: the report")


def tell_again(model: Model, title: str, html: str | None, as_json: bool) -> None:
    """Prints what compression came to when the model was compiled, and its recipe.

    Raises:
        MlcError: The model was not compressed, or the page cannot be written.
    """
    if not model.report.get("compression"):
        raise MlcError(f"{title} was compiled without a recipe")
    if html:
        write_text(_page(model, title), html)
        print(f"{html}: the report")
    elif as_json:
        print(_values(model, title), end="")
    else:
        print(f"{model.report['recipe']}\n{text_of(model.report['compression'])}")


def _page(model: Model, title: str) -> str:
    from .compression_page import compression_page

    return compression_page(title, model.report["compression"], model.report["recipe"])


def _values(model: Model, title: str) -> str:
    report = {"model": title, "recipe": model.report["recipe"], **model.report["compression"]}
    return json.dumps(report, indent=1) + "\n"


# What writes a report, by the end of the file's name.
_KINDS = {".json": _values, ".html": _page}


def _check(chosen: argparse.Namespace, asked: bool) -> None:
    given = ("calibration", "validation", "max_drop", "report")
    idle = [name for name in given if getattr(chosen, name) is not None]
    if idle and not asked:
        raise MlcError(
            f"--{idle[0].replace('_', '-')} is for a recipe: give --recipe, --quantize or another"
        )
    if chosen.report and Path(chosen.report).suffix not in _KINDS:
        raise MlcError(f"--report {chosen.report}: expected a file that ends in .html or .json")
    check_writable(chosen.report)


def _arrays(file: str | None) -> Any:
    return arrays_of([file]) if file else None
