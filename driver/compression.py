"""Compression as a recipe says, as one stage of a compilation, calibrated by native code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.errors import MlcError
from ..runtime import Model
from .fingerprint import digest_of_values
from .foreign import model_of
from .metric import Score, classes_of, label_problems, metric_of, split_labels
from .stages import Stages
from .targets import NativeTarget, Target, target_named

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ..passes.compress.baseline import Baseline
    from ..passes.compress.fading import Whole
    from ..passes.compress.recipe import Recipe
    from ..passes.compress.report import LayerReport, Report
    from ..passes.compress.samples import Samples
    from .guard import Verdict
    from .recovery import Recovery


@dataclass
class Compression:
    """What was asked for.

    Attributes:
        recipe: The compressions, or None.
        calibration: Batches of inputs, or None.
        threads: For running the model on them.
        validation: Inputs, with ``labels`` or without, to judge the model by; or None.
        metric: Judges a model, or None.
        max_drop: How much the metric may fall, or None.
        measure: Whether to compare the layers' results and times with those of the float model.
        recovery: How to train what was compressed, or None.
    """

    recipe: Recipe | None
    calibration: Any
    threads: int
    validation: Any = None
    metric: Score | None = None
    max_drop: float | None = None
    measure: bool = False
    recovery: Recovery | None = None

    def __post_init__(self):
        from ..passes.compress.recipe import Recipe, RecipeError

        if not isinstance(self.recipe, Recipe | None):
            raise MlcError(
                f"recipe is {self.recipe!r}: expected an mlc.Recipe, such as "
                "mlc.Recipe.of(quantize='int8'), or what read_recipe(path) gives"
            )
        if wrong := self.recipe.wrong_types() if self.recipe else []:
            raise RecipeError(wrong)
        self.calibration = _kept(self.calibration, "calibration")
        self.validation = _kept(self.validation, "validation")
        if self.metric is not None and not callable(self.metric):
            raise MlcError(f"metric is {self.metric!r}: expected a function of a model")
        judges = (self.validation, self.metric, self.max_drop)
        if self.recipe is None and any(j is not None for j in judges):
            raise MlcError("validation, metric and max_drop judge a compression: give a recipe too")

    @property
    def is_reproducible(self) -> bool:
        """Whether the digest tells all that matters; of a function it tells nothing."""
        return self.metric is None

    def digest(self) -> str:
        """Tells recipes and data apart; empty without a recipe."""
        from ..passes.compress.recipe_file import recipe_values

        if self.recipe is None:
            return ""
        training = self.recovery and asdict(self.recovery)
        asked = (recipe_values(self.recipe), self.max_drop, self.measure, training)
        return digest_of_values(*asked, self.calibration, self.validation)

    def apply_simplified(self, module: ModuleOp, stages: Stages) -> dict[str, Any]:
        """The same as ``apply`` for a module that is not simplified yet."""
        from ..passes.manager import Options, run_passes
        from ..passes.pipeline import pipeline

        if self.recipe is None:
            return {}
        run_passes(module, pipeline(), Options(verify=False))
        return self.apply(module, stages, None)

    def apply(self, module: ModuleOp, stages: Stages, target: Target | None) -> dict[str, Any]:
        """Compresses a simplified module; what is to be told about it.

        Raises:
            RecipeError: The recipe or the data do not fit the model.
        """
        from ..passes.compress.recipe_file import recipe_text

        if self.recipe is None:
            return {}
        found = _Run(self, self.recipe, module, stages, target).report()
        return {"recipe": recipe_text(self.recipe), "compression": found}

    def run(self, module: ModuleOp) -> Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]:
        """A function that runs a module, as native code."""
        model = self.native(module)
        names = model.input_names
        return lambda arrays: list(model.run(dict(zip(names, arrays, strict=True))).values())

    def native(self, module: ModuleOp) -> Model:
        """The module, which is used up, as native code of this machine, whatever the target is."""
        from ..passes.manager import Options

        here = target_named("cpu")
        assert isinstance(here, NativeTarget)
        return model_of(here.compile(module, Options(verify=False), Stages()), self.threads)


class _Run:
    """One compression of one module, in place."""

    def __init__(
        self,
        asked: Compression,
        recipe: Recipe,
        module: ModuleOp,
        stages: Stages,
        target: Target | None,
    ):
        from ..ir.module import input_names
        from ..passes.compress.costs import Arithmetic

        self.asked = asked
        self.recipe = recipe
        self.module = module
        self.stages = stages
        self.target = target
        self.costs = target.costs() if target else Arithmetic()
        self.recovered: list[dict[str, Any]] = []
        inputs = input_names(module)
        given, self.labels = split_labels(asked.validation, inputs)
        self.label_problems = (
            [] if self.labels is None else label_problems(self.labels, given, classes_of(module))
        )
        self.samples = self._samples(split_labels(asked.calibration, inputs)[0], "calibration")
        self.judging = self._samples(given, "validation") or self.samples

    def report(self) -> dict[str, Any]:
        """Does it, and tells."""
        from ..passes.compress.outcome import layer_reports
        from .guard import WHY

        with self.stages("compress"):
            baseline, report = self._compressed()
        verdict = None
        if self._is_judged():
            with self.stages("judge"):
                verdict = self._judged(baseline, report)
        restored = verdict.restored if verdict else ()
        baseline.restore(restored)
        data, run = self.judging if self.asked.measure else None, None
        costs = self.costs.at(data.sizes()) if data else self.costs
        layers = layer_reports(baseline, report, costs, restored, WHY)
        if data:
            with self.stages("measure"):
                layers, run = self._compared(layers, baseline, data)
        baseline.release()
        return {
            "layers": [e.values() for e in layers],
            "metric": verdict and verdict.values(),
            "run": run and {**run, "threads": self.asked.threads},
            "recovery": self.recovered,
        }

    def _samples(self, given: Any, what: str) -> Samples | None:
        from ..passes.compress.samples import Samples

        if given is None:
            return None
        return Samples(given, self.module, self.asked.run, self.stages.progress, what)

    def _compressed(self) -> tuple[Baseline, Report]:
        from ..passes.compress.baseline import Baseline
        from ..passes.compress.compress import check_recipe, prepare_passes
        from ..passes.compress.fading import whole_weights
        from ..passes.compress.report import Report
        from ..passes.manager import run_passes

        report = Report(progress=self.stages.progress)
        others = (self.judging, self._problems())
        check_recipe(self.recipe, self.module, self.samples, *others)
        run_passes(self.module, prepare_passes(self.recipe))
        baseline = Baseline(self.module, self.recipe)
        recovery = self.asked.recovery
        if recovery is None:
            self._run(self.recipe, report)
            return baseline, report
        parts = self.recipe.stages()
        for part, training in zip(parts, recovery.stages(len(parts)), strict=True):
            whole = whole_weights(self.module, part)
            self._run(part, report)
            self.recovered.append(self._train(baseline, whole, training))
        return baseline, report

    def _problems(self) -> list[str]:
        """What is wrong with how to judge and to train, in words."""
        drop, found = self.asked.max_drop, list(self.label_problems)
        if drop is not None and not (isinstance(drop, Real) and drop >= 0):
            found.append(f"max_drop is {drop!r}: expected a number from 0 on")
        if drop is not None and self.judging is None and self.asked.metric is None:
            found.append("max_drop needs something to judge by: validation or calibration data")
        if self.asked.recovery and self.samples is None:
            found.append("recovery needs batches of inputs to train on")
        if self.asked.recovery and find_spec("torch") is None:
            found.append("recovery needs torch: pip install 'mlc[torch]'")
        return found

    def _run(self, recipe: Recipe, report: Report) -> None:
        from ..passes.compress.compress import compress_passes
        from ..passes.manager import run_passes

        run_passes(self.module, compress_passes(recipe, self.samples, report, self.costs))

    def _train(self, baseline: Baseline, whole: Whole, recovery: Recovery) -> dict[str, Any]:
        from .recovery import train

        assert self.samples is not None
        asked = (self.recipe, whole, self.samples, recovery, self.asked.threads)
        found = train(baseline, self.module, *asked, self.stages.progress)
        if found["shortfall"]:
            self.stages.note(found["shortfall"])
        return found

    def _is_judged(self) -> bool:
        asked = self.asked
        return any(given is not None for given in (asked.validation, asked.metric, asked.max_drop))

    def _judged(self, baseline: Baseline, report: Report) -> Verdict:
        from ..passes.compress.outcome import worst_first
        from .guard import judged

        asked = self.asked
        exact = asked.native(baseline.module.clone())
        metric = metric_of(asked.metric, list(self.judging or ()), self.labels, exact)
        order = worst_first(baseline, report)
        before = metric.score(exact)
        progress = self.stages.progress
        return judged(baseline, order, metric, before, asked.max_drop, asked.native, progress)

    def _compared(
        self, layers: list[LayerReport], baseline: Baseline, samples: Samples
    ) -> tuple[list[LayerReport], dict[str, Any] | None]:
        """With errors, and with times where the target is a CPU, which this one may be."""
        from .comparison import with_errors, with_times

        layers = with_errors(layers, baseline, self.module, samples)
        if not isinstance(self.target, NativeTarget):
            return layers, None
        return with_times(layers, baseline, self.module, samples, self._deployed)

    def _deployed(self, module: ModuleOp) -> Model:
        """The module, which is used up, as it will run."""
        from ..passes.manager import Options

        assert self.target is not None
        made = self.target.compile(module, Options(verify=False), Stages())
        return model_of(made, self.asked.threads)


def _kept(data: Any, what: str) -> Any:
    """Data that can be gone through again and again."""
    if isinstance(data, str) or not isinstance(data, Iterable | None):
        raise MlcError(f"{what} is {data!r}: expected batches of arrays, or a dict of arrays")
    if hasattr(data, "__array__"):
        return np.asarray(data)
    return data if data is None or isinstance(data, Mapping) else list(data)
