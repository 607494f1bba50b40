"""Attention and rotary embeddings, as exporters write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from graphs import Graph, apply, array, build, counts, first, names
from mlc.ir.dims import symbol
from mlc.ir.ops import elementwise as e
from mlc.ir.ops.attention import AttentionOp, RotaryOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.norm import SoftmaxOp
from mlc.ir.ops.shape import BroadcastOp, ConcatOp, ReshapeOp, SliceOp, TransposeOp
from mlc.passes.contract import Pass
from mlc.passes.pipeline import RECOGNIZE, SIMPLIFY
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

Build = Callable[..., Any]
N, S = symbol("N"), symbol("S")
ALL: tuple[Pass, ...] = (*SIMPLIFY, *RECOGNIZE)
Q, K = (2, 3, 5, 4), (2, 3, 7, 4)
TURN = (0, 1, 3, 2)
LEAST = float(np.finfo(np.float32).min)


def recognized(graph: Build, *shapes: Any, **kind: Any) -> ModuleOp:
    return apply(build(graph, *shapes, **kind), *ALL, sizes={"N": 2, "S": 5})


def scores(g: Graph, q: SSAValue, k: SSAValue) -> SSAValue:
    return g(MatmulOp, q, g(TransposeOp, k, perm=TURN))


def mixed(g: Graph, x: SSAValue, v: SSAValue) -> SSAValue:
    return g(MatmulOp, g(SoftmaxOp, x, axis=3), v)


def guarded(g: Graph, x: SSAValue, v: SSAValue) -> SSAValue:
    """As torch writes scaled_dot_product_attention."""
    p = g(SoftmaxOp, x, axis=3)
    return g(MatmulOp, g(e.SelectOp, g(e.IsnanOp, p), 0.0, p), v)


SCALES: dict[str, Build] = {
    "none": lambda g, q, k, v: mixed(g, scores(g, q, k), v),
    "after": lambda g, q, k, v: mixed(g, g(e.MulOp, scores(g, q, k), 0.5), v),
    "divided": lambda g, q, k, v: mixed(g, g(e.DivOp, scores(g, q, k), 2.0), v),
    "before": lambda g, q, k, v: mixed(g, scores(g, g(e.MulOp, 0.5, q), k), v),
    "both sides": lambda g, q, k, v: mixed(
        g, scores(g, g(e.MulOp, q, 2**-0.5), g(e.MulOp, k, 2**-0.5)), v
    ),
    "keys turned first": lambda g, q, k, v: mixed(
        g, g(MatmulOp, q, g(e.MulOp, g(TransposeOp, k, perm=TURN), 0.5)), v
    ),
    "guarded": lambda g, q, k, v: guarded(g, g(e.MulOp, scores(g, q, k), 0.5), v),
}


@pytest.mark.parametrize("form", SCALES)
def test_scales(form: str):
    module = recognized(SCALES[form], Q, K, K)
    assert names(module) == ["attention"]
    assert first(module, AttentionOp).scale == pytest.approx(1 if form == "none" else 0.5)


MASKS: dict[str, Build] = {
    "added": lambda g, s, m: g(e.AddOp, s, m),
    "added twice": lambda g, s, m: g(e.AddOp, array(3, 5, 7), g(e.AddOp, s, m)),
    "of a condition": lambda g, s, m: g(e.AddOp, s, g(e.SelectOp, g(e.GtOp, m, 0.5), 0.0, LEAST)),
    "chosen": lambda g, s, m: g(e.SelectOp, g(e.GtOp, m, 0.5), s, LEAST),
    "dropped": lambda g, s, m: g(e.SelectOp, g(e.GtOp, m, 0.5), -1e9, s),
}


@pytest.mark.parametrize("form", MASKS)
@pytest.mark.parametrize("shape", [(5, 7), (2, 1, 1, 7)])
def test_masks(form: str, shape: tuple):
    def graph(g: Graph, q: SSAValue, k: SSAValue, v: SSAValue, mask: SSAValue) -> SSAValue:
        return mixed(g, MASKS[form](g, g(e.MulOp, scores(g, q, k), 0.5), mask), v)

    module = recognized(graph, Q, K, K, shape)
    assert counts(module)["attention"] == 1
    assert counts(module)["softmax"] == 0
    assert len(first(module, AttentionOp).operands) == 4


def test_a_weak_choice_is_no_mask():
    def graph(g: Graph, q: SSAValue, k: SSAValue, v: SSAValue, mask: SSAValue) -> SSAValue:
        return mixed(g, g(e.SelectOp, g(e.GtOp, mask, 0.5), scores(g, q, k), -100.0), v)

    assert counts(recognized(graph, Q, K, K, (5, 7)))["attention"] == 0


@pytest.mark.parametrize(("lost", "left"), [(LEAST, 0), (-np.inf, 1)])
def test_the_guard_stays_where_whole_rows_may_be_masked(lost: float, left: int):
    def graph(g: Graph, q: SSAValue, k: SSAValue, v: SSAValue, mask: SSAValue) -> SSAValue:
        bias = g(e.SelectOp, g(e.GtOp, mask, 0.5), 0.0, lost)
        return guarded(g, g(e.AddOp, scores(g, q, k), bias), v)

    module = recognized(graph, Q, K, K, (2, 1, 5, 7))
    assert (counts(module)["attention"], counts(module)["isnan"]) == (1, left)


def test_a_guard_gives_zero_for_a_masked_row():
    def graph(g: Graph, q: SSAValue, k: SSAValue, v: SSAValue) -> SSAValue:
        mask = np.zeros((5, 7), np.float32)
        mask[2] = -np.inf
        return guarded(g, g(e.AddOp, scores(g, q, k), mask), v)

    assert counts(recognized(graph, Q, K, K))["attention"] == 1


def test_scores_that_are_used_elsewhere():
    def graph(g: Graph, q: SSAValue, k: SSAValue, v: SSAValue):
        s = scores(g, q, k)
        return mixed(g, s, v), s

    assert counts(recognized(graph, Q, K, K))["attention"] == 0


def heads(g: Graph, x: SSAValue, count: int) -> SSAValue:
    return g(TransposeOp, g(ReshapeOp, x, shape=(2, 5, count, 4)), perm=(0, 2, 1, 3))


def merged(g: Graph, x: SSAValue) -> SSAValue:
    return g(ReshapeOp, g(TransposeOp, x, perm=(0, 2, 1, 3)), shape=(2, 5, 12))


def exported_keys(g: Graph, k: SSAValue) -> SSAValue:
    """As torch's newer exporter turns them: as a matrix of all heads."""
    k = g(TransposeOp, g(ReshapeOp, k, shape=(6, 5, 4)), perm=(0, 2, 1))
    return g(ReshapeOp, k, shape=(2, 3, 4, 5))


