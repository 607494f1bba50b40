"""What passes that change the weights of layers share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Self

from xdsl.dialects.builtin import ModuleOp

from ..contract import Pass, Promise
from .hessian import Moments, moments_of
from .layers import Layer, encoded_layers, layers_of
from .recipe import OptionsT, Recipe
from .report import ENCODED, Report, Step
from .samples import Samples


@dataclass(frozen=True)
class WeightPass(Pass, Generic[OptionsT]):
    """Changes the weights of all layers that the recipe names.

    In a package of its own it is made without arguments; ``following`` gives it a recipe.

    Attributes:
        recipe: Which layers, and how.
        samples: Calibration data, which some methods need.
        report: Is told about every layer.
    """

    promise = Promise.LOSSY
    compresses = True
    recipe: Recipe = field(default_factory=Recipe)
    samples: Samples | None = None
    report: Report = field(default_factory=Report)

    def following(self, recipe: Recipe, samples: Samples | None, report: Report) -> Self:
        """The same pass for a recipe."""
        return replace(self, recipe=recipe, samples=samples, report=report)

    @abstractmethod
    def asked(self, layer: str) -> OptionsT | None:
        """The options for the layer of a name, or None."""

    def todo(self, module: ModuleOp) -> list[tuple[Layer, OptionsT]]:
        """The layers, each with its options; of those that are encoded it is told why they stay."""
        for name in encoded_layers(module):
            if options := self.asked(name):
                self.refuse(name, options, ENCODED)
        return [(layer, o) for layer in layers_of(module) if (o := self.asked(layer.name))]

    def refuse(self, layer: str, options: OptionsT, why: str) -> None:
        """Tells that nothing is done."""
        self.report.add(Step(layer, options.text(), "nothing", why))

    def moments(self, module: ModuleOp, layers: Sequence[Layer]) -> dict[Layer, Moments]:
        """Of what the layers read; empty without calibration data."""
        return moments_of(module, layers, self.samples) if self.samples and layers else {}
