"""Depthwise convolutions against the reference: sizes around tiles, strides, dilations, pads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph, array
from mlc.codegen.cpu.target import target_for
from mlc.ir.dims import symbol
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, ReluOp, SiluOp
from mlc.ir.symbols import known_symbols
from mlc.ir.types import DTYPES
from native import Native


def conv(graph: Graph, x: Any, w: Any, pads: tuple[int, ...], **kind: Any) -> Any:
    rank = len(pads) // 2
    plain = {"strides": (1,) * rank, "dilations": (1,) * rank, "groups": w.shape[-1]}
    return graph(ConvOp, x, w, **{**plain, **kind}, pads=pads)


def check(x: np.ndarray, w: np.ndarray, pads: tuple[int, ...], target: str = "cpu", **kind: Any):
    graph = Graph(x.shape)
    result = conv(graph, graph.inputs[0], w, pads, **kind)
    wanted = result.owner.reference(x, w)
    native = Native(graph.module(result), target_for(target))
    (got,) = native.run([x])
    assert "depthwise" in [site["algorithm"] for site in native.build.sites]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", ["cpu", "cpu:x86-64-v3"])
@pytest.mark.parametrize("channels", [2, 15, 16, 33, 64, 67])
@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 17])
def test_sizes_around_tiles(width: int, channels: int, target: str):
    x, w = array(2, 5, width, channels), array(3, 3, 1, channels, seed=1)
    check(x, w, (1, 1, 1, 1), target)


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_narrow_floats(name: str):
    dtype = DTYPES[name]
    x, w = (a.astype(dtype) for a in (array(2, 7, 9, 33), array(3, 3, 1, 33, seed=1)))
    graph = Graph(x.shape, dtype=dtype)
    result = conv(graph, graph.inputs[0], w, (0, 0, 0, 0))
    wanted = result.owner.reference(x, w).astype(np.float32)
    native = Native(graph.module(result))
    assert [site["algorithm"] for site in native.build.sites] == ["depthwise"]
    np.testing.assert_allclose(native.run([x])[0].astype(np.float32), wanted, 1e-2, 1e-2)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_windows(kernel: int, stride: int, dilation: int):
    x, w = array(1, 31, 29, 20), array(kernel, kernel, 1, 20, seed=1)
    pad = (kernel - 1) * dilation // 2
    check(x, w, (pad,) * 4, strides=(stride, stride), dilations=(dilation, dilation))


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (0, 1, 2, 3), (4, 4, 4, 4), (9, 0, 0, 9)])
def test_pads_on_each_side(pads: tuple[int, ...]):
    x, w = array(1, 6, 4, 18), array(3, 2, 1, 18, seed=1)
    check(x, w, pads, strides=(2, 1), dilations=(1, 2))


@pytest.mark.parametrize("shape", [(3, 19, 8), (1, 4, 5, 6, 9)])
def test_other_ranks(shape: tuple[int, ...]):
    rank = len(shape) - 2
    w = array(*(3,) * rank, 1, shape[-1], seed=1)
    check(array(*shape), w, (1,) * 2 * rank)


@pytest.mark.parametrize("shape", [(0, 4, 4, 8), (1, 0, 4, 8), (1, 4, 0, 8)])
def test_nothing(shape: tuple[int, ...]):
    check(array(*shape), array(1, 1, 1, 8, seed=1), (1, 1, 1, 1))


@pytest.mark.parametrize("activation", [ReluOp, SiluOp])
def test_what_follows_is_computed_in_registers(activation: type):
    x, w, bias, other = (
        array(1, 9, 9, 40),
        array(3, 3, 1, 40, seed=1),
        array(40),
        array(1, 9, 9, 40),
    )
    graph = Graph(x.shape, other.shape)
    total = graph(AddOp, conv(graph, graph.inputs[0], w, (1, 1, 1, 1)), bias)
    module = graph.module(graph(AddOp, graph(activation, total), graph.inputs[1]))
    native = Native(module)
    (got,) = native.run([x, other])
    assert len(native.build.sites) == 1
    op = ConvOp(*(graph.value(v) for v in (graph.inputs[0], w)), **_plain(40))
    total = op.reference(x, w) + bias
    wanted = np.maximum(total, 0) if activation is ReluOp else total / (1 + np.exp(-total))
    np.testing.assert_allclose(got, wanted + other, rtol=1e-5, atol=1e-5)


def _plain(groups: int) -> dict[str, Any]:
    return {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": groups}


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 5, 9), (1, 30, 31), (0, 3, 3), (1, 2, 40)])
@pytest.mark.parametrize("stride", [1, 2])
def test_symbolic_sizes(sizes: tuple[int, ...], stride: int):
    n, h, w = (symbol(name) for name in "NHW")
    kernel = array(5, 5, 1, 24, seed=1)
    graph = Graph((n, h, w, 24))
    result = conv(graph, graph.inputs[0], kernel, (2, 2, 2, 2), strides=(stride, stride))
    x = array(*sizes, 24)
    with known_symbols(dict(zip("NHW", sizes, strict=True))):
        wanted = result.owner.reference(x, kernel)
    (got,) = Native(graph.module(result)).run([x])
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("groups", [4, 20])
def test_several_filters_a_channel(groups: int):
    x, w = array(1, 7, 8, 20), array(3, 3, 20 // groups, 40, seed=1)
    graph = Graph(x.shape)
    result = conv(graph, graph.inputs[0], w, (1, 1, 1, 1), groups=groups)
    wanted = result.owner.reference(x, w)
    (got,) = Native(graph.module(result)).run([x])
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_weights_of_the_run():
    graph = Graph((1, 6, 6, 8), (3, 3, 1, 8))
    op = ConvOp(*graph.inputs, **_plain(8))
    x, w = array(1, 6, 6, 8), array(3, 3, 1, 8, seed=1)
    (got,) = Native(graph.module(graph.add(op))).run([x, w])
    np.testing.assert_allclose(got, op.reference(x, w), rtol=1e-5, atol=1e-5)


def test_other_dtypes_have_other_kernels():
    graph = Graph((1, 6, 6, 8), (3, 3, 1, 8), dtype=np.dtype(np.float64))
    op = ConvOp(*graph.inputs, **_plain(8))
    x, w = (array(1, 6, 6, 8).astype(float), array(3, 3, 1, 8, seed=1).astype(float))
    (got,) = Native(graph.module(graph.add(op))).run([x, w])
    np.testing.assert_allclose(got, op.reference(x, w), rtol=1e-12)
