"""Products of floats of 8 bits: scales go behind them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from graphs import Graph, array, build, counts
from mlc.ir.interpreter import interpret
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp
from mlc.passes.float8_products import Float8Products
from mlc.passes.manager import run_passes
from xdsl.dialects.builtin import ModuleOp

F8 = np.dtype(ml_dtypes.float8_e4m3fn)
BY_ROW = np.abs(array(6, 1, seed=1)) + 0.1
BY_COLUMN = np.abs(array(1, 8, seed=2)) + 0.1


def model(left: np.ndarray, right: np.ndarray) -> ModuleOp:
    """x and a weight, quantized with scales."""
    weight = array(16, 8, seed=3).astype(F8)

    def graph(g: Graph, x):
        codes = g(QuantizeOp, x, left, to=F8)
        return g(MatmulOp, g(DequantizeOp, codes, left), g(DequantizeOp, weight, right))

    return build(graph, (6, 16))


@pytest.mark.parametrize("left", [np.array(0.5, np.float32), BY_ROW], ids=["whole", "rows"])
@pytest.mark.parametrize("right", [np.array(2, np.float32), BY_COLUMN], ids=["whole", "columns"])
def test_scales_go_behind_the_product(left: np.ndarray, right: np.ndarray):
    module, x = model(left, right), array(6, 16)
    (wanted,) = interpret(module, [x])
    run_passes(module, [Float8Products()])
    (got,) = interpret(module, [x])
    np.testing.assert_allclose(got, wanted, 1e-5, 1e-5)
    assert counts(module)["mul"] == 2


@pytest.mark.parametrize(("rows", "columns"), [((1, 16), (1, 1)), ((1, 1), (16, 1))])
def test_scales_along_the_depth_stay(rows: tuple[int, int], columns: tuple[int, int]):
    module = model(np.ones(rows, np.float32), np.ones(columns, np.float32))
    run_passes(module, [Float8Products()])
    assert counts(module)["mul"] == 0
