"""The order in which passes run, on one screen, with the reason for each place."""

from __future__ import annotations

from .common_subexpressions import EliminateCommonSubexpressions
from .contract import Pass
from .dead_code import EliminateDeadCode
from .fold_constants import FoldConstants
from .transposes import MergeTransposes

SIMPLIFY: tuple[Pass, ...] = (
    FoldConstants(),  # first: importers leave shape arithmetic on constants
    MergeTransposes(),  # before merging equal ops, since it changes which ops are equal
    EliminateCommonSubexpressions(),
    EliminateDeadCode(),  # last: the others leave ops without uses
)


def all_passes() -> dict[str, Pass]:
    """Every pass by name, with its default options."""
    return {step.name: step for step in SIMPLIFY}
