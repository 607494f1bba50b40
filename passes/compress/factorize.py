"""A weight becomes a product of small ones, applied one after the other.

    %y = "mlc.matmul"(%x, %w)   [768, 768]   ->   %h = "mlc.matmul"(%x, %a)   [768, 192]
                                                  %y = "mlc.matmul"(%h, %b)   [192, 768]

A convolution becomes one with fewer filters and one that sees one place, or with one before it as
well. Layers where this is predicted to be slower are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.ops.conv import ConvOp
from .baseline import span
from .chains import along_a_train, in_sequence
from .costs import Arithmetic, Costs
from .factors import Factors, balanced, canonical, halves, strengths, train, tucker
from .hessian import Moments
from .layers import Layer
from .recipe import LowRank
from .report import Step, sqnr
from .weight_pass import WeightPass


@dataclass(frozen=True)
class FactorizeWeights(WeightPass[LowRank]):
    """Factorizes the weights of all layers that the recipe names, where ``costs`` say that it pays.

    ``samples`` are for the method ``activation``.
    """

    name = "factorize-weights"
    costs: Costs = field(default_factory=Arithmetic)

    def asked(self, layer: str) -> LowRank | None:
        """As the recipe says."""
        return self.recipe.low_rank_of(layer)

    def apply(self, module: ModuleOp) -> None:
        """Puts several layers in the place of one."""
        fine: list[tuple[Layer, LowRank]] = []
        for layer, options in self.todo(module):
            if why := misfit(layer, options):
                self.refuse(layer.name, options, why)
            else:
                fine.append((layer, options))
        moments = self.moments(module, [layer for layer, o in fine if o.method != "svd"])
        for layer, options in self.report.each("factorize weights", fine):
            self.report.add(factorize_layer(layer, options, moments.get(layer), self.costs))


def misfit(layer: Layer, options: LowRank) -> str:
    """Why a layer has no such factors; empty where it has."""
    window = isinstance(layer.op, ConvOp) and max(layer.shape[:-2]) > 1
    if layer.groups != 1:
        return "its channels are in groups that do not mix"
    if options.form in ("tucker", "cp") and not window:
        return f"the form {options.form!r} is for convolutions with a window"
    if options.form == "train" and isinstance(layer.op, ConvOp):
        return "the form 'train' is for matrices"
    if options.form == "train" and 1 in (*balanced(layer.inputs), *balanced(layer.outputs)):
        return f"{layer.inputs} x {layer.outputs} has a side that is no product"
    return ""


def factorize_layer(layer: Layer, options: LowRank, moments: Moments | None, costs: Costs) -> Step:
    """Puts several ops in the place of one where that pays, and says how close they come."""
    weight, hessian = layer.matrices()[0], moments.hessian(0) if moments else None
    rank = _rank(layer, weight, options, hessian, costs)
    gain = _gain(layer, options, rank, costs)
    if gain <= 1:
        why = f"rank {rank} is predicted to take {1 / gain:.2f}x the time of the whole weight"
        return Step(layer.name, options.text(), "nothing", why)
    factors = _factors(layer, weight, options, rank, hessian)
    layer.become(_place(layer, options, factors.parts))
    how = options.form if options.form != "matrix" else "activation" if moments else "svd"
    return Step(
        layer.name,
        options.text(),
        f"rank {rank} of {_full_rank(layer, options)} by {how}",
        sqnr=sqnr(weight, factors.whole.reshape(weight.shape), hessian),
    )


def _rank(
    layer: Layer, weight: np.ndarray, options: LowRank, hessian: np.ndarray | None, costs: Costs
) -> int:
    """The rank that is asked for by its share, by what it keeps, or by the time it takes."""
    full = _full_rank(layer, options)
    if options.by == "time":
        wanted = 1 / options.ratio
        return _largest(full, lambda rank: _gain(layer, options, rank, costs) >= wanted)
    if options.by == "rank":
        return rank_of(layer, options)
    energy = np.cumsum(strengths(weight, hessian) ** 2)
    kept = options.ratio if options.by == "energy" else 1 - options.ratio**2
    return int(np.searchsorted(energy, kept * energy[-1])) + 1


def rank_of(layer: Layer, options: LowRank) -> int:
    """The rank that is asked for as a share of the full one."""
    return max(1, round(options.ratio * _full_rank(layer, options)))


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest rank that fits; 1 where none does."""
    low, high = 1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _full_rank(layer: Layer, options: LowRank) -> int:
    if options.form in ("tucker", "cp"):
        return min(layer.segment, layer.outputs)
    if options.form == "train":
        (i1, i2), (o1, o2) = balanced(layer.inputs), balanced(layer.outputs)
        return min(i1 * o1, i2 * o2)
    return min(layer.inputs, layer.outputs)


def _factors(
    layer: Layer, weight: np.ndarray, options: LowRank, rank: int, hessian: np.ndarray | None
) -> Factors:
    if options.form == "train":
        return train(weight, rank)
    if options.form == "matrix":
        return halves(weight, rank, hessian)
    taps = weight.reshape(-1, layer.segment, layer.outputs)
    return canonical(taps, rank) if options.form == "cp" else tucker(taps, *_sides(layer, rank))


def _sides(layer: Layer, rank: int) -> tuple[int, int]:
    """Both ranks of a Tucker product: the same share of channels and of filters."""
    share = rank / min(layer.segment, layer.outputs)
    return max(1, round(share * layer.segment)), max(1, round(share * layer.outputs))


def _place(layer: Layer, options: LowRank, parts: tuple[np.ndarray, ...]) -> SSAValue:
    place = along_a_train if options.form == "train" else in_sequence
    return place(layer, parts)


def _gain(layer: Layer, options: LowRank, rank: int, costs: Costs) -> float:
    """The predicted time of the whole weight by that of factors; their ops are removed again."""
    shapes = _shapes(layer, options, rank)
    value = _place(layer, options, tuple(np.ones(shape, np.float32) for shape in shapes))
    ops = span(layer.input, value)
    after = costs.seconds(ops)
    for op in ops:
        op.detach()
        op.erase()
    return costs.seconds(span(layer.input, layer.result)) / after


def _shapes(layer: Layer, options: LowRank, rank: int) -> list[tuple[int, ...]]:
    """Of the factors."""
    taps = layer.inputs // layer.segment
    if options.form == "train":
        (i1, i2), (o1, o2) = balanced(layer.inputs), balanced(layer.outputs)
        return [(i2, rank * o2), (i1 * rank, o1)]
    if options.form == "cp":
        return [(layer.segment, rank), (taps, rank), (rank, layer.outputs)]
    if options.form == "tucker":
        left, right = _sides(layer, rank)
        return [(layer.segment, left), (taps, left, right), (right, layer.outputs)]
    return [(layer.inputs, rank), (rank, layer.outputs)]
