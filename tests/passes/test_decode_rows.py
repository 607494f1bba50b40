"""Rows of encoded tables, found before they are decoded."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from graphs import F32, Graph, apply, array, counts
from mlc.ir.interpreter import interpret
from mlc.ir.ops.index import GatherOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.ir.types import DTYPES, I64
from mlc.passes.decode_rows import DecodeRows
from native import Native


def looked_up(
    code: str, scale: tuple[int, ...], *, zero: bool, axis: int = 0, **params: Any
) -> Any:
    dtype, random = DTYPES[code], np.random.default_rng(0)
    info = ml_dtypes.iinfo(dtype)

    def codes(*shape: int) -> np.ndarray:
        return random.integers(int(info.min), int(info.max) + 1, shape).astype(dtype)

    graph = Graph((2, 3), dtype=I64)
    points = [codes(*scale)] if zero else []
    scales = random.uniform(0.1, 1, scale).astype(np.float16)
    table = graph(DequantizeOp, codes(50, 70), scales, *points, to=F32, **params)
    return graph.module(graph(GatherOp, table, graph.inputs[0], axis=axis))


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("code", ["i8", "ui8", "i4", "ui4", "i2", "ui2"])
def test_codes_are_gathered(code: str, zero: bool):
    module = looked_up(code, (50, 3), zero=zero, blocks=(1, 32))
    indices = np.array([[0, 49, -1], [7, 7, 3]])
    (wanted,) = interpret(module, [indices])
    (got,) = interpret(apply(module.clone(), DecodeRows()), [indices])
    np.testing.assert_array_equal(got, wanted)
    native = Native(module)
    np.testing.assert_array_equal(native.run([indices])[0], wanted)
    bits = int(code.strip("ui"))
    assert native.build.weights_size < 50 * (70 * bits // 8 + 1 + 3 * 3) + 192


@pytest.mark.parametrize(("scale", "axis"), [((), 0), ((1, 70), 0), ((50, 1), 0), ((1, 70), 1)])
def test_granularities(scale: tuple[int, ...], axis: int):
    module = looked_up("i4", scale, zero=False, axis=axis)
    before = counts(module)
    apply(module, DecodeRows())
    assert counts(module)["dequantize"] == before["dequantize"] == 1
    names = [op.name for op in module.walk()]
    assert names.index("mlc.gather") < names.index("mlc.dequantize")


def test_rows_that_share_scales_stay():
    module = looked_up("i4", (25, 1), zero=False)
    before = counts(module)
    apply(module, DecodeRows())
    assert counts(module) == before


def test_computed_tables_stay():
    graph = Graph((6, 4), (2,), dtypes=[DTYPES["i8"], I64])
    table = graph(DequantizeOp, graph.inputs[0], array(6, 1))
    module = graph.module(graph(GatherOp, table, graph.inputs[1]))
    before = counts(module)
    apply(module, DecodeRows())
    assert counts(module) == before
