"""Arithmetic with constants: what is left, up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from graphs import apply, array, build, first, names
from mlc.ir.ops import elementwise as e
from mlc.ir.ops import reduce as r
from mlc.ir.ops.attention import AttentionOp
from mlc.ir.ops.shape import ConcatOp, ReshapeOp, TransposeOp
from mlc.passes.simplify_arithmetic import SimplifyArithmetic
from mlc.passes.values import number

Build = Callable[..., Any]


def positive(g: Any, x: Any) -> Any:
    return g(e.AddOp, g(e.MulOp, x, x), 1.0)


CASES: dict[str, tuple[Build, tuple, list[str]]] = {
    "plus zero": (lambda g, x: g(e.AddOp, x, 0.0), ((3,),), []),
    "by a number": (lambda g, x: g(e.DivOp, x, 3.0), ((3,),), ["mul"]),
    "by numbers": (lambda g, x: g(e.DivOp, x, array(3) + 9), ((3,),), ["mul"]),
    "by nearly nothing": (lambda g, x: g(e.DivOp, x, 1e-38), ((3,),), ["div"]),
    "by a root": (
        lambda g, x: g(e.DivOp, x, g(e.SqrtOp, positive(g, x))),
        ((3,),),
        ["mul", "add", "rsqrt", "mul"],
    ),
    "one by a root": (
        lambda g, x: g(e.DivOp, 1.0, g(e.SqrtOp, positive(g, x))),
        ((3,),),
        ["mul", "add", "rsqrt"],
    ),
    "times an inverse": (
        lambda g, x, y: g(e.MulOp, x, g(e.DivOp, 1.0, positive(g, y))),
        ((3,), (3,)),
        ["mul", "add", "div"],
    ),
    "times a smaller inverse": (
        lambda g, x, y: g(e.MulOp, x, g(e.DivOp, 1.0, positive(g, y))),
        ((4, 3), (4, 1)),
        ["mul", "add", "div", "mul"],
    ),
    "square": (lambda g, x: g(e.PowOp, x, 2.0), ((3,),), ["mul"]),
    "cube": (lambda g, x: g(e.PowOp, x, np.full(1, 3, np.float32)), ((3,),), ["mul", "mul"]),
    "root": (lambda g, x: g(e.PowOp, positive(g, x), 0.5), ((3,),), ["mul", "add", "sqrt"]),
    "other power": (lambda g, x: g(e.PowOp, positive(g, x), 1.5), ((3,),), ["mul", "add", "pow"]),
    "sums": (
        lambda g, x: g(e.AddOp, g(e.SubOp, g(e.AddOp, x, 1.0), array(3)), 2.0),
        ((3,),),
        ["add"],
    ),
    "products": (lambda g, x: g(e.DivOp, g(e.MulOp, array(3), x), 2.0), ((4, 3),), ["mul"]),
    "products that grow": (
        lambda g, x: g(e.MulOp, g(e.MulOp, x, array(4, 1)), array(3)),
        ((4, 3),),
        ["mul", "mul"],
    ),
    "negated": (lambda g, x: g(e.MulOp, g(e.NegOp, x), 2.0), ((3,),), ["mul"]),
    "mean": (
        lambda g, x: g(e.DivOp, g(r.ReduceSumOp, x, axes=(1,), keepdims=True), 6.0),
        ((4, 6),),
        ["reduce_mean"],
    ),
    "no mean": (
        lambda g, x: g(e.DivOp, g(r.ReduceSumOp, x, axes=(1,), keepdims=True), 5.0),
        ((4, 6),),
        ["reduce_sum", "mul"],
    ),
    "integers": (lambda g, x: g(e.DivOp, x, np.array(3)), ((3,),), ["div"]),
}


@pytest.mark.parametrize(("graph", "shapes", "left"), CASES.values(), ids=list(CASES))
def test_what_is_left(graph: Build, shapes: tuple, left: list[str], request: Any):
    dtypes = [np.int64] if "integers" in request.node.name else ()
    module = apply(build(graph, *shapes, dtypes=dtypes), SimplifyArithmetic())
    assert names(module) == left
    assert names(apply(module, SimplifyArithmetic())) == left


def test_constants_are_added_up():
    module = build(lambda g, x: g(e.AddOp, g(e.AddOp, x, 1.0), 2.0), (3,))
    assert number(first(apply(module, SimplifyArithmetic()), e.AddOp).y) == 3


def test_what_is_used_elsewhere_is_not_reassociated():
    def graph(g: Any, x: Any):
        inner = g(e.AddOp, x, 1.0)
        return g(e.AddOp, inner, 2.0), inner

    assert names(apply(build(graph, (3,)), SimplifyArithmetic())) == ["add", "add"]


def test_numbers_on_queries_and_keys_are_the_scale():
    def graph(g: Any, q: Any, k: Any, v: Any):
        q = g(TransposeOp, g(ReshapeOp, g(e.MulOp, q, 0.5), shape=(1, 5, 2, 4)), perm=(0, 2, 1, 3))
        return g(AttentionOp, q, g(e.MulOp, k, 0.25), v, scale=2.0)

    module = apply(build(graph, (1, 5, 8), (1, 2, 6, 4), (1, 2, 6, 4)), SimplifyArithmetic())
    assert names(module) == ["reshape", "transpose", "attention"]
    assert first(module, AttentionOp).scale == 0.25


def test_a_number_on_a_part_of_the_keys_stays():
    def graph(g: Any, q: Any, k: Any, v: Any):
        keys = g(ConcatOp, k, g(e.MulOp, k, 0.25), axis=2)
        return g(AttentionOp, q, keys, v)

    module = apply(build(graph, (1, 2, 5, 4), (1, 2, 3, 4), (1, 2, 6, 4)), SimplifyArithmetic())
    assert names(module) == ["mul", "concat", "attention"]
