"""Pools against the reference: sizes around tiles, strides, dilations, pads; nothing is copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph, array
from mlc.codegen.cpu.target import target_for
from mlc.ir.dims import symbol
from mlc.ir.ops.elementwise import AddOp, ReluOp
from mlc.ir.ops.pool import AvgPoolOp, MaxPoolOp
from mlc.ir.ops.shape import TransposeOp
from mlc.ir.symbols import known_symbols
from mlc.ir.types import DTYPES
from native import Native

POOLS = [MaxPoolOp, AvgPoolOp]


def pool(graph: Graph, op: type, x: Any, kernel: tuple[int, ...], **kind: Any) -> Any:
    rank = len(kernel)
    plain = {"strides": (1,) * rank, "dilations": (1,) * rank, "pads": (1,) * 2 * rank}
    return graph(op, x, kernel=kernel, **{**plain, **kind})


def check(op: type, x: np.ndarray, kernel: tuple[int, ...], target: str = "cpu", **kind: Any):
    graph = Graph(x.shape, dtype=x.dtype)
    result = pool(graph, op, graph.inputs[0], kernel, **kind)
    wanted = result.owner.reference(x)
    native = Native(graph.module(result), target_for(target))
    (got,) = native.run([x])
    assert [site["algorithm"] for site in native.build.sites] == ["pool"]
    tolerance = 0 if op is MaxPoolOp else 1e-2 if x.dtype.itemsize == 2 else 1e-6
    got, wanted = (a.astype(np.float64) for a in (got, wanted))
    np.testing.assert_allclose(got, wanted, tolerance, tolerance)


@pytest.mark.parametrize("op", POOLS)
@pytest.mark.parametrize("target", ["cpu", "cpu:x86-64-v3"])
@pytest.mark.parametrize("channels", [1, 16, 67])
@pytest.mark.parametrize("width", [1, 8, 17])
def test_sizes_around_tiles(op: type, width: int, channels: int, target: str):
    check(op, array(2, 5, width, channels), (3, 3), target)


@pytest.mark.parametrize("name", ["i8", "ui8", "i32", "i64", "f64", "f16", "bf16"])
@pytest.mark.parametrize("channels", [3, 131])
def test_dtypes(name: str, channels: int):
    x = (array(1, 7, 19, channels) * 40).astype(DTYPES[name])
    kind = {"strides": (2, 2), "pads": (1, 0, 1, 2)}
    check(MaxPoolOp, x, (3, 3), **kind)
    if name[0] in "bf":
        check(AvgPoolOp, x, (3, 3), **kind)


@pytest.mark.parametrize("op", POOLS)
@pytest.mark.parametrize("kernel", [2, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 3])
def test_moves(op: type, kernel: int, stride: int, dilation: int):
    pad = (kernel - 1) * dilation // 2
    kind = {"strides": (stride, stride), "dilations": (dilation, dilation), "pads": (pad,) * 4}
    check(op, array(1, 31, 29, 20), (kernel, kernel), **kind)


@pytest.mark.parametrize("op", POOLS)
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (0, 1, 2, 3), (4, 4, 4, 4)])
def test_pads_on_each_side(op: type, pads: tuple[int, ...]):
    check(op, array(1, 6, 4, 18), (3, 2), pads=pads, strides=(2, 1), dilations=(1, 2))


def test_windows_that_see_nothing():
    check(MaxPoolOp, array(1, 6, 4, 18), (3, 2), pads=(9, 0, 0, 9))


@pytest.mark.parametrize("op", POOLS)
@pytest.mark.parametrize("shape", [(3, 19, 8), (1, 4, 5, 6, 9)])
def test_other_ranks(op: type, shape: tuple[int, ...]):
    check(op, array(*shape), (3,) * (len(shape) - 2))


@pytest.mark.parametrize("op", POOLS)
@pytest.mark.parametrize("shape", [(0, 4, 4, 8), (1, 4, 4, 0), (1, 0, 4, 8), (1, 4, 0, 8)])
def test_nothing(op: type, shape: tuple[int, ...]):
    check(op, array(*shape), (1, 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_is_the_largest(dtype: Any):
    x = array(1, 9, 23, 18).astype(dtype)
    x.reshape(-1)[::37] = np.nan
    x.reshape(-1)[5::41] = -np.inf
    check(MaxPoolOp, x, (3, 3))
    check(MaxPoolOp, x, (2, 2), strides=(2, 2), pads=(0, 0, 0, 0))


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("overhang", [(0, 0), (1, 1)])
def test_what_counts(include: bool, overhang: tuple[int, int]):
    kind = {"strides": (2, 2), "pads": (1, 1, 2, 2), "overhang": overhang}
    check(AvgPoolOp, array(1, 8, 20, 5), (3, 3), count_include_pad=include, **kind)


@pytest.mark.parametrize("op", POOLS)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 5, 9), (1, 30, 31), (0, 3, 3), (1, 2, 40)])
def test_symbolic_sizes(op: type, sizes: tuple[int, ...]):
    n, h, w = (symbol(name) for name in "NHW")
    graph = Graph((n, h, w, 24))
    kind = {"strides": (2, 2), "pads": (2, 2, 2, 2)}
    result = pool(graph, op, graph.inputs[0], (5, 5), **kind)
    x = array(*sizes, 24)
    with known_symbols(dict(zip("NHW", sizes, strict=True))):
        wanted = result.owner.reference(x)
    (got,) = Native(graph.module(result)).run([x])
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


def test_what_follows_is_computed_in_registers():
    x, bias, other = array(1, 9, 9, 40), array(40), array(1, 9, 9, 40)
    graph = Graph(x.shape, other.shape)
    result = pool(graph, MaxPoolOp, graph.inputs[0], (3, 3))
    wanted = np.maximum(result.owner.reference(x) + bias, 0) + other
    total = graph(ReluOp, graph(AddOp, result, bias))
    native = Native(graph.module(graph(AddOp, total, graph.inputs[1])))
    assert len(native.build.sites) == 1
    np.testing.assert_allclose(native.run([x, other])[0], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 20])
def test_channels_that_lie_apart(channels: int):
    x = array(2, channels, 7, 9)
    graph = Graph(x.shape)
    turned = graph(TransposeOp, graph.inputs[0], perm=(0, 2, 3, 1))
    result = pool(graph, MaxPoolOp, turned, (3, 3))
    wanted = result.owner.reference(x.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(Native(graph.module(result)).run([x])[0], wanted)