def test_a_layer_keeps_the_transposes_of_its_heads():
    def graph(g: Graph, q: SSAValue, k: SSAValue, v: SSAValue) -> SSAValue:
        q, k, v = (heads(g, x, 3) for x in (q, k, v))
        s = g(MatmulOp, g(e.MulOp, q, 0.7), g(e.MulOp, exported_keys(g, k), 0.7))
        return merged(g, guarded(g, s, v))

    module = recognized(graph, *[(2, 5, 12)] * 3)
    assert counts(module) == {"reshape": 4, "transpose": 4, "attention": 1}
    assert first(module, AttentionOp).scale == pytest.approx(0.49)


def test_heads_in_the_batch():
    """As older models write it: products of three dims, split for the mask alone."""

    def graph(g: Graph, q: SSAValue, k: SSAValue, v: SSAValue, mask: SSAValue) -> SSAValue:
        q, k, v = (g(ReshapeOp, heads(g, x, 3), shape=(6, 5, 4)) for x in (q, k, v))
        s = g(MatmulOp, q, g(TransposeOp, k, perm=(0, 2, 1)))
        s = g(e.AddOp, g(ReshapeOp, s, shape=(2, 3, 5, 5)), mask)
        p = g(SoftmaxOp, g(ReshapeOp, s, shape=(6, 5, 5)), axis=2)
        return merged(g, g(ReshapeOp, g(MatmulOp, p, v), shape=(2, 3, 5, 4)))

    module = recognized(graph, *[(2, 5, 12)] * 3, (2, 1, 5, 5))
    assert counts(module) == {"reshape": 4, "transpose": 4, "attention": 1}


