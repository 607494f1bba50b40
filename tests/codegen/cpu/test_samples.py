"""Launches that run sample by sample: what is taken into a loop, and that results stay the same."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from graphs import Graph, array
from mlc.codegen.cpu import samples
from mlc.ir.dims import Dim, symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, MulOp, ReluOp, SigmoidOp
from mlc.ir.ops.pool import MaxPoolOp
from mlc.ir.ops.reduce import ReduceMeanOp
from mlc.ir.ops.shape import ConcatOp, ReshapeOp, SliceOp
from mlc.ir.types import type_of
from native import Native

PLAIN = {"strides": (1, 1), "dilations": (1, 1)}


@pytest.fixture(autouse=True)
def _small_cache(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(samples, "_CACHE", 0)


def conv(g: Graph, x: Any, channels: int, size: int = 3, groups: int = 1, seed: int = 0) -> Any:
    own = x.type.shape[-1] // groups
    pad = size // 2
    w = array(size, size, own, channels, seed=seed)
    return g(ConvOp, x, w, **PLAIN, pads=(pad,) * 4, groups=groups)


def chain(g: Graph, x: Any) -> Any:
    y = g(ReluOp, conv(g, x, 16))
    y = g(ReluOp, conv(g, y, 16, groups=16, seed=1))
    return conv(g, y, 5, size=1, seed=2)


def residual(g: Graph, x: Any) -> Any:
    y = conv(g, x, 6)
    z = g(AddOp, conv(g, g(ReluOp, conv(g, y, 6, seed=1)), 6, seed=2), y)
    return g(ReluOp, g(AddOp, z, conv(g, y, 6, size=1, seed=3)))


def squeezed(g: Graph, x: Any) -> Any:
    y = g(ReluOp, conv(g, x, 16))
    scale = g(
        SigmoidOp, conv(g, g(ReduceMeanOp, y, axes=(1, 2), keepdims=True), 16, size=1, seed=1)
    )
    return conv(g, g(MulOp, y, scale), 8, size=1, seed=2)


def several(g: Graph, x: Any) -> Any:
    y = conv(g, x, 8)
    pool = {"kernel": (2, 2), "strides": (2, 2), "pads": (0,) * 4, "dilations": (1, 1)}
    z = g(MaxPoolOp, g(ConcatOp, y, conv(g, y, 8, seed=1), axis=3), **pool)
    flat = g.add(ReshapeOp.to(z, (type_of(z).shape[0], 3 * 3 * 16)))
    return y, flat


def mixed(g: Graph, x: Any) -> Any:
    """Samples change places in the middle."""
    y = conv(g, x, 8)
    some = {"starts": (1, 0, 0, 0), "stops": (4, 6, 6, 8), "steps": (1,) * 4}
    one = {"starts": (0, 0, 0, 0), "stops": (1, 6, 6, 8), "steps": (1,) * 4}
    turned = g(ConcatOp, g(SliceOp, y, **some), g(SliceOp, y, **one), axis=0)
    return conv(g, conv(g, turned, 8, seed=1), 8, seed=2)


def compiled(make: Callable[..., Any], batch: Dim) -> tuple[Native, np.ndarray, list[np.ndarray]]:
    graph = Graph((batch, 6, 6, 3))
    results = make(graph, *graph.inputs)
    module = graph.module(*(results if isinstance(results, tuple) else (results,)))
    x = array(4, 6, 6, 3)
    wanted = interpret(module, [x])
    return Native(module), x, wanted


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("make", [chain, residual, squeezed, several, mixed])
def test_results_stay_the_same(make: Callable[..., Any], threads: int):
    native, x, wanted = compiled(make, 4)
    assert "each0:" in native.build.text
    for got, want in zip(native.run([x], threads), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("make", [chain, residual, squeezed])
def test_any_number_of_samples(make: Callable[..., Any], threads: int):
    graph = Graph((symbol("N"), 6, 6, 3))
    native = Native(graph.module(make(graph, *graph.inputs)))
    for batch in (0, 1, 5, 70):
        fixed = Graph((batch, 6, 6, 3))
        x = array(batch, 6, 6, 3)
        (wanted,) = interpret(fixed.module(make(fixed, *fixed.inputs)), [x])
        (got,) = native.run([x], threads)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_a_loop_needs_memory_for_one_sample():
    graph = Graph((symbol("N"), 6, 6, 3))
    native = Native(graph.module(chain(graph, *graph.inputs)))
    arena = native.library.function("mlc_arena_size", ctypes.c_int64)
    assert arena(ctypes.byref(ctypes.c_int64(1))) == arena(ctypes.byref(ctypes.c_int64(100)))


def test_small_data_is_not_worth_a_loop(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(samples, "_CACHE", 1 << 20)
    assert "each0:" not in compiled(chain, 4)[0].build.text
