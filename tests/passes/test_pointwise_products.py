"""Convolutions of one place become products, if those compute on codes; others stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph, array, counts
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.passes.compress.quantize_weights import QuantizeWeights
from mlc.passes.compress.recipe import Quantize, Recipe
from mlc.passes.pointwise_products import PointwiseProducts
from native import Native
from xdsl.dialects.builtin import ModuleOp

PLAIN = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": 1}
X = array(2, 3, 5, 72)


def encoded(size: int, options: Quantize, filters: int = 60, **params: Any) -> ModuleOp:
    """A convolution by a weight of few bits."""
    graph = Graph(X.shape)
    weight = array(size, size, 72 // params.get("groups", 1), filters, seed=1)
    module = graph.module(graph(ConvOp, graph.inputs[0], weight, **(PLAIN | params)))
    QuantizeWeights(Recipe(options)).apply(module)
    return module


@pytest.mark.parametrize(
    "options",
    [
        Quantize(4, group=32),
        Quantize(4, group=16, symmetric=True),
        Quantize(2, group=8),
        Quantize(),
    ],
)
def test_the_meaning_stays(options: Quantize):
    module = encoded(1, options)
    (wanted,) = interpret(module, [X])
    np.testing.assert_allclose(Native(module.clone()).run([X])[0], wanted, rtol=1e-4, atol=1e-4)
    PointwiseProducts(lambda op: (True, "")).apply(module)
    assert counts(module)["matmul"] == 1
    assert counts(module)["conv"] == 0
    np.testing.assert_allclose(interpret(module, [X])[0], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "params"),
    [(3, {}), (1, {"strides": (1, 2)}), (1, {"pads": (0, 1, 0, 0)}), (1, {"groups": 4})],
)
def test_others_stay(size: int, params: dict[str, Any]):
    module = encoded(size, Quantize(4, group=8), **params)
    before = str(module)
    PointwiseProducts(lambda op: (True, "")).apply(module)
    assert str(module) == before


@pytest.mark.parametrize(("filters", "taken"), [(60, False), (8, True)])
def test_what_would_be_decoded_and_what_is_small_stays(filters: int, taken: bool):
    module = encoded(1, Quantize(4, group=8), filters)
    before = str(module)
    PointwiseProducts(lambda op: (taken, "")).apply(module)
    assert str(module) == before
    assert sum(isinstance(op, DequantizeOp) for op in module.walk()) == 1