def test_three_dims():
    def graph(g: Graph, q: SSAValue, k: SSAValue, v: SSAValue) -> SSAValue:
        s = g(MatmulOp, q, g(TransposeOp, k, perm=(0, 2, 1)))
        return g(MatmulOp, g(SoftmaxOp, s, axis=2), v)

    module = recognized(graph, (6, 5, 4), (6, 7, 4), (6, 7, 2))
    assert counts(module)["attention"] == 1


def test_repeated_key_heads():
    def graph(g: Graph, q: SSAValue, k: SSAValue, v: SSAValue) -> SSAValue:
        def repeated(x: SSAValue) -> SSAValue:
            x = g(BroadcastOp, g(ReshapeOp, x, shape=("N", 2, 1, 7, 4)), shape=("N", 2, 3, 7, 4))
            return g(ReshapeOp, x, shape=("N", 6, 7, 4))

        return mixed(g, g(e.MulOp, scores(g, q, repeated(k)), 0.5), repeated(v))

    module = recognized(graph, (N, 6, 5, 4), (N, 2, 7, 4), (N, 2, 7, 4))
    assert names(module) == ["attention"]
    assert first(module, AttentionOp).operand_type(1).shape == (N, 2, 7, 4)


def test_a_causal_constant():
    def graph(g: Graph, q: SSAValue, k: SSAValue, v: SSAValue) -> SSAValue:
        seen = np.tril(np.ones((1, 1, 5, 5), bool))
        return mixed(g, g(e.SelectOp, seen, scores(g, q, k), LEAST), v)

    module = recognized(graph, Q, Q, Q)
    assert names(module) == ["attention"]
    assert first(module, AttentionOp).causal


def test_a_softmax_in_a_wider_dtype():
    half = np.dtype(np.float16)

    def graph(g: Graph, q: SSAValue, k: SSAValue, v: SSAValue) -> SSAValue:
        wide = g(e.CastOp, g(e.MulOp, scores(g, q, k), 0.5), to=np.dtype(np.float32))
        p = g(e.CastOp, g(SoftmaxOp, wide, axis=3), to=half)
        return g(MatmulOp, p, v)

    module = build(graph, Q, K, K, dtype=half)
    for step in ALL:
        step.apply(module)
    assert names(module) == ["attention"]


def test_symbolic_sizes():
    def graph(g: Graph, q: SSAValue, k: SSAValue, v: SSAValue, mask: SSAValue) -> SSAValue:
        return mixed(g, g(e.AddOp, g(e.DivOp, scores(g, q, k), 2.0), mask), v)

    module = recognized(graph, *[(N, 3, S, 4)] * 3, (N, 1, 1, S))
    assert names(module) == ["attention"]


# ------------------------------------------------------------------------------------ rotary


def halves(g: Graph, x: SSAValue) -> tuple[SSAValue, SSAValue]:
    steps = (1, 1, 1, 1)
    a = g(SliceOp, x, starts=(0, 0, 0, 0), stops=(2, 3, 5, 4), steps=steps)
    b = g(SliceOp, x, starts=(0, 0, 0, 4), stops=(2, 3, 5, 8), steps=steps)
    return a, b


def rotated(g: Graph, x: SSAValue, cos: Any, sin: Any) -> SSAValue:
    a, b = halves(g, x)
    turned = g(ConcatOp, g(e.NegOp, b), a, axis=3)
    return g(e.AddOp, g(e.MulOp, x, cos), g(e.MulOp, turned, sin))


def twice(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, x], -1)


def test_rotary_by_constants():
    def graph(g: Graph, x: SSAValue) -> SSAValue:
        return rotated(g, x, twice(array(1, 1, 5, 4)), twice(array(1, 1, 5, 4, seed=1)))

    assert names(recognized(graph, (2, 3, 5, 8))) == ["rotary"]


