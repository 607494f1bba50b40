"""Quantized layers become integer products, and functions of one byte tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph, apply, array, counts, first, run
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AbsOp, AddOp, ErfOp, MulOp, SubOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp
from mlc.ir.ops.reduce import ReduceMaxOp
from mlc.ir.ops.shape import TransposeOp
from mlc.ir.types import DTYPES, type_of
from mlc.passes.integer_products import IntegerProducts
from mlc.passes.move_codes import MoveCodes
from mlc.passes.tabulate import Tabulate
from mlc.passes.unsigned_codes import UnsignedCodes

UI8 = DTYPES["ui8"]
X = np.random.default_rng(0).integers(0, 256, (6, 8)).astype(UI8)
W = np.random.default_rng(1).integers(-128, 128, (8, 5)).astype(np.int8)


def number(value: float) -> np.ndarray:
    return np.asarray(value, np.float32)


def decoded(graph: Graph, x: Any, scale: float = 0.02, zero: int = 131) -> Any:
    return graph(DequantizeOp, x, number(scale), np.asarray(zero, UI8))


def encoded(graph: Graph, x: Any, scale: float = 0.05, zero: int = 120) -> Any:
    return graph(QuantizeOp, x, number(scale), np.asarray(zero, UI8), to=UI8)


def test_a_layer_is_an_integer_product():
    graph = Graph(X.shape, dtype=UI8)
    product = graph(MatmulOp, decoded(graph, graph.inputs[0]), graph(DequantizeOp, W, number(0.01)))
    module = graph.module(product)
    (wanted,) = run(module, X)
    apply(module, IntegerProducts())
    assert counts(module) == {"matmul": 1, "cast": 1, "mul": 1, "add": 1}
    np.testing.assert_allclose(run(module, X)[0], wanted, rtol=1e-5, atol=1e-5)


def test_one_factor_and_one_shift_are_left_of_all_scales():
    graph = Graph(X.shape, dtype=UI8)
    value = graph(MatmulOp, decoded(graph, graph.inputs[0]), graph(DequantizeOp, W, number(0.01)))
    value = graph(AddOp, value, np.ones(5, np.float32))
    module = graph.module(encoded(graph, value))
    (wanted,) = run(module, X)
    apply(module, IntegerProducts())
    assert counts(module)["mul"] == counts(module)["add"] == counts(module)["quantize"] == 1
    np.testing.assert_array_equal(run(module, X)[0], wanted)


def test_sums_of_codes_are_one_linear_sum():
    graph = Graph(X.shape, X.shape, dtype=UI8)
    x, y = decoded(graph, graph.inputs[0]), decoded(graph, graph.inputs[1], 0.0317, 17)
    value = graph(MulOp, graph(SubOp, graph(AddOp, x, y), number(0.25)), number(0.53))
    module = graph.module(encoded(graph, value))
    (wanted,) = run(module, X, X[::-1])
    apply(module, IntegerProducts())
    assert counts(module) == {"dequantize": 2, "add": 2, "quantize": 1}
    np.testing.assert_array_equal(run(module, X, X[::-1])[0], wanted)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_weights_with_zero_points(dtype: Any):
    graph = Graph(X.shape, dtype=UI8)
    codes = W if dtype == np.int8 else (W.astype(np.int16) + 128).astype(np.uint8)
    weights = graph(DequantizeOp, codes, number(0.01), np.asarray(3, dtype))
    module = graph.module(graph(MatmulOp, decoded(graph, graph.inputs[0]), weights))
    (wanted,) = run(module, X)
    assert "dequantize" not in counts(apply(module, IntegerProducts()))
    np.testing.assert_allclose(run(module, X)[0], wanted, rtol=1e-5, atol=1e-5)


def test_a_function_of_one_byte_is_a_table():
    graph = Graph(X.shape, dtype=UI8)
    value = decoded(graph, graph.inputs[0])
    error = decoded(graph, encoded(graph, graph(ErfOp, value), 0.01), 0.01, 120)
    module = graph.module(encoded(graph, graph(MulOp, value, error)))
    (wanted,) = run(module, X)
    apply(module, Tabulate())
    assert counts(module) == {"gather": 1}
    np.testing.assert_array_equal(run(module, X)[0], wanted)


@pytest.mark.parametrize("two", [False, True])
def test_sums_and_functions_of_two_bytes_are_none(two: bool):
    graph = Graph(X.shape, X.shape, dtype=UI8)
    x, y = (decoded(graph, i) for i in graph.inputs)
    value = graph(ErfOp, graph(AddOp, x, y)) if two else graph(AddOp, x, x)
    module = graph.module(encoded(graph, value))
    assert counts(apply(module, Tabulate()))["gather"] == 0


def test_a_function_that_changes_no_code_vanishes():
    graph = Graph(X.shape, dtype=UI8)
    scaled = graph(MulOp, decoded(graph, graph.inputs[0], 0.02, 131), number(0.5))
    module = graph.module(encoded(graph, scaled, 0.01, 131))
    (wanted,) = run(module, X)
    assert counts(apply(module, Tabulate())) == {}
    np.testing.assert_array_equal(run(module, X)[0], wanted)


@pytest.mark.parametrize("turned", [False, True])
def test_products_of_two_activations_are_integer_products(turned: bool):
    x, y = array(2, 6, 24), array(2, 5, 24, seed=1) if turned else array(2, 24, 5, seed=1)
    graph = Graph(x.shape, y.shape)
    left, right = (encoded(graph, v, 0.021, 126) for v in graph.inputs)
    left, right = decoded(graph, left, 0.021, 126), decoded(graph, right, 0.021, 126)
    if turned:
        right = graph(TransposeOp, right, perm=(0, 2, 1))
    module = graph.module(graph(MatmulOp, left, right))
    (wanted,) = run(module, x, y)
    apply(module, MoveCodes(), IntegerProducts())
    assert counts(module)["dequantize"] == 0
    assert counts(module)["reduce_sum"] == 2
    np.testing.assert_allclose(run(module, x, y)[0], wanted, rtol=1e-4, atol=1e-4)


def test_codes_lose_their_sign():
    graph = Graph((4, 8))
    scale, zero = number(0.03), np.asarray(-7, np.int8)
    code = graph(QuantizeOp, graph.inputs[0], scale, zero, to=DTYPES["i8"])
    turned = graph(DequantizeOp, graph(TransposeOp, code, perm=(1, 0)), scale, zero)
    same = graph(DequantizeOp, code, scale, zero)
    module = graph.module(turned, same)
    wanted = run(module, x := array(4, 8))
    apply(module, UnsignedCodes())
    assert type_of(first(module, QuantizeOp).result).dtype == UI8
    for a, b in zip(run(module, x), wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_codes_that_are_a_result_keep_their_sign():
    graph = Graph((4, 8))
    code = graph(QuantizeOp, graph.inputs[0], number(0.03), to=DTYPES["i8"])
    module = apply(graph.module(code), UnsignedCodes())
    assert type_of(first(module, QuantizeOp).result).dtype == DTYPES["i8"]


@pytest.mark.parametrize("kind", [MatmulOp, ConvOp])
def test_scales_that_are_found_at_run_time_multiply_sums(kind: Any):
    is_matmul = kind is MatmulOp
    x = array(4, 6, 8) if is_matmul else array(1, 5, 6, 3)
    w = array(8, 5) if is_matmul else array(3, 3, 3, 4)
    axes = (2,) if is_matmul else (0, 1, 2, 3)
    graph = Graph(x.shape)
    largest = graph(ReduceMaxOp, graph(AbsOp, graph.inputs[0]), axes=axes, keepdims=True)
    scale = graph(MulOp, largest, number(1 / 127))
    codes = graph(QuantizeOp, graph.inputs[0], scale, to=np.dtype(np.int8))
    weights = graph(DequantizeOp, (30 * w).astype(np.int8), number(0.01))
    pads = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
    params = {} if is_matmul else pads
    module = graph.module(graph(kind, graph(DequantizeOp, codes, scale), weights, **params))
    (wanted,) = run(module, x)
    apply(module, UnsignedCodes(), MoveCodes(), IntegerProducts())
    assert type_of(first(module, kind).result).dtype == np.int32
    assert counts(module)["dequantize"] == 0
    np.testing.assert_allclose(run(module, x)[0], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["ui8", "i8"])
@pytest.mark.parametrize("points", [False, True])
@pytest.mark.parametrize("kind", ["matrix", "rows", "image"])
def test_scales_and_zero_points_that_are_found_at_run_time(kind: str, points: bool, dtype: str):
    x = array(1, 5, 6, 3) if kind == "image" else array(4, 6, 8)
    w = array(3, 3, 3, 4) if kind == "image" else array(8, 5)
    found = (4, 6, 1) if kind == "rows" else ()
    graph = Graph(x.shape, found, found, dtypes=[np.float32, np.float32, DTYPES[dtype]])
    turned = graph(TransposeOp, graph.inputs[0], perm=tuple(reversed(range(x.ndim))))
    by = graph.inputs[1:] if points else graph.inputs[1:2]
    value = turned if not found else graph.inputs[0]
    codes = graph(QuantizeOp, value, *by, to=DTYPES[dtype])
    value = graph(DequantizeOp, codes, *by)
    if not found:
        value = graph(TransposeOp, value, perm=tuple(reversed(range(x.ndim))))
    weights = graph(DequantizeOp, (30 * w).astype(np.int8), number(0.01))
    pads = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
    op, params = (ConvOp, pads) if kind == "image" else (MatmulOp, {})
    module = graph.module(graph(op, value, weights, **params))
    rng = np.random.default_rng(3)
    low = 0 if dtype == "ui8" else -128
    zeros = rng.integers(low, low + 256, found).astype(DTYPES[dtype])
    inputs = [x, rng.uniform(0.01, 0.02, found).astype(np.float32), zeros]
    (wanted,) = run(module, *inputs)
    apply(module, UnsignedCodes(), MoveCodes(), IntegerProducts())
    assert type_of(first(module, op).result).dtype == np.int32
    assert counts(module)["dequantize"] == 0
    np.testing.assert_allclose(run(module, *inputs)[0], wanted, rtol=1e-4, atol=1e-5)


def test_codes_that_others_read_keep_their_scales():
    x = array(4, 8)
    graph = Graph(x.shape)
    scale = graph(ReduceMaxOp, graph(AbsOp, graph.inputs[0]), axes=(1,), keepdims=True)
    codes = graph(QuantizeOp, graph.inputs[0], scale, to=np.dtype(np.int8))
    other = graph(AddOp, scale, number(1))
    module = graph.module(graph(DequantizeOp, codes, scale), graph(DequantizeOp, codes, other))
    before = str(module)
    assert str(apply(module, UnsignedCodes())) == before
