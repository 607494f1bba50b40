"""Products of bytes against the reference, exactly: sizes around tiles and words, zero points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph
from mlc.codegen.cpu.target import target_for
from mlc.ir.dims import symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AbsOp, AddOp, ErfOp, MulOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp
from mlc.ir.ops.reduce import ReduceMaxOp
from mlc.ir.symbols import known_symbols
from mlc.ir.types import DTYPES, I32
from native import Native

UI8, I8 = DTYPES["ui8"], DTYPES["i8"]
TARGETS = ["cpu", "cpu:x86-64-v3"]


def codes(shape: tuple[int, ...], dtype: np.dtype, seed: int = 0) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(dtype)


def check(
    kind: Any, x: np.ndarray, w: np.ndarray, target: str, algorithm: str = "", **params: Any
) -> None:
    graph = Graph(x.shape, dtype=UI8)
    module = graph.module(graph(kind, graph.inputs[0], w, to=I32, **params))
    (wanted,) = interpret(module, [x])
    native = Native(module, target_for(target))
    (got,) = native.run([x])
    if algorithm:
        assert algorithm in [site["algorithm"] for site in native.build.sites]
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 64, 129])
@pytest.mark.parametrize("columns", [1, 15, 16, 17, 64, 100])
@pytest.mark.parametrize("rows", [1, 2, 7, 33])
def test_sizes_around_tiles(rows: int, columns: int, depth: int, target: str):
    check(
        MatmulOp,
        codes((rows, depth), UI8),
        codes((depth, columns), I8, 1),
        target,
        "integer" if columns > 1 else "",
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("channels", [1, 3, 4, 5, 32])
@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution(channels: int, kernel: int, stride: int, target: str):
    x, w = codes((2, 9, 8, channels), UI8), codes((kernel, kernel, channels, 20), I8, 1)
    pads = (kernel // 2,) * 4
    check(ConvOp, x, w, target, "integer", strides=(stride, stride), pads=pads, dilations=(1, 1))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("channels", [2, 15, 16, 33, 96])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise(channels: int, kernel: int, stride: int, target: str):
    x, w = codes((2, 9, 13, channels), UI8), codes((kernel, kernel, 1, channels), I8, 1)
    kind = {"strides": (stride, stride), "pads": (kernel // 2,) * 4, "dilations": (1, 1)}
    check(ConvOp, x, w, target, "depthwise", groups=channels, **kind)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", [(1,), (5,), (3, 64), (7, 100)])
def test_tables(shape: tuple[int, ...], target: str):
    graph = Graph(shape, dtype=UI8)
    scale, zero = np.asarray(0.03, np.float32), np.asarray(7, UI8)
    value = graph(ErfOp, graph(DequantizeOp, graph.inputs[0], scale, zero))
    module = graph.module(graph(QuantizeOp, value, np.asarray(0.01, np.float32), zero, to=UI8))
    x = codes(shape, UI8)
    (wanted,) = interpret(module, [x])
    native = Native(module, target_for(target))
    assert ["mlc.gather"] in [site["ops"] for site in native.build.sites]
    np.testing.assert_array_equal(native.run([x])[0], wanted)


def layer(graph: Graph, x: Any, kind: Any, w: np.ndarray, residual: Any = None, **params: Any):
    """A quantized layer with bias, and what may be added, from codes to codes."""
    columns, random = w.shape[-1], np.random.default_rng(3)
    scales = random.uniform(0.001, 0.002, (1,) * (w.ndim - 1) + (columns,)).astype(np.float32)
    scale, zero = np.asarray(0.02, np.float32), np.asarray(131, UI8)
    decoded = graph(DequantizeOp, x, scale, zero)
    value = graph(kind, decoded, graph(DequantizeOp, w, scales), **params)
    value = graph(AddOp, value, random.standard_normal(columns).astype(np.float32))
    if residual is not None:
        value = graph(AddOp, value, graph(DequantizeOp, residual, scale, zero))
    return graph(QuantizeOp, value, np.asarray(0.05, np.float32), np.asarray(120, UI8), to=UI8)


def check_layer(
    graph: Graph, result: Any, feeds: list[np.ndarray], target: str, threads: int = 1
) -> None:
    """One kernel on codes; where scaling rounds in another way, codes may differ by one."""
    module = graph.module(result)
    (wanted,) = interpret(module, feeds)
    native = Native(module, target_for(target))
    sites = [site for site in native.build.sites if site["algorithm"] != "pad"]
    assert [site["algorithm"] for site in sites] == ["integer"]
    difference = np.abs(native.run(feeds, threads)[0].astype(int) - wanted)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shape", [(33, 67, 50), (1, 64, 16)])
def test_layer_is_one_kernel(shape: tuple[int, int, int], residual: bool, target: str):
    rows, depth, columns = shape
    feeds = [codes((rows, depth), UI8), codes((rows, columns), UI8, 2)][: 1 + residual]
    graph = Graph(*(f.shape for f in feeds), dtype=UI8)
    result = layer(
        graph, graph.inputs[0], MatmulOp, codes((depth, columns), I8, 1), *graph.inputs[1:]
    )
    check_layer(graph, result, feeds, target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("zero", [0, 120])
@pytest.mark.parametrize("shape", [(33, 67, 100), (7, 8, 5)])
def test_what_is_quantized_on_the_way_stays_in_the_kernel(
    shape: tuple[int, int, int], zero: int, target: str
):
    rows, depth, columns = shape
    feeds = [codes((rows, depth), UI8), codes((rows, columns), UI8, 2)]
    graph = Graph(*(f.shape for f in feeds), dtype=UI8)
    once = layer(graph, graph.inputs[0], MatmulOp, codes((depth, columns), I8, 1))
    values = [
        graph(DequantizeOp, x, np.asarray(scale, np.float32), np.asarray(point, UI8))
        for x, scale, point in ((once, 0.05, 120), (graph.inputs[1], 0.031, 77))
    ]
    total = graph(AddOp, *values)
    scale, point = np.asarray(0.073, np.float32), np.asarray(zero, UI8)
    check_layer(graph, graph(QuantizeOp, total, scale, point, to=UI8), feeds, target)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("columns", [16, 32, 64, 96, 192])
@pytest.mark.parametrize("rows", [2, 4, 5, 7, 37])
def test_a_tile_is_finished_while_the_next_is_summed(rows: int, columns: int, threads: int):
    feeds = [codes((rows, 67), UI8), codes((rows, columns), UI8, 2)]
    graph = Graph(*(f.shape for f in feeds), dtype=UI8)
    x, residual = graph.inputs
    result = layer(graph, x, MatmulOp, codes((67, columns), I8, 1), residual)
    check_layer(graph, result, feeds, "cpu", threads)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("channels", [8, 96])
def test_lines_of_an_image_share_panels(samples: int, channels: int):
    x = codes((samples, 5, 9, channels), UI8)
    graph = Graph(x.shape, dtype=UI8)
    kind = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
    weights = codes((3, 3, channels, 320), I8, 1)
    check_layer(graph, layer(graph, graph.inputs[0], ConvOp, weights, **kind), [x], "cpu", 2)


@pytest.mark.parametrize("target", TARGETS)
def test_pads_are_the_zero_point(target: str):
    x = codes((1, 7, 6, 5), UI8)
    graph = Graph(x.shape, dtype=UI8)
    kind = {"strides": (1, 1), "pads": (1, 0, 2, 1), "dilations": (1, 1)}
    result = layer(graph, graph.inputs[0], ConvOp, codes((3, 3, 5, 20), I8, 1), **kind)
    check_layer(graph, result, [x], target)


@pytest.mark.parametrize("rows", [1, 6, 13])
def test_symbolic_rows(rows: int):
    graph = Graph((symbol("N"), 30), dtype=UI8)
    result = layer(graph, graph.inputs[0], MatmulOp, codes((30, 40), I8, 1))
    x = codes((rows, 30), UI8)
    with known_symbols({"N": rows}):
        check_layer(graph, result, [x], "cpu")


@pytest.mark.parametrize("columns", [64, 50])
def test_scales_found_at_run_time(columns: int):
    x = np.random.default_rng(0).standard_normal((3, 17, 40)).astype(np.float32)
    graph = Graph(x.shape)
    scale = graph(ReduceMaxOp, graph(AbsOp, graph.inputs[0]), axes=(2,), keepdims=True)
    scale = graph(MulOp, scale, np.asarray(1 / 127, np.float32))
    decoded = graph(DequantizeOp, graph(QuantizeOp, graph.inputs[0], scale, to=I8), scale)
    weights = graph(DequantizeOp, codes((40, columns), I8, 1), np.asarray(0.01, np.float32))
    module = graph.module(graph(MatmulOp, decoded, weights))
    (wanted,) = interpret(module, [x])
    native = Native(module)
    assert "integer" in [site["algorithm"] for site in native.build.sites]
    np.testing.assert_allclose(native.run([x])[0], wanted, rtol=1e-5, atol=1e-4)
