"""Importers of activation functions."""

from __future__ import annotations

import torch
from xdsl.ir import SSAValue

from ...ir.dims import floordiv
from ...ir.ops import elementwise as e
from ...ir.types import type_of
from .registry import Node, importer

aten = torch.ops.aten


@importer(aten.leaky_relu)
def leaky_relu(node: Node) -> SSAValue:
    """``x`` where it is positive, else a multiple of it."""
    x, dtype = node.input(), node.type().dtype
    scaled = node.add(e.MulOp(x, node.constant(node.arg("negative_slope"), dtype)))
    return node.add(e.SelectOp(node.add(e.GtOp(x, node.constant(0, dtype))), x, scaled))


@importer(aten.elu)
def elu(node: Node) -> SSAValue:
    """``scale * x`` where positive, else ``scale * alpha * (exp(input_scale * x) - 1)``."""
    x, dtype = node.input(), node.type().dtype
    scale, alpha = float(node.arg("scale", 1)), float(node.arg("alpha", 1))
    power = node.add(e.MulOp(x, node.constant(node.arg("input_scale", 1), dtype)))
    power = node.add(e.SubOp(node.add(e.ExpOp(power)), node.constant(1, dtype)))
    low = node.add(e.MulOp(power, node.constant(scale * alpha, dtype)))
    high = node.add(e.MulOp(x, node.constant(scale, dtype)))
    return node.add(e.SelectOp(node.add(e.GtOp(x, node.constant(0, dtype))), high, low))


@importer(aten.gelu)
def gelu(node: Node) -> SSAValue:
    """Exact, or by tanh."""
    return node.add(e.GeluOp(node.input(), approximate=node.arg("approximate") == "tanh"))


@importer(aten.relu6)
def relu6(node: Node) -> SSAValue:
    """Between 0 and 6."""
    return _between(node, node.input(), 0, 6)


@importer(aten.hardsigmoid)
def hardsigmoid(node: Node) -> SSAValue:
    """``x / 6 + 1 / 2`` between 0 and 1."""
    return _hard_gate(node, node.input())


@importer(aten.hardswish)
def hardswish(node: Node) -> SSAValue:
    """``x * hardsigmoid(x)``."""
    return node.add(e.MulOp(node.input(), _hard_gate(node, node.input())))


@importer(aten.softplus)
def softplus(node: Node) -> SSAValue:
    """``log(1 + exp(beta * x)) / beta``, which is x above ``threshold``.

    The larger of ``beta * x`` and 0 is taken out of the logarithm: nothing overflows.
    """
    x, dtype = node.input(), node.type().dtype
    beta = node.constant(node.arg("beta", 1), dtype)
    scaled = node.add(e.MulOp(x, beta))
    top = node.add(e.ReluOp(scaled))
    rest = node.add(e.ExpOp(node.add(e.NegOp(node.add(e.AbsOp(scaled))))))
    log = node.add(e.LogOp(node.add(e.AddOp(rest, node.constant(1, dtype)))))
    smooth = node.add(e.DivOp(node.add(e.AddOp(top, log)), beta))
    large = node.add(e.GtOp(scaled, node.constant(node.arg("threshold", 20), dtype)))
    return node.add(e.SelectOp(large, x, smooth))


@importer(aten.mish)
def mish(node: Node) -> SSAValue:
    """``x * tanh(softplus(x))``, which is ``x * n / (n + 2)`` with ``n = exp(x) * (exp(x) + 2)``.

    Above 20 it is x, before the exponential can overflow.
    """
    x, dtype = node.input(), node.type().dtype
    limit, two = node.constant(20, dtype), node.constant(2, dtype)
    power = node.add(e.ExpOp(node.add(e.MinOp(x, limit))))
    n = node.add(e.MulOp(power, node.add(e.AddOp(power, two))))
    gated = node.add(e.MulOp(x, node.add(e.DivOp(n, node.add(e.AddOp(n, two))))))
    return node.add(e.SelectOp(node.add(e.GtOp(x, limit)), x, gated))


@importer(aten.prelu)
def prelu(node: Node) -> SSAValue:
    """``x`` where positive, else a learned multiple: one, or one a channel (dim 1)."""
    x, weight, dtype = node.input(), node.input("weight"), node.type().dtype
    rank, count = node.type().rank, node.type("weight").size
    if rank > 1:
        weight = node.reshape(weight, (1, count, *(1,) * (rank - 2)))
    scaled = node.add(e.MulOp(x, weight))
    return node.add(e.SelectOp(node.add(e.GtOp(x, node.constant(0, dtype))), x, scaled))


@importer(aten.glu)
def glu(node: Node) -> SSAValue:
    """The first half along ``dim``, gated by the sigmoid of the second."""
    axis = node.axis()
    half = floordiv(node.type().shape[axis], 2)
    x, gate = (node.slice(node.input(), axis, a, a + half) for a in (0, half))
    return node.add(e.MulOp(x, node.add(e.SigmoidOp(gate))))


def _between(node: Node, x: SSAValue, low: float, high: float) -> SSAValue:
    dtype = type_of(x).dtype
    above = node.add(e.MaxOp(x, node.constant(low, dtype)))
    return node.add(e.MinOp(above, node.constant(high, dtype)))


def _hard_gate(node: Node, x: SSAValue) -> SSAValue:
    dtype = type_of(x).dtype
    shifted = node.add(e.MulOp(x, node.constant(1 / 6, dtype)))
    return _between(node, node.add(e.AddOp(shifted, node.constant(0.5, dtype))), 0, 1)
