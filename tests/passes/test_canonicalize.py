"""Canonical forms: what each rule leaves, with the values checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from graphs import Graph, apply, array, build, first, names
from mlc.ir.dims import symbol
from mlc.ir.ops import elementwise as e
from mlc.ir.ops import reduce as r
from mlc.ir.ops.attention import AttentionOp
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.index import GatherNdOp, GatherOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp
from mlc.ir.ops.shape import (
    BroadcastOp,
    ConcatOp,
    PadOp,
    ReshapeOp,
    ReverseOp,
    SliceOp,
    TransposeOp,
)
from mlc.passes.canonicalize import Canonicalize
from xdsl.ir import SSAValue

N = symbol("N")
Build = Callable[..., Any]


def slices(g: Graph, x: SSAValue, *bounds: tuple[int, int]) -> list[SSAValue]:
    """Parts along the last of two dims of [2, 8]."""
    whole: dict[str, Any] = {"steps": (1, 1)}
    return [g(SliceOp, x, starts=(0, a), stops=(2, b), **whole) for a, b in bounds]


def key_heads(g: Graph, q: SSAValue, k: SSAValue, v: SSAValue) -> SSAValue:
    """Attention of 6 heads on 2 key heads, which are repeated for it."""

    def repeated(x: SSAValue) -> SSAValue:
        few = g(ReshapeOp, x, shape=(1, 2, 1, 5, 4))
        many = g(BroadcastOp, few, shape=(1, 2, 3, 5, 4))
        return g(ReshapeOp, many, shape=(1, 6, 5, 4))

    return g(AttentionOp, q, repeated(k), repeated(v))


I8, F32 = np.dtype(np.int8), np.dtype(np.float32)


def quantized(g: Graph, x: SSAValue) -> SSAValue:
    return g(QuantizeOp, x, 0.5, to=I8)


def decoded(g: Graph, x: SSAValue) -> SSAValue:
    return g(DequantizeOp, quantized(g, x), 0.5)


ROWS = np.array([[0.25], [0.5]], np.float32)


def by_row(g: Graph, x: SSAValue, **blocks: Any) -> SSAValue:
    return g(QuantizeOp, x, ROWS, to=I8, **blocks)


def weight(g: Graph) -> SSAValue:
    """A stored weight [2, 3] with a scale for each row."""
    scale = np.array([[0.5], [0.25]], np.float32)
    return g(DequantizeOp, np.arange(6, dtype=I8).reshape(2, 3), scale)


def codes(g: Graph) -> SSAValue:
    """A stored weight [32, 40] that is cast."""
    bytes = np.random.default_rng(0).integers(0, 256, (32, 40))
    return g(e.CastOp, bytes.astype(np.uint8), to=F32)


def shifted(g: Graph) -> SSAValue:
    return g(e.SubOp, codes(g), np.arange(32, dtype=np.float32)[:, None])


def scaled(g: Graph, x: SSAValue, scales: np.ndarray) -> SSAValue:
    return g(e.MulOp, x, scales.astype(np.float32))


def grouped(g: Graph) -> SSAValue:
    """The weight with scales for groups of 8 along its depth."""
    scales = np.random.default_rng(1).random((4, 1, 40))
    parts = scaled(g, g(ReshapeOp, codes(g), shape=(4, 8, 40)), scales)
    return g(ReshapeOp, parts, shape=(32, 40))


def masked(mask: np.ndarray) -> Build:
    return lambda g, q, k, v: g(AttentionOp, q, k, v, mask.astype(np.float32))


Q, K = (1, 2, 5, 4), (1, 2, 5, 4)
POSITIONS = np.moveaxis(np.indices((2, 3)), 0, -1)
LATER = np.triu(np.full((5, 5), -np.inf), 1)
WHOLE: dict[str, Any] = {"starts": (0, 0), "stops": (2, 8), "steps": (1, 1)}

CASES: dict[str, tuple[Build, tuple, list[str]]] = {
    # elementwise
    "times one": (lambda g, x: g(e.MulOp, 1.0, x), ((2, 3),), []),
    "times ones": (lambda g, x: g(e.MulOp, x, np.ones((2, 3), np.float32)), ((3,),), ["broadcast"]),
    "plus zero stays": (lambda g, x: g(e.AddOp, x, 0.0), ((3,),), ["add"]),
    "plus minus zero": (lambda g, x: g(e.AddOp, x, -0.0), ((3,),), []),
    "minus a constant": (lambda g, x: g(e.SubOp, x, array(3)), ((3,),), ["add"]),
    "constants first": (lambda g, x: g(e.MulOp, array(3), x), ((3,),), ["mul"]),
    "twice negated": (lambda g, x: g(e.NegOp, g(e.NegOp, x)), ((3,),), []),
    "relu of relu": (lambda g, x: g(e.ReluOp, g(e.ReluOp, x)), ((3,),), ["relu"]),
    "at least zero": (lambda g, x: g(e.MaxOp, x, 0.0), ((3,),), ["relu"]),
    "cast to itself": (lambda g, x: g(e.CastOp, x, to=np.dtype("f4")), ((3,),), []),
    "cast up and back": (
        lambda g, x: g(e.CastOp, g(e.CastOp, x, to=np.dtype("f8")), to=np.dtype("f4")),
        ((3,),),
        [],
    ),
    "cast down and back": (
        lambda g, x: g(e.CastOp, g(e.CastOp, x, to=np.dtype("f2")), to=np.dtype("f4")),
        ((3,),),
        ["cast", "cast"],
    ),
    "always true": (
        lambda g, x: g(e.SelectOp, np.ones((2, 1), bool), x, 0.0),
        ((3,),),
        ["broadcast"],
    ),
    "not the condition": (
        lambda g, x: g(e.SelectOp, g(e.NotOp, g(e.GtOp, x, 0.5)), x, 2.0),
        ((3,),),
        ["gt", "select"],
    ),
    # constants
    "folded": (lambda g, x: g(e.AddOp, x, g(e.MulOp, array(3), array(3))), ((3,),), ["add"]),
    "outer product too large": (
        lambda g, x: g(e.AddOp, x, g(e.MulOp, array(2000, 1), array(2000))),
        ((2000,),),
        ["mul", "add"],
    ),
    # broadcasts
    "broadcast operand": (
        lambda g, x, y: g(e.AddOp, g(BroadcastOp, x, shape=(4, 3)), y),
        ((3,), (4, 3)),
        ["add"],
    ),
    "broadcast moves down": (
        lambda g, x: g(e.ExpOp, g(e.AddOp, g(BroadcastOp, x, shape=(4, 3)), 1.0)),
        ((3,),),
        ["add", "exp", "broadcast"],
    ),
    "broadcast factor": (
        lambda g, x, y: g(MatmulOp, x, g(BroadcastOp, y, shape=(2, 4, 5))),
        ((2, 3, 4), (4, 5)),
        ["matmul"],
    ),
    "broadcast of new dims": (
        lambda g, x: g(BroadcastOp, g(ReshapeOp, x, shape=(1, 1, 3)), shape=(2, 4, 3)),
        ((3,),),
        ["broadcast"],
    ),
    "transposed later": (
        lambda g, x: g(TransposeOp, g(BroadcastOp, x, shape=(2, 4, 3)), perm=(1, 2, 0)),
        ((2, 1, 3),),
        ["transpose", "broadcast"],
    ),
    "symbolic broadcast": (
        lambda g, x, y: g(e.AddOp, g(BroadcastOp, x, shape=("N", 3)), y),
        ((3,), (N, 3)),
        ["add"],
    ),
    # reshapes and transposes
    "reshape twice": (
        lambda g, x: g(ReshapeOp, g(ReshapeOp, x, shape=(6,)), shape=(3, 2)),
        ((2, 3),),
        ["reshape"],
    ),
    "reshape and back": (
        lambda g, x: g(ReshapeOp, g(ReshapeOp, x, shape=(6,)), shape=(2, 3)),
        ((2, 3),),
        [],
    ),
    "transpose and back": (
        lambda g, x: g(TransposeOp, g(TransposeOp, x, perm=(1, 2, 0)), perm=(2, 0, 1)),
        ((2, 3, 4),),
        [],
    ),
    "transpose of a unit dim": (
        lambda g, x: g(TransposeOp, x, perm=(0, 2, 1, 3)),
        ((2, 1, 3, 4),),
        ["reshape"],
    ),
    "keys of merged heads": (
        lambda g, x: g(
            ReshapeOp,
            g(TransposeOp, g(ReshapeOp, x, shape=(6, 5, 4)), perm=(0, 2, 1)),
            shape=(2, 3, 4, 5),
        ),
        ((2, 3, 5, 4),),
        ["transpose"],
    ),
    "keys of merged heads, one of them": (
        lambda g, x: g(
            ReshapeOp,
            g(TransposeOp, g(ReshapeOp, x, shape=(1, 5, 4)), perm=(0, 2, 1)),
            shape=(1, 1, 4, 5),
        ),
        ((1, 1, 5, 4),),
        ["transpose"],
    ),
    "unit dims stay in place": (
        lambda g, x: g(TransposeOp, g(ReshapeOp, x, shape=(3, 1, 4, 5)), perm=(1, 2, 0, 3)),
        ((3, 20),),
        ["reshape", "transpose"],
    ),
    "symbolic heads": (
        lambda g, x: g(
            ReshapeOp,
            g(TransposeOp, g(ReshapeOp, x, shape=("6*N", 5, 4)), perm=(0, 2, 1)),
            shape=("N", 6, 4, 5),
        ),
        ((N, 6, 5, 4),),
        ["transpose"],
    ),
    # slices
    "slice of all": (lambda g, x: g(SliceOp, x, **WHOLE), ((2, 8),), []),
    "slice of slice": (
        lambda g, x: g(SliceOp, *slices(g, x, (1, 7)), starts=(0, 2), stops=(2, 6), steps=(1, 3)),
        ((2, 8),),
        ["slice"],
    ),
    "slice of steps": (
        lambda g, x: g(
            SliceOp,
            g(SliceOp, x, starts=(0, 1), stops=(2, 8), steps=(1, 2)),
            starts=(0, 1),
            stops=(2, 4),
            steps=(1, 2),
        ),
        ((2, 8),),
        ["slice"],
    ),
    "slice of a part": (
        lambda g, x, y: slices(g, g(ConcatOp, x, y, axis=1), (5, 8))[0],
        ((2, 4), (2, 4)),
        ["slice"],
    ),
    "slice of two parts": (
        lambda g, x, y: slices(g, g(ConcatOp, x, y, axis=1), (3, 8))[0],
        ((2, 4), (2, 4)),
        ["concat", "slice"],
    ),
    "joined again": (
        lambda g, x: g(ConcatOp, *slices(g, x, (0, 3), (3, 5), (5, 8)), axis=1),
        ((2, 8),),
        [],
    ),
    "joined in another order": (
        lambda g, x: g(ConcatOp, *slices(g, x, (3, 8), (0, 3)), axis=1),
        ((2, 8),),
        ["slice", "slice", "concat"],
    ),
    "concat of concat": (
        lambda g, x, y: g(ConcatOp, g(ConcatOp, x, y, axis=1), x, axis=1),
        ((2, 4), (2, 3)),
        ["concat"],
    ),
    "concat with nothing": (lambda g, x, y: g(ConcatOp, y, x, axis=1), ((2, 4), (2, 0)), []),
    "pad by nothing": (lambda g, x: g(PadOp, x, pads=(0, 0)), ((2,),), []),
    "reversed twice": (
        lambda g, x: g(ReverseOp, g(ReverseOp, x, axes=(0, 1)), axes=(1, 0)),
        ((2, 3),),
        [],
    ),
    # gathers
    "element": (lambda g, x: g(GatherOp, x, np.array(-1), axis=1), ((2, 3),), ["slice", "reshape"]),
    "neighbours": (lambda g, x: g(GatherOp, x, np.array([1, 2]), axis=1), ((2, 3),), ["slice"]),
    "others": (lambda g, x: g(GatherOp, x, np.array([2, 1]), axis=1), ((2, 3),), ["gather"]),
    "all in order": (
        lambda g, x: g(GatherNdOp, x, POSITIONS[:, None]),
        ((2, 3),),
        ["reshape"],
    ),
    "all in another order": (
        lambda g, x: g(GatherNdOp, x, POSITIONS[::-1].copy()),
        ((2, 3),),
        ["gather_nd"],
    ),
    # reductions
    "sum of one": (lambda g, x: g(r.ReduceSumOp, x, axes=(1,)), ((2, 1),), ["reshape"]),
    "dims kept": (
        lambda g, x: g(ReshapeOp, g(r.ReduceMaxOp, x, axes=(1,)), shape=(2, 1, 4)),
        ((2, 3, 4),),
        ["reduce_max"],
    ),
    # quantization
    "decoded and encoded": (
        lambda g, x: g(QuantizeOp, g(DequantizeOp, quantized(g, x), 0.5), 0.5, to=I8),
        ((2, 3),),
        ["quantize"],
    ),
    "encoded by another scale": (
        lambda g, x: g(QuantizeOp, g(DequantizeOp, quantized(g, x), 0.25), 0.5, to=I8),
        ((2, 3),),
        ["quantize", "dequantize", "quantize"],
    ),
    "transposed weight": (
        lambda g, x: g(e.MulOp, x, g(TransposeOp, weight(g), perm=(1, 0))),
        ((3, 2),),
        ["dequantize", "mul"],
    ),
    "reshaped around": (
        lambda g, x: g(ReshapeOp, quantized(g, g(ReshapeOp, x, shape=(6,))), shape=(2, 3)),
        ((2, 3),),
        ["quantize"],
    ),
    "zero points that are 0": (
        lambda g, x: g(QuantizeOp, decoded(g, x), 0.5, np.zeros((), I8), to=I8),
        ((2, 3),),
        ["quantize"],
    ),
    "blocks of one and of all": (
        lambda g, x: by_row(g, g(DequantizeOp, by_row(g, x), ROWS), blocks=(1, 3)),
        ((2, 3),),
        ["quantize"],
    ),
    "reshaped weight": (
        lambda g, x: g(e.MulOp, x, g(ReshapeOp, weight(g), shape=(3, 2))),
        ((3, 2),),
        ["dequantize", "mul"],
    ),
    "reversed weight": (
        lambda g, x: g(e.MulOp, x, g(ReverseOp, weight(g), axes=(0, 1))),
        ((2, 3),),
        ["dequantize", "mul"],
    ),
    "weight padded along what shares scales": (
        lambda g, x: g(e.MulOp, x, g(PadOp, weight(g), pads=(0, 0, 0, 2))),
        ((2, 5),),
        ["dequantize", "mul"],
    ),
    "weight padded along its scales": (
        lambda g, x: g(e.MulOp, x, g(PadOp, weight(g), pads=(0, 0, 1, 0))),
        ((3, 3),),
        ["dequantize", "pad", "mul"],
    ),
    "codes that are cast, shifted and scaled": (
        lambda g, x: g(MatmulOp, x, scaled(g, shifted(g), np.full((1, 40), 0.5))),
        ((2, 32),),
        ["dequantize", "matmul"],
    ),
    "shifts between codes": (
        lambda g, x: g(MatmulOp, x, g(e.AddOp, codes(g), 0.5)),
        ((2, 32),),
        ["dequantize", "add", "matmul"],
    ),
    "scales of all codes": (
        lambda g, x: g(MatmulOp, x, scaled(g, codes(g), np.full((32, 40), 0.5))),
        ((2, 32),),
        ["dequantize", "mul", "matmul"],
    ),
    "groups of codes": (
        lambda g, x: g(MatmulOp, x, grouped(g)),
        ((2, 32),),
        ["dequantize", "matmul"],
    ),
    # attention
    "key heads": (key_heads, ((1, 6, 5, 4), K, K), ["attention"]),
    "mask of nothing": (masked(np.zeros((5, 5))), (Q, K, K), ["attention"]),
    "mask of later keys": (masked(LATER[None]), (Q, K, K), ["attention"]),
    "mask of other keys": (masked(LATER.T), (Q, K, K), ["attention"]),
}


@pytest.mark.parametrize(("graph", "shapes", "left"), CASES.values(), ids=list(CASES))
def test_what_is_left(graph: Build, shapes: tuple, left: list[str]):
    module = apply(build(graph, *shapes), Canonicalize(), sizes={"N": 2})
    assert names(module) == left
    assert names(apply(module, Canonicalize(), sizes={"N": 2})) == left


@pytest.mark.parametrize(
    ("case", "operands", "causal"),
    [
        ("mask of nothing", 3, False),
        ("mask of later keys", 3, True),
        ("mask of other keys", 4, False),
    ],
)
def test_masks(case: str, operands: int, causal: bool):
    graph, shapes, _ = CASES[case]
    module = build(graph, *shapes)
    Canonicalize().apply(module)
    op = first(module, AttentionOp)
    assert (len(op.operands), op.causal) == (operands, causal)


def test_key_heads_are_read_in_place():
    graph, shapes, _ = CASES["key heads"]
    op = first(apply(build(graph, *shapes), Canonicalize()), AttentionOp)
    assert op.k.type == op.v.type
    assert op.operand_type(1).shape == K


def test_large_constants_are_folded_when_they_are_read():
    def graph(g: Graph, x: SSAValue) -> SSAValue:
        return g(e.AddOp, x, g(e.LogOp, np.full(100, -1, np.float32)))

    module = build(graph, (100,))
    Canonicalize().apply(module)
    assert np.isnan(first(module, ConstantOp).value.array).all()
