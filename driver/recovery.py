"""``mlc.recover``: a compilation with training between compression and code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

from ..ir.errors import MlcError
from ..runtime import Model

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ..passes.compress.baseline import Baseline
    from ..passes.compress.fading import Whole
    from ..passes.compress.recipe import Recipe
    from ..passes.compress.samples import Samples


@dataclass(frozen=True)
class Recovery:
    """How long and how fast to train what a recipe compressed.

    Attributes:
        steps: Batches to train on, over and over again.
        minutes: To stop after, whatever was done.
        rate: How far a step moves a weight, as a share of its matrix's root mean square.
        layers: How much the results of layers count beside those of the model.
        classes: Whether the model's results are scores of classes, which become probabilities.
        seed: Of the order of the batches.
    """

    steps: int = 1000
    minutes: float = 10.0
    rate: float = 0.02
    layers: float = 1.0
    classes: bool = False
    seed: int = 0

    def stages(self, count: int) -> list[Recovery]:
        """The steps and minutes as those of stages, the last as long as all others together."""
        last = 1.0 if count == 1 else 0.5
        shares = [(1 - last) / max(count - 1, 1)] * (count - 1) + [last]
        return [
            replace(self, steps=max(1, round(s * self.steps)), minutes=s * self.minutes)
            for s in shares
        ]

    def __post_init__(self):
        amounts = self.steps, self.minutes, self.rate
        if not all(isinstance(n, Real) and n > 0 for n in amounts) or self.steps != int(self.steps):
            raise MlcError(f"recovery needs steps, minutes and a rate that are positive: {self}")
        if not isinstance(self.layers, Real) or not self.layers >= 0:
            raise MlcError(f"recovery needs a weight of layers from 0 on: {self}")


def recover(
    model: Any,
    recipe: Recipe,
    batches: Any,
    *,
    steps: int = Recovery.steps,
    minutes: float = Recovery.minutes,
    rate: float = Recovery.rate,
    layers: float = Recovery.layers,
    classes: bool = Recovery.classes,
    seed: int = Recovery.seed,
    **options: Any,
) -> Model:
    """Compresses a model, trains it to do again what it did before, and compiles it.

    The original model teaches the compressed one, on inputs without labels: it has to compute the
    same results, and the same in every layer. Zeros stay zeros, weights stay on their levels
    (rounding lets gradients pass), factors stay thin; scales, biases and norms are trained too.
    Weights that are pruned go step by step in the first half of their training, those first that
    it takes least notice of; few levels come last, and take half of the time.

    >>> model = mlc.recover(module, mlc.Recipe.of(sparsify=0.8), batches, inputs=example)

    Args:
        model: A ``torch.nn.Module`` or any other model that ``compile`` takes; torch must be
            installed in any case.
        recipe: How to compress the model.
        batches: Inputs, as ``calibration`` of ``compile``; they calibrate as well.
        steps: Batches to train on, over and over again.
        minutes: To stop after, whatever was done; a note on stderr and the report tell of it.
        rate: How far a step moves a weight, as a share of its matrix's root mean square.
        layers: How much the results of layers count beside those of the model.
        classes: Whether the model's results are scores of classes: then not they are compared but
            the probabilities that they mean.
        seed: Of the order of the batches.
        options: The others of ``compile``.

    Raises:
        MlcError: As in ``compile``; or torch has no gradient of an op of the model.
    """
    from .compilation import compile

    recovery = Recovery(steps, minutes, rate, layers, classes, seed)
    return compile(model, recipe=recipe, calibration=batches, recovery=recovery, **options)


def train(
    baseline: Baseline,
    module: ModuleOp,
    recipe: Recipe,
    whole: Whole,
    samples: Samples,
    recovery: Recovery,
    threads: int,
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Trains the weights of ``module`` in place; what is to be told about it.

    Those that were ``whole`` until now are pruned anew, step by step.
    """
    from ..frontends.torch.distill import Training, distill
    from ..ir.module import main_function
    from ..passes.compress.fading import Fading
    from ..passes.compress.samples import returning
    from ..passes.compress.trainable import put_back, trainable

    def told(of: ModuleOp, layers: Any) -> list[Any]:
        returned = main_function(of).body.block.last_op
        return [*(returned.operands if returned else ()), *(gives for _, gives in layers)]

    fading = Fading.of(module, recipe, whole)
    weights = trainable(module, recipe, fading)
    student = returning(module, told(module, baseline.now), [w.value for w in weights])
    teacher = returning(baseline.module, told(baseline.module, baseline.before))
    results = len(told(module, ()))
    training = Training(**asdict(recovery), threads=threads)
    data = (fading.masks, list(samples))
    trained = distill(teacher, student, weights, *data, results, training, progress)
    put_back(weights, trained.arrays)
    found = {"steps": trained.steps, "before": trained.before, "after": trained.after}
    return {**found, "shortfall": trained.shortfall(training)}
