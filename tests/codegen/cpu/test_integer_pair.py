"""Products of two activations of bytes: exact for all layouts, and whole attentions of codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph
from mlc.codegen.cpu.target import target_for
from mlc.ir.interpreter import interpret
from mlc.ir.ops.elementwise import MulOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.norm import SoftmaxOp
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp
from mlc.ir.ops.shape import TransposeOp
from mlc.ir.types import DTYPES, I32
from native import Native

UI8, I8 = DTYPES["ui8"], DTYPES["i8"]
TARGETS = ["cpu", "cpu:x86-64-v3"]
SHAPES = [(2, 33, 50, 67), (3, 64, 64, 64), (1, 7, 70, 20), (1, 13, 17, 18), (9, 20, 197, 32)]


def codes(shape: tuple[int, ...], dtype: np.dtype, seed: int = 0) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_products(shape: tuple[int, int, int, int], turned: bool, target: str):
    batch, rows, columns, depth = shape
    other = (batch, columns, depth) if turned else (batch, depth, columns)
    graph = Graph((batch, rows, depth), other, dtypes=[UI8, I8])
    left, right = graph.inputs
    if turned:
        right = graph(TransposeOp, right, perm=(0, 2, 1))
    module = graph.module(graph(MatmulOp, left, right, to=I32))
    feeds = [codes((batch, rows, depth), UI8), codes(other, I8, 1)]
    (wanted,) = interpret(module, feeds)
    native = Native(module, target_for(target))
    assert [site["algorithm"] for site in native.build.sites] == ["integer"]
    np.testing.assert_array_equal(native.run(feeds)[0], wanted)
    np.testing.assert_array_equal(native.run(feeds, 2)[0], wanted)


def again(graph: Graph, x: Any, scale: float, zero: int) -> Any:
    """Quantized and decoded."""
    scales = np.asarray(scale, np.float32), np.asarray(zero, UI8)
    return graph(DequantizeOp, graph(QuantizeOp, x, *scales, to=UI8), *scales)


@pytest.mark.parametrize("size", [16, 37])
def test_attention(size: int):
    shape = (2, size, 3, 32)
    graph = Graph(shape, shape, shape)
    q, k, v = (again(graph, x, 0.03, 120 + n) for n, x in enumerate(graph.inputs))
    q, v = (graph(TransposeOp, x, perm=(0, 2, 1, 3)) for x in (q, v))
    scores = graph(MatmulOp, q, graph(TransposeOp, k, perm=(0, 2, 3, 1)))
    scores = again(graph, graph(MulOp, scores, 32**-0.5), 0.031, 117)
    weights = again(graph, graph(SoftmaxOp, scores, axis=3), 1 / 255, 0)
    module = graph.module(again(graph, graph(MatmulOp, weights, v), 0.02, 131))
    feeds = [np.random.default_rng(n).standard_normal(shape).astype(np.float32) for n in range(3)]
    (wanted,) = interpret(module, feeds)
    native = Native(module)
    assert [site["algorithm"] for site in native.build.sites].count("integer") == 2
    (got,) = native.run(feeds)
    assert np.abs(got - wanted).max() < 0.021
    assert (np.abs(got - wanted) > 0.01).mean() < 0.02
