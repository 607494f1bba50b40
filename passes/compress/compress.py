"""Everything a recipe asks for, in order, after checking that it can be done."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from xdsl.dialects.builtin import ModuleOp

from ..contract import Pass
from .factorize import FactorizeWeights
from .layers import Layer, layers_of
from .masks import misfit
from .quantize_activations import QuantizeActivations
from .quantize_tables import QuantizeTables
from .quantize_weights import QuantizeWeights
from .recipe import Recipe, RecipeError
from .report import Report
from .samples import Samples
from .smooth_inputs import SmoothInputs
from .sparsify_weights import SparsifyWeights


def compress_passes(recipe: Recipe, samples: Samples | None, report: Report) -> tuple[Pass, ...]:
    """The passes that follow ``recipe``; each calibrates on what those before it made."""
    return (
        FactorizeWeights(recipe, samples, report),  # first: its factors are layers like others
        SparsifyWeights(recipe, samples, report),
        SmoothInputs(recipe, samples),
        QuantizeActivations(recipe, samples, report),
        QuantizeTables(recipe, report),
        QuantizeWeights(recipe, samples, report),  # last: it keeps zeros, and knows what it reads
    )


def check_recipe(
    recipe: Recipe, module: ModuleOp, samples: Samples | None, judging: Samples | None = None
) -> None:
    """Says everything that is wrong before any work is done; ``judging`` is other data.

    Raises:
        RecipeError: An option or a pattern is unknown, a block fits no layer, calibration data is
            missing or does not fit the model.
    """
    layers = layers_of(module)
    problems = [*recipe.problems(), *_unmatched(recipe, layers), *_unfit(recipe, layers)]
    if not layers:
        problems.append("the model has no matrix product or convolution by a constant weight")
    if samples is None and recipe.needs_data():
        problems.append(
            "it needs calibration data: give calibration=batches (--calibration data.npz)"
        )
    for data in dict.fromkeys(d for d in (samples, judging) if d):
        problems += data.problems()
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))


def _unmatched(recipe: Recipe, layers: Sequence[Layer]) -> list[str]:
    names = list(dict.fromkeys(layer.name for layer in layers))
    unknown = [
        o.pattern for o in recipe.layers if not any(fnmatchcase(n, o.pattern) for n in names)
    ]
    known = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return [f"no layer is called '{pattern}'; the layers are {known}" for pattern in unknown]


def _unfit(recipe: Recipe, layers: Sequence[Layer]) -> list[str]:
    """Patterns of zeros that are possible in no layer for which they are asked."""
    problems: dict[str, list[str]] = {}
    for layer in layers:
        options = recipe.sparsify_of(layer.name)
        if options and not options.problems():
            found = misfit(layer.segment, layer.outputs, options)
            problems.setdefault(options.pattern, []).append(found)
    return [
        f"sparsify.pattern {pattern!r} fits no layer: {found[0]}"
        for pattern, found in problems.items()
        if all(found)
    ]
