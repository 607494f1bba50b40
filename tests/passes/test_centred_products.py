"""Integers without their zero points are multiplied as bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph, apply, counts, run
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import CastOp, SubOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.ir.ops.shape import SliceOp, TransposeOp
from mlc.ir.types import DTYPES, I32
from mlc.passes.integer_products import IntegerProducts
from mlc.passes.move_codes import MoveCodes
from native import run_native

UI8 = DTYPES["ui8"]
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (6, 8)).astype(UI8)
IMAGE = RNG.integers(0, 256, (1, 5, 6, 4)).astype(UI8)
ZERO = np.asarray(131, UI8)
# Weights, by where they lie; how many products there are when those do not fit bytes with sign.
WEIGHTS = {"signed": (-128, 128), "high": (-100, 156), "low": (-255, 0), "wide": (-255, 256)}


def centred(graph: Graph, x: Any, zero: Any) -> Any:
    wide = graph(CastOp, x, to=I32)
    return graph(SubOp, wide, graph(CastOp, zero, to=I32))


def check(module: Any, *arrays: np.ndarray) -> dict[str, int]:
    (wanted,) = run(module, *arrays)
    (native,) = run_native(module.clone(), list(arrays))
    np.testing.assert_array_equal(native, wanted)
    apply(module, MoveCodes(), IntegerProducts())
    np.testing.assert_array_equal(run(module, *arrays)[0], wanted)
    return dict(counts(module))


@pytest.mark.parametrize("kind", WEIGHTS)
def test_matrices(kind: str):
    graph = Graph(X.shape, (), dtypes=[UI8, UI8])
    w = RNG.integers(*WEIGHTS[kind], (8, 5)).astype(np.int32)
    w[0, 0], w[1, 0] = WEIGHTS[kind][0], WEIGHTS[kind][1] - 1
    module = graph.module(graph(MatmulOp, centred(graph, *graph.inputs), w))
    found = check(module, X, ZERO)
    assert ("reduce_sum" in found) == (kind in ("high", "low"))
    assert (found["cast"] == 1) == (kind in ("signed",))


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions(kind: str, groups: int):
    graph = Graph(IMAGE.shape, (), dtypes=[UI8, UI8])
    w = RNG.integers(*WEIGHTS[kind], (3, 3, 4 // groups, 6)).astype(np.int32)
    x = centred(graph, *graph.inputs)
    options = {"strides": (2, 1), "pads": (1, 0, 1, 2), "dilations": (1, 1)}
    check(graph.module(graph(ConvOp, x, w, groups=groups, **options)), IMAGE, ZERO)


@pytest.mark.parametrize("zero", [None, -7])
def test_codes_with_sign(zero: int | None):
    graph = Graph(IMAGE.shape, dtypes=[np.int8])
    x = graph(CastOp, graph.inputs[0], to=I32)
    if zero is not None:
        x = graph(SubOp, x, np.asarray(zero, np.int32))
    w = RNG.integers(-128, 128, (3, 3, 4, 6)).astype(np.int32)
    options = {"strides": (2, 1), "pads": (1, 0, 1, 2), "dilations": (1, 1)}
    module = graph.module(graph(ConvOp, x, w, groups=1, **options))
    check(module, IMAGE.view(np.int8))
    (conv,) = (op for op in module.walk() if isinstance(op, ConvOp))
    assert conv.to == I32


def test_moves_come_first():
    graph = Graph(X.shape, (), dtypes=[UI8, UI8])
    turned = graph(TransposeOp, centred(graph, *graph.inputs), perm=(1, 0))
    part = graph(SliceOp, turned, starts=(1, 0), stops=(4, 6), steps=(1, 1))
    w = RNG.integers(-9, 9, (6, 5)).astype(np.int32)
    found = check(graph.module(graph(MatmulOp, part, w)), X, ZERO)
    assert found["matmul"] == 1


def test_weights_that_were_moved_after_they_were_decoded():
    graph = Graph((6, 5), dtypes=[UI8])
    scale = np.asarray(0.02, np.float32)
    x = graph(DequantizeOp, graph.inputs[0], scale, ZERO)
    codes = RNG.integers(-9, 9, (8, 5)).astype(np.int8)
    w = graph(TransposeOp, graph(DequantizeOp, codes, scale), perm=(1, 0))
    module = graph.module(graph(MatmulOp, x, w))
    apply(module, MoveCodes(), IntegerProducts())
    (product,) = (op for op in module.walk() if isinstance(op, MatmulOp))
    assert product.to == I32