def test_rotary_by_angles():
    """As Llama computes them, from positions."""

    def graph(g: Graph, x: SSAValue, angles: SSAValue) -> SSAValue:
        both = g(ReshapeOp, g(ConcatOp, angles, angles, axis=2), shape=(2, 1, 5, 8))
        return rotated(g, x, g(e.CosOp, both), g(e.MulOp, g(e.SinOp, both), 1.5))

    module = recognized(graph, (2, 3, 5, 8), (2, 5, 4))
    assert counts(module)["rotary"] == 1
    assert counts(module)["add"] == 0


def by_pairs(g: Graph, x: SSAValue, cos: Any, sin: Any) -> SSAValue:
    steps = (1, 1, 1, 2)
    a = g(SliceOp, x, starts=(0, 0, 0, 0), stops=(2, 3, 5, 8), steps=steps)
    b = g(SliceOp, x, starts=(0, 0, 0, 1), stops=(2, 3, 5, 8), steps=steps)
    a, b = (g(ReshapeOp, y, shape=(2, 3, 5, 4, 1)) for y in (a, g(e.NegOp, b)))
    turned = g(ReshapeOp, g(ConcatOp, b, a, axis=4), shape=(2, 3, 5, 8))
    return g(e.AddOp, g(e.MulOp, x, cos), g(e.MulOp, turned, sin))


def test_rotary_by_pairs():
    """As GPT-J writes it."""

    def graph(g: Graph, x: SSAValue) -> SSAValue:
        return by_pairs(g, x, array(5, 4).repeat(2, -1), array(5, 4, seed=1).repeat(2, -1))

    module = recognized(graph, (2, 3, 5, 8))
    assert names(module) == ["rotary"]
    assert first(module, RotaryOp).interleaved


def test_rotary_by_pairs_of_angles():
    def graph(g: Graph, x: SSAValue, angles: SSAValue) -> SSAValue:
        both = g(BroadcastOp, g(ReshapeOp, angles, shape=(5, 4, 1)), shape=(5, 4, 2))
        both = g(ReshapeOp, both, shape=(5, 8))
        return by_pairs(g, x, g(e.CosOp, both), g(e.SinOp, both))

    assert counts(recognized(graph, (2, 3, 5, 8), (5, 4)))["rotary"] == 1


def test_halves_are_no_pairs():
    def graph(g: Graph, x: SSAValue) -> SSAValue:
        return by_pairs(g, x, twice(array(5, 4)), twice(array(5, 4, seed=1)))

    assert "rotary" not in names(recognized(graph, (2, 3, 5, 8)))


def test_rotary_by_parts():
    def graph(g: Graph, x: SSAValue, cos: SSAValue, sin: SSAValue) -> SSAValue:
        a, b = halves(g, x)
        first_part = g(e.SubOp, g(e.MulOp, a, cos), g(e.MulOp, b, sin))
        second_part = g(e.AddOp, g(e.MulOp, sin, a), g(e.MulOp, b, cos))
        return g(ConcatOp, first_part, second_part, axis=3)

    module = recognized(graph, (2, 3, 5, 8), (5, 4), (5, 4))
    assert names(module) == ["rotary"]
    assert not first(module, RotaryOp).interleaved


def test_other_angles_in_the_second_half():
    def graph(g: Graph, x: SSAValue) -> SSAValue:
        return rotated(g, x, array(5, 8), array(5, 8, seed=1))

    assert "rotary" not in names(recognized(graph, (2, 3, 5, 8)))


def test_angles_that_a_reshape_brought_together():
    """The values of a column do not repeat along the row it becomes."""

    def graph(g: Graph, x: SSAValue, column: SSAValue) -> SSAValue:
        row = g(ReshapeOp, column, shape=(8,))
        return rotated(g, x, g(e.CosOp, row), g(e.SinOp, row))

    assert "rotary" not in names(recognized(graph, (2, 3, 5, 8), (8, 1)))
