"""Importers of activation functions."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.ir import SSAValue

from ...ir.ops import elementwise as e
from ...ir.ops.reduce import accumulator
from ...ir.types import type_of
from .node import Node
from .registry import importer

Activation = Callable[[Node, SSAValue], SSAValue]


def activation(name: str, since: int = 1) -> Callable[[Activation], Activation]:
    """Registers a function of one operand, which it gets as f32 where it is narrower."""

    def register(function: Activation) -> Activation:
        @importer(name, since=since)
        def run(node: Node) -> SSAValue:
            dtype = node.type().dtype
            wide = node.cast(node.input(), accumulator(dtype))
            return node.cast(function(node, wide), dtype)

        return function

    return register


@importer("Gelu")
def gelu(node: Node) -> SSAValue:
    """Exact, or by tanh."""
    approximate = node.attribute("approximate", "none") == "tanh"
    return node.add(e.GeluOp(node.input(), approximate=approximate))


@activation("LeakyRelu")
def leaky_relu(node: Node, x: SSAValue) -> SSAValue:
    """``x`` where it is not negative, else ``alpha * x``."""
    return _where_negative(node, _times(node, x, node.attribute("alpha", 0.01)), x)


@activation("PRelu", since=7)
def parametric_relu(node: Node, x: SSAValue) -> SSAValue:
    """``x`` where it is not negative, else ``slope * x``."""
    slope = node.cast(node.input(1), type_of(x).dtype)
    return _where_negative(node, node.add(e.MulOp(x, slope)), x)


@activation("PRelu")
def parametric_relu_of_channels(node: Node, x: SSAValue) -> SSAValue:
    """A vector of slopes is one a channel before opset 7."""
    slope, rank = node.cast(node.input(1), type_of(x).dtype), type_of(x).rank
    if node.type(1).rank == 1 and rank > 1:
        slope = node.reshape(slope, (*node.type(1).shape, *(1,) * (rank - 2)))
    return _where_negative(node, node.add(e.MulOp(x, slope)), x)


@activation("Elu")
def elu(node: Node, x: SSAValue) -> SSAValue:
    """``x`` where it is not negative, else ``alpha * (exp(x) - 1)``."""
    low = _times(node, _exp_minus_one(node, x), node.attribute("alpha", 1.0))
    return _where_negative(node, low, x)


@activation("Selu")
def selu(node: Node, x: SSAValue) -> SSAValue:
    """``gamma`` times an Elu (Klambauer et al., 2017)."""
    low = _times(node, _exp_minus_one(node, x), node.attribute("alpha", 1.6732632423543772))
    return _times(node, _where_negative(node, low, x), node.attribute("gamma", 1.0507009873554805))


@activation("Celu")
def celu(node: Node, x: SSAValue) -> SSAValue:
    """``x`` where it is not negative, else ``alpha * (exp(x / alpha) - 1)``."""
    alpha = node.attribute("alpha", 1.0)
    low = _exp_minus_one(node, _times(node, x, 1 / alpha))
    return _where_negative(node, _times(node, low, alpha), x)


@activation("ThresholdedRelu")
def thresholded_relu(node: Node, x: SSAValue) -> SSAValue:
    """``x`` where it is above ``alpha``, else 0."""
    dtype = type_of(x).dtype
    above = node.add(e.GtOp(x, node.constant(node.attribute("alpha", 1.0), dtype)))
    return node.add(e.SelectOp(above, x, node.constant(0, dtype)))


@activation("HardSigmoid")
def hard_sigmoid(node: Node, x: SSAValue) -> SSAValue:
    """``min(max(alpha * x + beta, 0), 1)``."""
    return _hard(node, x, node.attribute("alpha", 0.2), node.attribute("beta", 0.5))


@activation("HardSwish")
def hard_swish(node: Node, x: SSAValue) -> SSAValue:
    """``x * min(max(x / 6 + 0.5, 0), 1)``."""
    return node.add(e.MulOp(x, _hard(node, x, 1 / 6, 0.5)))


@activation("Swish")
def swish(node: Node, x: SSAValue) -> SSAValue:
    """``x * sigmoid(alpha * x)``."""
    alpha = node.attribute("alpha", 1.0)
    if alpha == 1.0:
        return node.add(e.SiluOp(x))
    return node.add(e.MulOp(x, node.add(e.SigmoidOp(_times(node, x, alpha)))))


@activation("Softplus")
def softplus(node: Node, x: SSAValue) -> SSAValue:
    """``log(1 + exp(x))``, in the form that does not overflow."""
    tail = node.add(e.ExpOp(node.add(e.NegOp(node.add(e.AbsOp(x))))))
    tail = node.add(e.LogOp(node.add(e.AddOp(tail, node.constant(1, type_of(x).dtype)))))
    return node.add(e.AddOp(node.add(e.ReluOp(x)), tail))


@activation("Mish")
def mish(node: Node, x: SSAValue) -> SSAValue:
    """``x * tanh(softplus(x))`` (Misra, 2019)."""
    return node.add(e.MulOp(x, node.add(e.TanhOp(softplus(node, x)))))


@activation("Softsign")
def softsign(node: Node, x: SSAValue) -> SSAValue:
    """``x / (1 + abs(x))``."""
    below = node.add(e.AddOp(node.add(e.AbsOp(x)), node.constant(1, type_of(x).dtype)))
    return node.add(e.DivOp(x, below))


@activation("Shrink")
def shrink(node: Node, x: SSAValue) -> SSAValue:
    """``bias`` nearer to 0 where x is farther from it than ``lambd``, else 0."""
    dtype, bound = type_of(x).dtype, node.attribute("lambd", 0.5)
    bias = node.constant(node.attribute("bias", 0.0), dtype)
    low, high = node.add(e.AddOp(x, bias)), node.add(e.SubOp(x, bias))
    above = node.add(e.GtOp(x, node.constant(bound, dtype)))
    inner = node.add(e.SelectOp(above, high, node.constant(0, dtype)))
    return node.add(e.SelectOp(node.add(e.LtOp(x, node.constant(-bound, dtype))), low, inner))


def _where_negative(node: Node, low: SSAValue, x: SSAValue) -> SSAValue:
    negative = node.add(e.LtOp(x, node.constant(0, type_of(x).dtype)))
    return node.add(e.SelectOp(negative, low, x))


def _times(node: Node, x: SSAValue, factor: float) -> SSAValue:
    if factor == 1.0:
        return x
    return node.add(e.MulOp(x, node.constant(factor, type_of(x).dtype)))


def _exp_minus_one(node: Node, x: SSAValue) -> SSAValue:
    return node.add(e.SubOp(node.add(e.ExpOp(x)), node.constant(1, type_of(x).dtype)))


def _hard(node: Node, x: SSAValue, alpha: float, beta: float) -> SSAValue:
    dtype = type_of(x).dtype
    line = node.add(e.AddOp(_times(node, x, alpha), node.constant(beta, dtype)))
    return node.add(e.MinOp(node.add(e.ReluOp(line)), node.constant(1, dtype)))
