"""Tables whose rows are looked up, in few bits; scales in f16."""

from __future__ import annotations

import mlc
import numpy as np
import pytest
from graphs import Graph, array, first
from mlc.ir.interpreter import interpret
from mlc.ir.ops.index import GatherOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.ir.types import DTYPES, I64, type_of
from mlc.passes.compress.compress import check_recipe, compress_passes
from mlc.passes.compress.quantize_weights import stored_scale
from mlc.passes.compress.recipe import Override, Quantize, Recipe, Tables
from mlc.passes.compress.report import Report
from mlc.passes.manager import difference, run_passes
from native import Native
from xdsl.dialects.builtin import ModuleOp


def embedding(width: int = 64) -> ModuleOp:
    """Rows of a table times a weight."""
    graph = Graph((2, 5), dtype=I64)
    rows = graph(GatherOp, array(300, width, seed=1), graph.inputs[0])
    return graph.module(graph(MatmulOp, rows, array(width, 32, seed=2)))


INDICES = np.arange(10).reshape(2, 5) * 29


def compressed(recipe: Recipe, width: int = 64) -> tuple[ModuleOp, Report]:
    module, report = embedding(width), Report()
    check_recipe(recipe, module, None)
    run_passes(module, compress_passes(recipe, None, report))
    return module, report


@pytest.mark.parametrize(("bits", "bound"), [(8, 0.01), (4, 0.2)])
@pytest.mark.parametrize(("group", "width"), [(0, 64), (32, 64), (32, 50)])
def test_tables_are_rounded(bits: int, bound: float, group: int, width: int):
    module, report = compressed(Recipe(tables=Tables(bits, group)), width)
    (wanted,) = interpret(embedding(width), [INDICES])
    (got,) = interpret(module, [INDICES])
    assert difference(wanted, got) < bound
    assert report.steps[0].asked == f"tables int{bits}" + (" g32" if group else "")
    native = Native(module)
    np.testing.assert_allclose(native.run([INDICES])[0], got, rtol=1e-4, atol=1e-5)
    assert native.build.weights_size < 300 * width * (bits / 8 + 0.2) + 4 * 32 * width + 500


def test_tables_stay_in_floats_unless_asked_for():
    module, _ = compressed(Recipe(Quantize(bits=4, group=32)))
    assert type_of(first(module, GatherOp).x).dtype == np.float32
    assert not isinstance(first(module, GatherOp).x.owner, DequantizeOp)


def test_scales_of_weights_are_f16():
    module, _ = compressed(Recipe(Quantize(bits=4, group=32)))
    scale = type_of(first(module, DequantizeOp).scale)
    assert scale.dtype == DTYPES["f16"]


def test_scales_that_f16_does_not_hold_stay():
    assert stored_scale(np.array([1e-9, 0.5])).dtype == np.float32
    assert stored_scale(np.array([0.25, 0.5])).dtype == np.float16


def test_bits_are_checked():
    (problem,) = Tables(3).problems()
    assert "tables.bits is 3" in problem


def test_tables_are_called_by_their_names():
    recipe = Recipe(Quantize(), tables=Tables(), layers=(Override("gather_1", tables=False),))
    module, report = compressed(recipe)
    assert not isinstance(first(module, GatherOp).x.owner, DequantizeOp)
    assert [step.done for step in report.steps] == ["uint8 hqq"]


def test_tables_are_reported_and_can_stay_floats():
    recipe, options = Recipe(tables=Tables(4, 32)), {"calibration": [INDICES], "cache": False}
    found = mlc.compile(embedding(), recipe=recipe, measure=True, **options).report["compression"]
    table = found["layers"][-1]
    assert (table["layer"], table["bytes_before"]) == ("gather_1", 300 * 64 * 4)
    assert table["bytes_after"] == 300 * (32 + 2 * 2)
    assert 10 < table["output_sqnr"] < 30
    found = mlc.compile(embedding(), recipe=recipe, max_drop=0.0, **options).report["compression"]
    assert found["metric"]["restored"] == ["gather_1"]
    assert found["metric"]["after"] == pytest.approx(1.0)
