"""Weights in few bits that are computed on in floats: stored as codes, decoded when loaded."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from graphs import Graph
from mlc.codegen.cpu import build
from mlc.codegen.cpu.target import target_for
from mlc.codegen.cpu.templates import strassen
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.ir.types import DTYPES, F32, bit_width
from native import Native

CODES = ["i8", "ui8", "i4", "ui4", "i2", "ui2"]
RNG = np.random.default_rng(5)


def codes(dtype: str, *shape: int) -> np.ndarray:
    info = ml_dtypes.iinfo(DTYPES[dtype])
    drawn = RNG.integers(int(info.min), int(info.max) + 1, shape)
    return drawn.astype(np.int16).astype(DTYPES[dtype])


def decoded(
    graph: Graph, dtype: str, shape: tuple[int, ...], blocks: tuple[int, ...], zero: bool
) -> Any:
    count = [-(-size // block) for size, block in zip(shape, blocks, strict=True)]
    scale = RNG.uniform(0.01, 0.02, count).astype(np.float16)
    points = [codes(dtype, *count)] if zero else []
    return graph(DequantizeOp, codes(dtype, *shape), scale, *points, blocks=blocks, to=F32)


def compare(graph: Graph, result: Any, feeds: list[np.ndarray], target: str = "cpu") -> Native:
    module = graph.module(result)
    (wanted,) = interpret(module, feeds)
    native, most = Native(module, target_for(target)), np.abs(wanted).max(initial=0)
    for threads in (1, 2):
        (got,) = native.run(feeds, threads)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * most)
    return native


def check(graph: Graph, result: Any, feeds: list[np.ndarray], target: str = "cpu") -> Native:
    native = compare(graph, result, feeds, target)
    assert "stored as codes" in native.build.sites[-1]["why"]
    return native


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("taps", [3, 5])
def test_convolutions(dtype: str, taps: int, zero: bool):
    """By Winograd's algorithm and as a plain sum."""
    graph = Graph((1, 20, 20, 64))
    w = decoded(graph, dtype, (taps, taps, 64, 80), (taps, taps, 64, 1), zero)
    y = graph(ConvOp, graph.inputs[0], w, strides=(1, 1), pads=(1,) * 4, dilations=(1, 1), groups=1)
    x = RNG.standard_normal((1, 20, 20, 64)).astype(np.float32)
    native = check(graph, y, [x])
    assert native.build.sites[-1]["algorithm"] == ("winograd" if taps == 3 else "contraction")
    least = taps**2 * 64 * 80 * bit_width(DTYPES[dtype]) / 8
    assert native.build.weights_size < 1.25 * least + 2048


@pytest.mark.parametrize(
    ("blocks", "channels"),
    [((1, 1, 16, 1), 48), ((3, 3, 16, 1), 48), ((1, 1, 48, 1), 48), ((3, 3, 7, 1), 21)],
)
def test_blocks_of_channels(blocks: tuple[int, ...], channels: int):
    graph = Graph((1, 12, 12, channels))
    w = decoded(graph, "i4", (3, 3, channels, 35), blocks, True)
    y = graph(ConvOp, graph.inputs[0], w, strides=(1, 1), pads=(0,) * 4, dilations=(1, 1), groups=1)
    check(graph, y, [RNG.standard_normal((1, 12, 12, channels)).astype(np.float32)])


@pytest.mark.parametrize("target", ["cpu", "cpu:x86-64-v3"])
@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize(("rows", "depth", "columns"), [(40, 64, 98), (33, 96, 20), (70, 32, 130)])
def test_products(
    monkeypatch: pytest.MonkeyPatch, rows: int, depth: int, columns: int, halves: bool, target: str
):
    """As a plain sum and by Strassen's algorithm."""
    monkeypatch.setattr(build, "choose_encoded", lambda op, target: (False, "forced"))
    monkeypatch.setattr(strassen, "gain", lambda problem, target: 2.0 if halves else 1.0)
    graph = Graph((rows, depth))
    w = decoded(graph, "ui4", (depth, columns), (16, 1), True)
    y = graph(MatmulOp, graph.inputs[0], w)
    check(graph, y, [RNG.standard_normal((rows, depth)).astype(np.float32)], target)


