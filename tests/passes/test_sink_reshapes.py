"""Reshapes that move towards the results until they meet."""

from __future__ import annotations

from typing import Any

import pytest
from graphs import Graph, apply, array, build, names
from mlc.ir.dims import symbol
from mlc.ir.ops.elementwise import AddOp, GeluOp, MulOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.norm import LayerNormOp, SoftmaxOp
from mlc.ir.ops.shape import ReshapeOp, TransposeOp
from mlc.passes.sink_reshapes import SinkReshapes
from xdsl.ir import SSAValue

N = symbol("N")


def linear(g: Graph, x: SSAValue, inputs: int, outputs: int) -> SSAValue:
    return g(AddOp, g(MatmulOp, x, array(inputs, outputs)), array(outputs))


def flat_layers(g: Graph, x: SSAValue) -> SSAValue:
    """As GPT-2 is exported: every layer on a matrix."""
    for _ in range(2):
        y = g(ReshapeOp, x, shape=(6, 8))
        y = g(GeluOp, linear(g, y, 8, 12))
        y = g(ReshapeOp, linear(g, y, 12, 8), shape=(2, 3, 8))
        x = g(LayerNormOp, g(AddOp, x, y), axis=2)
    return x


def batch_of_products(g: Graph, q: SSAValue, k: SSAValue, mask: SSAValue) -> SSAValue:
    """As BART is exported: heads merged into the batch, split again for the mask."""
    q, k = g(ReshapeOp, q, shape=(6, 5, 4)), g(ReshapeOp, k, shape=(6, 4, 7))
    scores = g(AddOp, g(ReshapeOp, g(MatmulOp, q, k), shape=(2, 3, 5, 7)), mask)
    return g(SoftmaxOp, g(ReshapeOp, scores, shape=(6, 5, 7)), axis=2)


def joined_heads(g: Graph, x: SSAValue, residual: SSAValue) -> SSAValue:
    """The reshape before the layer cannot be sunk, the one behind it moves to it."""
    y = g(ReshapeOp, g(TransposeOp, x, perm=(0, 2, 1, 3)), shape=(10, 8))
    y = g(ReshapeOp, linear(g, y, 8, 8), shape=(2, 5, 8))
    return g(AddOp, y, residual)


def test_layers_on_matrices():
    module = apply(build(flat_layers, (2, 3, 8)), SinkReshapes())
    layer = ["matmul", "add", "gelu", "matmul", "add", "add", "layer_norm"]
    assert names(module) == layer * 2


def test_batch_of_products():
    shapes = (2, 3, 5, 4), (2, 3, 4, 7), (2, 1, 1, 7)
    module = apply(build(batch_of_products, *shapes), SinkReshapes())
    assert names(module) == ["matmul", "add", "softmax", "reshape"]


def test_joined_heads():
    module = apply(build(joined_heads, (2, 2, 5, 4), (2, 5, 8)), SinkReshapes())
    assert names(module) == ["transpose", "reshape", "matmul", "add", "add"]


@pytest.mark.parametrize(
    "graph",
    [
        lambda g, x: g(MulOp, g(ReshapeOp, x, shape=("12*N",)), array(1)),
        lambda g, x: g(MulOp, y := g(ReshapeOp, x, shape=("6*N", 2)), y),
        lambda g, x: g(MulOp, g(ReshapeOp, x, shape=("2*N", 3, 2)), array(1, 1, 2)),
        lambda g, x: g(MulOp, g(ReshapeOp, x, shape=("N", 6, 1, 2, 1)), array(6, 1, 1, 1)),
    ],
)
def test_through_elementwise_ops(graph: Any):
    module = apply(build(graph, (N, 6, 2)), SinkReshapes(), sizes={"N": 2})
    assert names(module) == ["mul", "reshape"]


@pytest.mark.parametrize(
    "graph",
    [
        lambda g, x, y: g(AddOp, g(ReshapeOp, x, shape=(6,)), y),
        lambda g, x, y: g(SoftmaxOp, g(ReshapeOp, x, shape=(6,)), axis=0),
        lambda g, x, y: g(MatmulOp, g(ReshapeOp, x, shape=(3, 2)), array(2, 2)),
    ],
)
def test_what_stops_a_reshape(graph: Any):
    module = apply(build(graph, (2, 3), (6,)), SinkReshapes())
    assert names(module)[0] == "reshape"
