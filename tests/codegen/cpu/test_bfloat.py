"""Products of bf16 against the reference: sizes around tiles and pairs, strides, epilogues."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph
from mlc.codegen.cpu.target import target_for
from mlc.ir.dims import symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, CastOp, ErfOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.types import DTYPES, F32
from native import Native

BF16 = DTYPES["bf16"]
TARGETS = ["cpu", "cpu:x86-64-v3"]


def numbers(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32).astype(BF16)


def check(graph: Graph, result: Any, inputs: list[np.ndarray], target: str, algorithm: str) -> None:
    """Within the rounding of one bf16."""
    module = graph.module(result)
    (wanted,) = interpret(module, inputs)
    native = Native(module, target_for(target))
    (got,) = native.run(inputs)
    assert algorithm in [site["algorithm"] for site in native.build.sites]
    assert got.dtype == wanted.dtype
    largest = float(abs(wanted.astype(F32)).max())
    wide = got.astype(F32), wanted.astype(F32)
    np.testing.assert_allclose(*wide, rtol=8e-3, atol=2e-3 * largest)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("depth", [1, 2, 3, 97])
@pytest.mark.parametrize("columns", [15, 24, 64, 101])
@pytest.mark.parametrize("rows", [1, 2, 33])
def test_sizes_around_tiles(rows: int, columns: int, depth: int, target: str):
    graph = Graph((rows, depth), dtype=BF16)
    product = graph(MatmulOp, graph.inputs[0], numbers((depth, columns), 1))
    check(graph, product, [numbers((rows, depth))], target, "bf16")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("channels", [1, 3, 4, 33])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_are_summed_by_pairs_of_channels(channels: int, stride: int, target: str):
    graph = Graph((2, 9, 8, channels), dtype=BF16)
    w = numbers((3, 3, channels, 20), 1)
    params = {"strides": (stride, stride), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
    product = graph(ConvOp, graph.inputs[0], w, **params)
    check(graph, product, [numbers((2, 9, 8, channels))], target, "bf16")


@pytest.mark.parametrize("target", TARGETS)
def test_long_epilogues_on_symbolic_rows(target: str):
    graph = Graph((symbol("n"), 37), dtype=BF16)
    product = graph(CastOp, graph(MatmulOp, graph.inputs[0], numbers((37, 50), 1)), to=F32)
    bias = np.linspace(-1, 1, 50, dtype=np.float32)
    result = graph(ErfOp, graph(AddOp, product, bias))
    check(graph, result, [numbers((19, 37))], target, "bf16")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_factors_that_are_no_weights_are_widened(name: str, target: str):
    dtype = DTYPES[name]
    graph = Graph((2, 9, 21), (2, 21, 40), dtype=dtype)
    product = graph(MatmulOp, *graph.inputs)
    inputs = [numbers((2, 9, 21)).astype(dtype), numbers((2, 21, 40), 1).astype(dtype)]
    check(graph, product, inputs, target, "contraction")
