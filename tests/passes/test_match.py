"""The pattern language: orders, brackets, numbers, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from graphs import Graph, array, build
from mlc.ir.module import main_function
from mlc.ir.ops.elementwise import AddOp, CastOp, DivOp, ExpOp, MulOp, NegOp, SubOp
from mlc.passes.match import (
    Constant,
    Either,
    Found,
    Op,
    Pattern,
    Product,
    Scaled,
    Var,
    match,
    maybe,
)
from xdsl.ir import BlockArgument, SSAValue

X, Y, C = Var(), Var(), Constant()


def found(pattern: Pattern, graph: Callable[..., Any], *shapes: tuple) -> Found | None:
    block = main_function(build(graph, *(shapes or ((3,), (3,))))).body.block
    assert block.last_op
    return match(pattern, block.last_op.operands[0])


@pytest.mark.parametrize(
    "graph",
    [
        lambda g, x, y: g(MulOp, g(MulOp, x, 2.0), g(ExpOp, x)),
        lambda g, x, y: g(MulOp, 2.0, g(MulOp, g(ExpOp, x), x)),
        lambda g, x, y: g(DivOp, g(MulOp, x, g(ExpOp, x)), 0.5),
        lambda g, x, y: g(NegOp, g(MulOp, g(MulOp, x, -4.0), g(MulOp, g(ExpOp, x), 0.5))),
        lambda g, x, y: g(MulOp, g(ExpOp, x), g(MulOp, x, np.full((1, 1), 2, np.float32))),
    ],
)
def test_a_product_however_it_is_written(graph: Callable[..., SSAValue]):
    way = found(Product(X, Op(ExpOp, X), 2), graph)
    assert way
    assert isinstance(way[X], BlockArgument)


@pytest.mark.parametrize(
    "graph",
    [
        lambda g, x, y: g(MulOp, g(MulOp, x, 2.001), g(ExpOp, x)),
        lambda g, x, y: g(MulOp, g(MulOp, y, 2.0), g(ExpOp, x)),
        lambda g, x, y: g(MulOp, x, g(ExpOp, x)),
        lambda g, x, y: g(MulOp, g(MulOp, x, array(3)), g(ExpOp, x)),
        lambda g, x, y: g(MulOp, g(MulOp, g(MulOp, x, y), 2.0), g(ExpOp, x)),
    ],
)
def test_another_product(graph: Callable[..., SSAValue]):
    assert found(Product(X, Op(ExpOp, X), 2), graph) is None


def test_sums_match_in_both_orders_and_differences_do_not():
    pattern, difference = Op(AddOp, Op(ExpOp, X), Y), Op(SubOp, Op(ExpOp, X), Y)
    assert found(pattern, lambda g, x, y: g(AddOp, y, g(ExpOp, x)))
    assert found(difference, lambda g, x, y: g(SubOp, y, g(ExpOp, x))) is None


def test_what_is_used_elsewhere_is_not_matched():
    def graph(g: Graph, x: SSAValue, y: SSAValue):
        inner = g(ExpOp, x)
        return g(AddOp, inner, y), inner

    assert found(Op(AddOp, Op(ExpOp, X), Y), graph) is None
    assert found(Op(AddOp, X, Y), graph)


def test_a_pattern_may_be_written_twice():
    power = Op(ExpOp, X)
    pattern = Op(AddOp, power, Op(NegOp, power))

    def once(g: Graph, x: SSAValue, y: SSAValue):
        inner = g(ExpOp, x)
        return g(AddOp, inner, g(NegOp, inner))

    assert found(pattern, once)
    assert found(pattern, lambda g, x, y: g(AddOp, g(ExpOp, x), g(NegOp, g(ExpOp, y)))) is None


def test_alternatives():
    power = Op(ExpOp, X)
    pattern = Either(power, Op(NegOp, X))
    way = found(pattern, lambda g, x, y: g(NegOp, x))
    assert way
    assert way.get(power) is None
    assert found(maybe(CastOp, power), lambda g, x, y: g(ExpOp, x))


def test_numbers_are_taken_off():
    pattern = Scaled(Op(ExpOp, X))
    way = found(pattern, lambda g, x, y: g(MulOp, g(DivOp, g(ExpOp, x), 4.0), 3.0))
    plain = found(pattern, lambda g, x, y: g(ExpOp, x))
    assert way
    assert plain
    assert (way.factors[pattern], plain.factors[pattern]) == (0.75, 1.0)


def test_numbers_within_the_rounding_of_their_dtype():
    dtype = np.dtype(ml_dtypes.bfloat16)
    module = build(lambda g, x: g(AddOp, x, 0.7071), (3,), dtype=dtype)
    block = main_function(module).body.block
    assert block.last_op
    assert match(Op(AddOp, X, 2**-0.5), block.last_op.operands[0])
    assert found(Op(AddOp, X, C), lambda g, x, y: g(AddOp, x, array(3)))
    assert found(Op(AddOp, X, C), lambda g, x, y: g(AddOp, x, y)) is None
