"""Rows around ops that only move elements: of what these read, no more is computed than is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph, array
from mlc.ir.interpreter import interpret
from mlc.ir.ops.elementwise import AddOp
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp
from mlc.ir.ops.resize import ResizeOp
from mlc.ir.ops.shape import BroadcastOp, SliceOp, TransposeOp
from mlc.ir.types import DTYPES
from native import run_native

UI8 = DTYPES["ui8"]


def broadcast(graph: Graph, x: Any) -> Any:
    wide = graph(BroadcastOp, x, shape=(3, 4, 9))
    return graph(SliceOp, wide, starts=(0, 1, 0), stops=(3, 3, 9), steps=(1, 1, 1))


def transposed(graph: Graph, x: Any) -> Any:
    turned = graph(TransposeOp, x, perm=(1, 2, 0))
    return graph(SliceOp, turned, starts=(0, 0, 1), stops=(1, 9, 3), steps=(1, 1, 1))


@pytest.mark.parametrize("move", [broadcast, transposed])
def test_moves_of_more_than_is_kept(move: Any):
    graph = Graph((3, 1, 9))
    moved = move(graph, graph.inputs[0])
    module = graph.module(graph(AddOp, moved, 1.0))
    (wanted,) = interpret(module, [array(3, 1, 9)])
    np.testing.assert_array_equal(run_native(module, [array(3, 1, 9)])[0], wanted)


@pytest.mark.parametrize("columns", [1, 16, 17, 131])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_what_is_read_where_a_clamp_may_read_is_clamped(mode: str, columns: int):
    x = array(1, 3, 5, columns)
    graph = Graph(x.shape)
    large = graph(ResizeOp, graph.inputs[0], axes=(1, 2), sizes=(7, 8), mode=mode)
    scale, zero = np.asarray(0.05, np.float32), np.asarray(120, UI8)
    module = graph.module(graph(QuantizeOp, large, scale, zero, to=UI8))
    (wanted,) = interpret(module, [x])
    assert np.abs(run_native(module, [x])[0].astype(int) - wanted).max() <= (mode == "linear")


def test_a_slice_of_what_is_decoded():
    codes = np.random.default_rng(0).integers(0, 255, (5, 192)).astype(np.uint8)
    graph = Graph((5, 192), dtypes=[UI8])
    decoded = graph(DequantizeOp, graph.inputs[0], 0.1)
    part = graph(SliceOp, decoded, starts=(0, 3), stops=(5, 67), steps=(1, 1))
    module = graph.module(graph(AddOp, part, 1.0))
    (wanted,) = interpret(module, [codes])
    np.testing.assert_allclose(run_native(module, [codes])[0], wanted, rtol=1e-6)
