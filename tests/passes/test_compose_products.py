"""Products with constant matrices, pushed to where they are less work."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from graphs import Graph, apply, array, build, names
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, ReluOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.resize import ResizeOp
from mlc.ir.ops.shape import ConcatOp, ReshapeOp
from mlc.passes.compose_products import ComposeProducts
from xdsl.ir import SSAValue

Draw = Callable[[Graph, SSAValue], SSAValue]


def pushed(draw: Draw, *shape: int) -> list[str]:
    """The ops that are left; they compute the same."""
    module = build(draw, shape)
    x = [array(*shape, seed=7)]
    expected = interpret(module, x)[0]
    apply(module, ComposeProducts())
    np.testing.assert_allclose(interpret(module, x)[0], expected, rtol=1e-4, atol=1e-4)
    return names(module)


def mixed(g: Graph, x: SSAValue, channels: int, filters: int) -> SSAValue:
    """A 1x1 convolution."""
    weight = array(1, 1, channels, filters, seed=filters)
    plain = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": 1}
    return g(ConvOp, x, weight, **plain)


def larger(g: Graph, x: SSAValue, height: int, width: int, **params: object) -> SSAValue:
    return g(ResizeOp, x, axes=(1, 2), sizes=(height, width), **params)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_before_a_resize(mode: str):
    def draw(g: Graph, x: SSAValue) -> SSAValue:
        return mixed(g, larger(g, x, 7, 10, mode=mode), 4, 5)

    assert pushed(draw, 2, 3, 5, 4) == ["matmul", "resize"]


def test_not_where_a_resize_shrinks():
    def draw(g: Graph, x: SSAValue) -> SSAValue:
        return mixed(g, larger(g, x, 3, 3), 4, 5)

    assert pushed(draw, 2, 6, 6, 4) == ["resize", "conv"]


def test_into_a_layer_with_a_bias():
    def draw(g: Graph, x: SSAValue) -> SSAValue:
        y = g(AddOp, g(MatmulOp, x, array(4, 32)), array(32))
        return g(MatmulOp, y, array(32, 16))

    assert pushed(draw, 3, 5, 4) == ["matmul", "add"]


@pytest.mark.parametrize(("rows", "depth", "columns"), [(0, 4, 3), (3, 0, 3), (3, 4, 0)])
def test_empty_products_stay(rows: int, depth: int, columns: int):
    def draw(g: Graph, x: SSAValue) -> SSAValue:
        return g(MatmulOp, g(MatmulOp, x, array(depth, depth)), array(depth, columns))

    assert pushed(draw, rows, depth) == ["matmul", "matmul"]


def test_into_a_convolution():
    def draw(g: Graph, x: SSAValue) -> SSAValue:
        plain = {"strides": (2, 2), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}
        return mixed(g, g(ConvOp, x, array(3, 3, 2, 40), **plain), 40, 30)

    assert pushed(draw, 2, 8, 9, 2) == ["conv"]


def test_a_narrow_layer_stays():
    def draw(g: Graph, x: SSAValue) -> SSAValue:
        return g(MatmulOp, g(MatmulOp, x, array(32, 4)), array(4, 32))

    assert pushed(draw, 5, 32) == ["matmul", "matmul"]


def test_what_is_used_elsewhere_stays():
    def draw(g: Graph, x: SSAValue) -> SSAValue:
        y = g(MatmulOp, x, array(4, 32))
        return g(AddOp, g(MatmulOp, y, array(32, 32)), y)

    assert pushed(draw, 5, 4) == ["matmul", "matmul", "add"]


def test_an_activation_bars_the_way():
    def draw(g: Graph, x: SSAValue) -> SSAValue:
        return g(MatmulOp, g(ReluOp, g(MatmulOp, x, array(4, 32))), array(32, 32))

    assert pushed(draw, 5, 4) == ["matmul", "relu", "matmul"]


def test_the_head_of_a_segmentation_network():
    """Maps of two sizes, projected, enlarged, joined, mixed: one small product for each."""

    def draw(g: Graph, x: SSAValue) -> SSAValue:
        small = g(AddOp, g(MatmulOp, g(ReshapeOp, x, shape=(1, 12, 4)), array(4, 16)), array(16))
        small = larger(g, g(ReshapeOp, small, shape=(1, 3, 4, 16)), 12, 16)
        large = g(MatmulOp, larger(g, g(ReluOp, x), 12, 16), array(4, 16, seed=1))
        return mixed(g, g(ConcatOp, small, large, axis=3), 32, 16)

    left = pushed(draw, 1, 3, 4, 4)
    assert left.count("matmul") == 2
    assert not {"conv", "concat"} & {*left}
