"""Everything a recipe asks for, in order, after checking that it can be done."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from xdsl.dialects.builtin import ModuleOp

from ...ir.errors import did_you_mean
from ..contract import Pass
from ..plugins import plugin_passes, with_plugins
from .costs import Arithmetic, Costs
from .equalize_layers import EqualizeLayers
from .factorize import FactorizeWeights, rank_of
from .layers import Layer, encoded_layers, layers_of
from .masks import misfit
from .protect_inputs import ProtectInputs
from .quantize_activations import QuantizeActivations
from .quantize_tables import QuantizeTables, tables_of
from .quantize_weights import QuantizeWeights
from .recipe import LowRank, Recipe, RecipeError, Sparsify, Tables
from .report import ENCODED, Report
from .samples import Samples
from .smooth_inputs import SmoothInputs
from .sparsify_weights import SparsifyWeights
from .weight_pass import WeightPass


def prepare_passes(recipe: Recipe) -> tuple[Pass, ...]:
    """Passes that change nothing but rounding: what is compared with comes after them."""
    return (EqualizeLayers(recipe),)


def all_compressions(
    recipe: Recipe | None = None, samples: Samples | None = None
) -> tuple[Pass, ...]:
    """All passes that follow a recipe, in order."""
    asked = recipe or Recipe()
    return (*prepare_passes(asked), *compress_passes(asked, samples, Report()))


def compress_passes(
    recipe: Recipe, samples: Samples | None, report: Report, costs: Costs | None = None
) -> tuple[Pass, ...]:
    """The passes that follow ``recipe``; each calibrates on what those before it made.

    Those of other packages are in the places they ask for.

    Raises:
        PassError: A pass of another package cannot be loaded or placed.
    """
    own: tuple[Pass, ...] = (
        FactorizeWeights(
            recipe, samples, report, costs or Arithmetic()
        ),  # first: its factors are layers like others
        SparsifyWeights(recipe, samples, report),
        SmoothInputs(recipe, samples),
        ProtectInputs(recipe, samples),
        QuantizeActivations(recipe, samples, report),
        QuantizeTables(recipe, report),
        QuantizeWeights(recipe, samples, report),  # last: it keeps zeros, and knows what it reads
    )
    others = [p for p in plugin_passes() if isinstance(p, WeightPass)]
    return with_plugins(own, [p.following(recipe, samples, report) for p in others])


def check_recipe(
    recipe: Recipe,
    module: ModuleOp,
    samples: Samples | None,
    judging: Samples | None = None,
    others: Sequence[str] = (),
) -> None:
    """Says everything that is wrong before any work is done.

    ``judging`` is other data; ``others`` are problems that the caller has found.

    Raises:
        RecipeError: An option or a pattern is unknown or has no say, a block fits no layer,
            calibration data is missing or does not fit the model.
    """
    layers = layers_of(module)
    names, tables = [layer.name for layer in layers], [name for name, _ in tables_of(module)]
    problems = [*recipe.problems(), *_patterns(recipe, [*names, *tables]), *_unfit(recipe, layers)]
    if not layers and not tables:
        none = "the model has no matrix product or convolution by a constant float weight"
        problems.append(f"every layer: {ENCODED}" if encoded_layers(module) else none)
    elif not problems and not recipe.touches(names, tables):
        problems.append("it asks for nothing of any layer; the last pattern that fits counts")
    if samples is None:
        problems += lacking_data(recipe)
    for data in dict.fromkeys(d for d in (samples, judging) if d):
        problems += data.problems()
    problems += others
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))


def lacking_data(recipe: Recipe) -> list[str]:
    """Which compressions cannot be done without calibration data, in words."""
    needy = [o for o in recipe.options() if o.needs_data() and not isinstance(o, Tables)]
    methods = ["" if o.method == "auto" else f" by {o.method}" for o in needy]
    return [
        f"{o.text()}{method} needs calibration data: give calibration=batches "
        "(--calibration data.npz)"
        for o, method in zip(needy, methods, strict=True)
    ]


def _patterns(recipe: Recipe, names: Sequence[str]) -> list[str]:
    """Patterns that fit no name, or whose every name others fit that stand below them."""
    names = list(dict.fromkeys(names))
    known = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return [
        f"layers '{pattern}' have no say: patterns below fit all that it fits, and the last counts"
        if any(fnmatchcase(name, pattern) for name in names)
        else f"no layer is called '{pattern}'; the layers are {known}"
        f"{did_you_mean(pattern.strip('*?'), names)}"
        for pattern in (override.pattern for override in recipe.idle(names))
    ]


def _unfit(recipe: Recipe, layers: Sequence[Layer]) -> list[str]:
    """Patterns of zeros that are possible in no layer for which they are asked."""
    problems: dict[str, list[str]] = {}
    for layer in layers:
        options = recipe.sparsify_of(layer.name)
        if options and not options.problems():
            found = _misfit(layer, options, recipe.low_rank_of(layer.name))
            problems.setdefault(options.pattern, []).append(found)
    return [
        f"sparsify.pattern {pattern!r} fits no layer: {found[0]}"
        for pattern, found in problems.items()
        if all(found)
    ]


def _misfit(layer: Layer, options: Sparsify, low_rank: LowRank | None) -> str:
    """Why a pattern does not fit a layer, or one of the factors that it becomes before."""
    sides = [(layer.segment, layer.outputs)]
    if low_rank and low_rank.form == "matrix" and low_rank.by == "rank":
        rank = rank_of(layer, low_rank)
        sides = [(layer.segment, rank), (rank, layer.outputs)]
    return next((why for side in sides if (why := misfit(*side, options))), "")
