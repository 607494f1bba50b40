"""Compression as a recipe says, as one stage of a compilation, calibrated by native code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .fingerprint import digest_of_values
from .foreign import model_of
from .stages import Stages
from .targets import NativeTarget, target_named

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ..passes.compress.recipe import Recipe


@dataclass
class Compression:
    """What was asked for.

    Attributes:
        recipe: The compressions, or None.
        calibration: Batches of inputs, or None.
        threads: For running the model on them.
    """

    recipe: Recipe | None
    calibration: Any
    threads: int

    def __post_init__(self):
        if self.calibration is not None and not isinstance(self.calibration, Mapping):
            self.calibration = list(self.calibration)

    def digest(self) -> str:
        """Tells recipes and data apart; empty without a recipe."""
        from ..passes.compress.recipe_file import recipe_values

        if self.recipe is None:
            return ""
        return digest_of_values(recipe_values(self.recipe), self.calibration)

    def apply_simplified(self, module: ModuleOp, stages: Stages) -> dict[str, Any]:
        """The same as ``apply`` for a module that is not simplified yet."""
        from ..passes.manager import Options, run_passes
        from ..passes.pipeline import pipeline

        if self.recipe is None:
            return {}
        run_passes(module, pipeline(), Options(verify=False))
        return self.apply(module, stages)

    def apply(self, module: ModuleOp, stages: Stages) -> dict[str, Any]:
        """Compresses a simplified module; what is to be told about it.

        Raises:
            RecipeError: The recipe or the data do not fit the model.
        """
        from ..passes.compress.compress import check_recipe, compress_passes
        from ..passes.compress.recipe_file import recipe_text
        from ..passes.compress.report import Report
        from ..passes.compress.samples import Samples
        from ..passes.manager import run_passes

        if self.recipe is None:
            return {}
        samples = None
        if self.calibration is not None:
            samples = Samples(self.calibration, module, self._runner)
        report = Report()
        with stages("compress"):
            check_recipe(self.recipe, module, samples)
            run_passes(module, compress_passes(self.recipe, samples, report))
        return {"recipe": recipe_text(self.recipe), "compression": report.values()}

    def _runner(self, module: ModuleOp) -> Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]:
        """The module as native code of this machine, whatever the target is."""
        from ..passes.manager import Options

        here = target_named("cpu")
        assert isinstance(here, NativeTarget)
        artifact = here.compile(module, Options(verify=False), Stages())
        model = model_of(artifact, self.threads)
        names = model.input_names
        return lambda arrays: list(model.run(dict(zip(names, arrays, strict=True))).values())
