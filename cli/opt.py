"""``mlc opt``: passes on a model's graph, one by one, to see what each does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..driver.source import Given, source_of
from ..ir.errors import MlcError
from ..passes.compress.recipe import RecipeError
from .arguments import MODELS, Commands, add_shape, command, shapes_of, write_text
from .compression import add_recipe, calibration_of, recipe_of
from .torch_file import names_torch_file, read_torch_file

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ..passes.contract import Pass


def add_to(commands: Commands) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "opt",
        run,
        "mlc opt model.onnx --passes fold-constants,eliminate-dead-code --time-passes",
        "Run passes on a model and print its IR.\n\nWithout --passes, those that every target "
        "begins with; see mlc passes.",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help=f"{MODELS}, or - for IR on stdin")
    add("--passes", metavar="PASS,…", help="which, in order; 'none' only reads the model")
    add("--stop-after", default="", metavar="PASS", help="print the IR as this pass left it")
    add("--print-after", default="", metavar="PASS", help="tell on stderr what it made; or 'all'")
    add("--time-passes", action="store_true", help="tell on stderr how long each took")
    add(
        "--verify",
        nargs="?",
        const="types",
        default="types",
        choices=["types", "numeric", "no"],
        help="after each pass: check all types (default); also interpret the model on random "
        "inputs before and after, and name the pass that breaks its promise; or nothing",
    )
    add("--sources", action="store_true", help="print the node that each op came from")
    add("-o", "--output", metavar="FILE", help="where the IR goes (default: stdout)")
    add_shape(parser)
    add_recipe(parser.add_argument_group("compression, after the other passes"))


def run(chosen: argparse.Namespace) -> int:
    """Reads, changes, prints."""
    from ..ir.text import print_module
    from ..passes.manager import Options, run_passes

    module = _module(chosen)
    passes = _passes(chosen, module)
    samples = _samples(module, chosen) if chosen.verify == "numeric" else None
    options = Options(chosen.verify != "no", samples, chosen.print_after, chosen.stop_after)
    timing = run_passes(module, passes, options)
    if chosen.time_passes:
        print(timing, file=sys.stderr)
    write_text(print_module(module, sources=chosen.sources), chosen.output)
    return 0


def _passes(chosen: argparse.Namespace, module: ModuleOp) -> Sequence[Pass]:
    from ..passes.pipeline import all_passes, pipeline

    compressing = _compressing(chosen, module)
    known = all_passes() | compressing
    default = [p.name for p in pipeline()] + list(compressing)
    names = default if chosen.passes is None else chosen.passes.split(",")
    names = [] if names == ["none"] else names
    watched = [n for n in (chosen.stop_after, chosen.print_after) if n not in ("", "all")]
    unknown = [n for n in [*names, *watched] if n not in known]
    if unknown:
        raise MlcError(f"unknown passes: {', '.join(unknown)}; mlc passes lists those there are")
    idle = [n for n in watched if n not in names]
    if idle:
        raise MlcError(f"{', '.join(idle)} is not among the passes that run: {', '.join(names)}")
    return [known[n] for n in names]


def _compressing(chosen: argparse.Namespace, module: ModuleOp) -> dict[str, Pass]:
    """The passes of the recipe that was given, by name."""
    from ..passes.compress.compress import all_compressions, lacking_data
    from ..passes.compress.samples import Samples

    recipe, given = recipe_of(chosen), calibration_of(chosen)
    if recipe is None:
        return {}
    samples = None if given is None else Samples(given, module)
    data = lacking_data(recipe) if samples is None else samples.problems()
    if problems := [*recipe.problems(), *data]:
        raise RecipeError(problems)
    return {step.name: step for step in all_compressions(recipe, samples)}


def _module(chosen: argparse.Namespace) -> ModuleOp:
    from ..ir.text import parse_module

    if chosen.model == "-":
        return parse_module(sys.stdin.read())
    if names_torch_file(chosen.model):
        file = read_torch_file(chosen.model)
        given = Given(file.inputs, dynamic_shapes=file.dynamic_shapes)
        return source_of(file.module, given).load()
    return source_of(Path(chosen.model), Given(shapes=shapes_of(chosen))).load()


def _samples(module: ModuleOp, chosen: argparse.Namespace) -> list[np.ndarray]:
    from ..driver.reference import reference_model
    from .inputs import feeds_of

    return list(feeds_of(reference_model(module), {}, shapes_of(chosen)).values())
