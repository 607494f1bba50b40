"""Recipes as files: ``recipe.toml``.

[quantize]
bits = 4
group = 32

[[layers]]
pattern = "*classifier*"
quantize = false
sparsify = { sparsity = 0.8, pattern = "4x1" }
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ...ir.errors import MlcError, did_you_mean
from .recipe import PARTS, LowRank, Override, Quantize, Recipe, RecipeError, Sparsify


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """The recipe in a file.

    Raises:
        MlcError: The file cannot be read or is no TOML.
        RecipeError: It says something else than recipes do.
    """
    try:
        return parse_recipe(Path(path).read_text())
    except OSError as error:
        raise MlcError(f"cannot read the recipe '{path}': {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise MlcError(f"cannot read the recipe '{path}': {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise MlcError(f"the recipe '{path}' is no TOML: {error}") from None


def parse_recipe(text: str) -> Recipe:
    """The recipe that ``text`` is.

    Raises:
        tomllib.TOMLDecodeError: It is no TOML.
        RecipeError: It says something else than recipes do.
    """
    return recipe_of(tomllib.loads(text))


def recipe_of(given: Mapping[str, Any]) -> Recipe:
    """The recipe that nested plain values say, as in TOML or JSON.

    Raises:
        RecipeError: They say something else than recipes do.
    """
    problems = _unknown("the recipe", given, {*PARTS, "layers"})
    parts = {name: _options(name, name, given[name], problems) for name in PARTS if name in given}
    entries = enumerate(_entries(given, problems), 1)
    layers = [_override(number, entry, problems) for number, entry in entries]
    recipe = Recipe(**parts, layers=tuple(layers))
    if problems:
        raise RecipeError([*problems, *(p for o in recipe.options() for p in o.problems())])
    return recipe


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain values without defaults, which ``recipe_of`` reads."""
    values = {name: _plain(getattr(recipe, name)) for name in PARTS if getattr(recipe, name)}
    layers = [{"pattern": o.pattern, **_overridden(o)} for o in recipe.layers]
    return {**values, "layers": layers} if layers else values


def recipe_text(recipe: Recipe) -> str:
    """A recipe as the text of a file."""
    values = recipe_values(recipe)
    layers = values.pop("layers", [])
    tables = [_table(f"[{name}]", options) for name, options in values.items()]
    return "\n".join([*tables, *(_table("[[layers]]", layer) for layer in layers)])


def write_recipe(recipe: Recipe, path: str | os.PathLike[str]) -> None:
    """Writes a recipe to a file that ``read_recipe`` reads."""
    Path(path).write_text(recipe_text(recipe))


def _entries(given: Mapping[str, Any], problems: list[str]) -> list[Mapping[str, Any]]:
    layers = given.get("layers", [])
    if isinstance(layers, list) and all(isinstance(entry, Mapping) for entry in layers):
        return layers
    problems.append(
        f"layers is {layers!r}: expected tables, each with a pattern: "
        '[[layers]] pattern = "*head*" quantize = false'
    )
    return []


def _override(number: int, given: Mapping[str, Any], problems: list[str]) -> Override:
    pattern = given.get("pattern")
    where = f"layers {pattern!r}"
    if not isinstance(pattern, str) or not pattern:
        problems.append(f"layers need a pattern of names, got {dict(given)}")
        where = f"layers number {number}"
    problems += _unknown(where, given, {*PARTS, "pattern"})
    parts = {
        name: _switch(f"{where}: {name}", name, given[name], problems)
        for name in PARTS
        if name in given
    }
    return Override(str(pattern), **parts)


def _switch(where: str, part: str, given: Any, problems: list[str]) -> Any:
    return given if isinstance(given, bool) else _options(where, part, given, problems)


def _options(where: str, part: str, given: Any, problems: list[str]) -> Any:
    kind = PARTS[part]
    if not isinstance(given, Mapping):
        problems.append(f"{where} is {given!r}: expected a table of options")
        return None
    defaults = {f.name: f.default for f in fields(kind)}
    problems += _unknown(where, given, set(defaults))
    known = {
        k: _typed(f"{where}.{k}", v, defaults[k], problems) for k, v in _known(given, defaults)
    }
    return kind(**known)


def _known(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in given.items() if key in defaults]


def _typed(name: str, value: Any, default: Any, problems: list[str]) -> Any:
    """The value in the type of the default; an integer is a fine float."""
    wanted = type(default)
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        problems.append(f"{name} is {value!r}: expected {wanted.__name__}")
        return default
    return value


def _unknown(where: str, given: Mapping[str, Any], known: set[str]) -> list[str]:
    listed = ", ".join(sorted(known))
    return [
        f"{where} has no '{key}'; it has {listed}{did_you_mean(key, known)}"
        for key in given
        if key not in known
    ]


def _plain(options: Quantize | Sparsify | LowRank | bool) -> Any:
    if isinstance(options, bool):
        return options
    given = {f.name: (getattr(options, f.name), f.default) for f in fields(options)}
    return {k: v for k, (v, default) in given.items() if default is MISSING or v != default}


def _overridden(override: Override) -> dict[str, Any]:
    values = {name: getattr(override, name) for name in PARTS}
    return {name: _plain(v) for name, v in values.items() if v is not True}


def _table(head: str, values: Mapping[str, Any]) -> str:
    return "\n".join([head, *(f"{k} = {_text(v)}" for k, v in values.items()), ""])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {_text(v)}" for k, v in value.items()) + " }"
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of its own."""
    return json.dumps(text, ensure_ascii=False)