@pytest.mark.parametrize("dtype", ["i8", "ui4", "i2"])
@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [(5, 0, 7), (5, 16, 0), (0, 16, 16), (33, 1, 20), (1, 40, 1), (31, 37, 23), (17, 48, 65)],
)
def test_odd_products(
    monkeypatch: pytest.MonkeyPatch, rows: int, depth: int, columns: int, dtype: str
):
    """Sizes of 0, 1, primes, and tails of groups, of bytes and of panels."""
    monkeypatch.setattr(build, "choose_encoded", lambda op, target: (False, "forced"))
    graph = Graph((rows, depth))
    w = decoded(graph, dtype, (depth, columns), (16, 1), True)
    y = graph(MatmulOp, graph.inputs[0], w)
    compare(graph, y, [RNG.standard_normal((rows, depth)).astype(np.float32)])


@pytest.mark.parametrize(("channels", "filters"), [(0, 5), (5, 0), (1, 1), (13, 67), (32, 33)])
def test_odd_convolutions(channels: int, filters: int):
    graph = Graph((1, 11, 7, channels))
    w = decoded(graph, "i4", (3, 3, channels, filters), (3, 3, 8, 1), True)
    y = graph(ConvOp, graph.inputs[0], w, strides=(1, 1), pads=(1,) * 4, dilations=(1, 1), groups=1)
    compare(graph, y, [RNG.standard_normal((1, 11, 7, channels)).astype(np.float32)])


@pytest.mark.parametrize("taps", [1, 3])
def test_neon(taps: int):
    """By Winograd's algorithm and as a plain sum, in the emulator."""
    pytest.importorskip("unicorn", reason="the emulator is missing: pip install unicorn")
    from emulated import run_emulated

    graph = Graph((1, 8, 9, 32))
    w = decoded(graph, "ui4", (taps, taps, 32, 37), (taps, taps, 16, 1), True)
    y = graph(ConvOp, graph.inputs[0], w, strides=(1, 1), pads=(0,) * 4, dilations=(1, 1), groups=1)
    module, x = graph.module(y), RNG.standard_normal((1, 8, 9, 32)).astype(np.float32)
    (wanted,) = interpret(module, [x])
    (got,) = run_emulated(module, [x])
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_one_scale_for_all():
    graph = Graph((1, 9, 9, 32))
    w = graph(DequantizeOp, codes("i8", 3, 3, 32, 40), np.array(0.01, np.float32))
    y = graph(ConvOp, graph.inputs[0], w, strides=(1, 1), pads=(0,) * 4, dilations=(1, 1), groups=1)
    check(graph, y, [RNG.standard_normal((1, 9, 9, 32)).astype(np.float32)])


def test_floats_where_scales_are_as_many_as_codes():
    graph = Graph((1, 9, 9, 32))
    w = decoded(graph, "i8", (3, 3, 32, 40), (1, 1, 1, 1), True)
    y = graph(ConvOp, graph.inputs[0], w, strides=(1, 1), pads=(0,) * 4, dilations=(1, 1), groups=1)
    module = graph.module(y)
    native = Native(module)
    assert "stored as codes" not in native.build.sites[-1]["why"]


@pytest.mark.parametrize(("zeros", "algorithm"), [(0.6, "contraction"), (0.95, "sparse")])
def test_zeros_have_to_pay_for_floats(
    monkeypatch: pytest.MonkeyPatch, zeros: float, algorithm: str
):
    """Zeros of a weight of few bits are skipped where that is worth the larger artifact."""
    monkeypatch.setattr(build, "choose_encoded", lambda op, target: (False, "forced"))
    monkeypatch.setattr(strassen, "gain", lambda problem, target: 1.0)
    graph = Graph((128, 512))
    few = np.where(RNG.random((512, 512)) < zeros, 0, 1).astype(DTYPES["i2"])
    w = graph(
        DequantizeOp,
        few,
        RNG.uniform(0.01, 0.02, (16, 512)).astype(np.float32),
        blocks=(32, 1),
        to=F32,
    )
    y = graph(MatmulOp, graph.inputs[0], w)
    native = compare(graph, y, [RNG.standard_normal((128, 512)).astype(np.float32)])
    site = native.build.sites[-1]
    assert site["algorithm"] == algorithm
    assert ("stored as codes" in site["why"]) == (algorithm != "sparse")
