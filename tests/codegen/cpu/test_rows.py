"""Rows around ops that only move elements: of what these read, no more is computed than is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph, array
from mlc.ir.interpreter import interpret
from mlc.ir.ops.elementwise import AddOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.ir.ops.shape import BroadcastOp, SliceOp, TransposeOp
from mlc.ir.types import DTYPES
from native import run_native


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


def test_a_slice_of_what_is_decoded():
    codes = np.random.default_rng(0).integers(0, 255, (5, 192)).astype(np.uint8)
    graph = Graph((5, 192), dtypes=[DTYPES["ui8"]])
    decoded = graph(DequantizeOp, graph.inputs[0], 0.1)
    part = graph(SliceOp, decoded, starts=(0, 3), stops=(5, 67), steps=(1, 1))
    module = graph.module(graph(AddOp, part, 1.0))
    (wanted,) = interpret(module, [codes])
    np.testing.assert_allclose(run_native(module, [codes])[0], wanted, rtol=1e-6)
