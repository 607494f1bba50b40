"""Pads with a constant against numpy's: every dim, every width, all that is or is not padded."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Graph, array
from mlc.ir.dims import symbol
from mlc.ir.ops.shape import PadOp
from native import Native


def check(x: np.ndarray, pads: tuple[int, ...], value: float | None = None):
    graph = Graph(x.shape, dtype=x.dtype)
    operands = [graph.inputs[0]] + ([] if value is None else [np.asarray(value, x.dtype)])
    native = Native(graph.module(graph(PadOp, *operands, pads=pads)))
    (got,) = native.run([x])
    rank = x.ndim
    widths = [(pads[k], pads[k + rank]) for k in range(rank)]
    np.testing.assert_array_equal(got, np.pad(x, widths, constant_values=value or 0))
    assert [site["algorithm"] for site in native.build.sites] == ["pad"]


@pytest.mark.parametrize(
    "pads", [(0, 1, 1, 0, 0, 1, 1, 0), (1, 0, 2, 3, 0, 1, 0, 1), (0, 0, 5, 0) * 2]
)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 7, 3), (1, 4, 5, 67), (1, 2, 0, 3)])
def test_images(shape: tuple[int, ...], pads: tuple[int, ...]):
    check(array(*shape), pads)


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 200])
def test_lengths(length: int):
    check(array(length), (3, 70))
    check(array(2, length), (0, 65, 1, 0))


@pytest.mark.parametrize("dtype", ["int8", "bool", "float16", "float64", "int64"])
@pytest.mark.parametrize("value", [None, 1])
def test_dtypes_and_values(dtype: str, value: float | None):
    check((array(3, 5, 4) * 3).astype(dtype), (1, 0, 2, 0, 1, 0), value)


def test_a_value_of_the_run():
    graph = Graph((2, 3), ())
    native = Native(graph.module(graph(PadOp, *graph.inputs, pads=(0, 1, 1, 0))))
    x, value = array(2, 3), np.float32(7)
    (got,) = native.run([x, np.asarray(value)])
    np.testing.assert_array_equal(got, np.pad(x, [(0, 1), (1, 0)], constant_values=value))


@pytest.mark.parametrize("size", [0, 1, 100])
def test_symbolic_sizes(size: int):
    graph = Graph((2, symbol("S"), 5))
    result = graph(PadOp, graph.inputs[0], pads=(0, "S % 2", 1, 1, 2, 1))
    x = array(2, size, 5)
    (got,) = Native(graph.module(result)).run([x])
    np.testing.assert_array_equal(got, np.pad(x, [(0, 1), (size % 2, 2), (1, 1)]))
