"""Products, convolutions and attention over odd sizes and dtypes, interpreted."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from gpu import FLOATS, Interpreter, check, values
from graphs import build as module_of
from mlc.codegen.cuda.target import CudaTarget, target_for
from mlc.ir.dims import symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.attention import AttentionOp
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, GeluOp, MulOp, ReluOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp
from mlc.ir.ops.reduce import ReduceSumOp
from mlc.ir.ops.shape import TransposeOp

pytestmark = pytest.mark.interpreted

F8 = np.dtype(ml_dtypes.float8_e4m3fn)
N, S = symbol("N"), symbol("S")


@pytest.mark.parametrize("dtype", FLOATS, ids=["f32", "f16", "bf16"])
@pytest.mark.parametrize("size", [(2, 1, 1), (7, 13, 5), (16, 32, 64), (67, 31, 129)], ids=str)
def test_products_with_what_follows(size: tuple[int, int, int], dtype: np.dtype):
    rows, depth, columns = size
    shapes = (rows, depth), (depth, columns), (columns,)
    module = module_of(
        lambda g, x, w, b: g(GeluOp, g(AddOp, g(MatmulOp, x, w), b)), *shapes, dtype=dtype
    )
    check(module, [values(s, dtype, n) for n, s in enumerate(shapes)])


SPACE = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
LONG = (1, 2, 701, 8)
CHOICES = {
    "product": (lambda g, x, w: g(GeluOp, g(MatmulOp, x, w)), (17, 24), (24, 35)),
    "conv": (lambda g, x, w: g(ConvOp, x, w, groups=1, **SPACE), (1, 3, 2, 32), (3, 3, 32, 24)),
    "attention": (lambda g, x, k: g(AttentionOp, x, k, k), (1, 1, 37, 16), (1, 1, 70, 16)),
    "decoding": (lambda g, x, k: g(AttentionOp, x, k, k), (1, 4, 1, 8), LONG),
    "deep product": (lambda g, x, w: g(GeluOp, g(MatmulOp, x, w)), (5, 1031), (1031, 24)),
    "sum": (lambda g, x: g(GeluOp, g(ReduceSumOp, x, axes=(0, 1), keepdims=True)), (301, 211)),
}

IN_PARTS = "decoding", "deep product", "sum"


@pytest.mark.parametrize("name", CHOICES)
def test_every_candidate_computes_the_same(name: str):
    """What is measured may be any of them."""
    make, *shapes = CHOICES[name]
    target = replace(target_for("cuda:sm_90"), candidates=6)
    kernels = Interpreter(module_of(make, *shapes), target)
    ways = kernels.build.launches[0].ways
    arrays = [values(shape, FLOATS[0]) for shape in shapes]
    (wanted,) = interpret(module_of(make, *shapes), arrays)
    for number in range(len(ways)):
        (got,) = kernels.run(arrays, number)
        np.testing.assert_allclose(got, wanted, 1e-5, 1e-5 * np.abs(wanted).max())
    assert len(ways) > 2
    if name in IN_PARTS:
        assert len(kernels.build.launches[1].ways) == len(ways)
        assert len({kernels.build.codes[way.number].grid for way in ways}) > 1


def test_a_product_of_unknown_sizes():
    module = module_of(lambda g, x, w: g(ReluOp, g(MatmulOp, x, w)), (N, S), (S, 9))
    f32 = FLOATS[0]
    check(
        module, *([values((n, s), f32), values((s, 9), f32)] for n, s in [(0, 3), (5, 1), (33, 65)])
    )


def test_what_comes_before_a_product_is_computed_as_it_is_read():
    def graph(g, x, scale, w):
        return g(MatmulOp, g(TransposeOp, x, perm=(0, 2, 1)), g(MulOp, w, scale))

    shapes = (2, 11, 6), (5,), (11, 5)
    module = module_of(graph, *shapes)
    check(module, [values(s, FLOATS[0], n) for n, s in enumerate(shapes)])


@pytest.mark.parametrize("left", [np.int8, np.uint8])
@pytest.mark.parametrize("right", [np.int8, np.uint8])
def test_products_of_bytes_are_exact(left: type, right: type):
    kinds = np.dtype(left), np.dtype(right)
    to = np.dtype(np.int32)
    shapes = (5, 37), (37, 19)
    module = module_of(lambda g, x, w: g(MatmulOp, x, w, to=to), *shapes, dtypes=kinds)
    check(module, [values(s, k, 3) for s, k in zip(shapes, kinds, strict=True)])


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize(("codes", "block"), [(np.int8, 64), (np.uint8, 16), (ml_dtypes.int4, 32)])
def test_weights_are_decoded_in_registers(codes: type, block: int, rows: int):
    weight = values((64, 24), np.dtype(np.int8)).astype(codes)
    scales = (64 // block, 24)
    scale = np.random.default_rng(1).uniform(0.1, 0.2, scales).astype(np.float32)
    zero = [np.full(scales, 128, codes)] if codes is np.uint8 else []

    def graph(g, x):
        return g(GeluOp, g(MatmulOp, x, g(DequantizeOp, weight, scale, *zero)))

    module, x = module_of(graph, (rows, 64)), values((rows, 64), FLOATS[0])
    (want,) = interpret(module, [x])
    kernels = Interpreter(module)
    (got,) = kernels.run([x])
    np.testing.assert_allclose(got, want, 1e-4, 1e-4)
    assert kernels.build.weights_size < 4 * weight.size


@pytest.mark.parametrize("rows", [0, 1, 2, 37])
def test_floats_of_8_bits_are_multiplied_as_they_are(rows: int):
    weight = values((70, 24), FLOATS[0], 1).astype(F8)
    scales = np.random.default_rng(1).uniform(0.1, 0.2, (1, 24)).astype(np.float32)

    def graph(g, x):
        codes = g(QuantizeOp, x, 0.5, to=F8)
        decoded = g(DequantizeOp, codes, 0.5), g(DequantizeOp, weight, scales)
        return g(GeluOp, g(MatmulOp, *decoded))

    module = module_of(graph, (rows, 70))
    check(module, [values((rows, 70), FLOATS[0])])
    kernels = Interpreter(module_of(graph, (N, 70)))
    assert kernels.build.weights_size < 2 * weight.size
    assert "tl.dot(left, right, total, max_num_imprecise_acc=DEPTH)" in kernels.build.source


@pytest.mark.parametrize("dtype", FLOATS, ids=["f32", "f16", "bf16"])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_convolutions(groups: int, dtype: np.dtype):
    window = {"strides": (2, 1), "pads": (1, 0, 2, 1), "dilations": (1, 2), "groups": groups}
    shapes = (2, 7, 9, 6), (3, 2, 6 // groups, 12)
    module = module_of(lambda g, x, w: g(ConvOp, x, w, **window), *shapes, dtype=dtype)
    check(module, [values(s, dtype, n) for n, s in enumerate(shapes)])


def test_a_window_is_walked_through_place_by_place():
    window = {"strides": (1, 2), "pads": (1, 1, 0, 1), "dilations": (1, 1)}
    shapes = (2, 5, 6, 64), (3, 2, 64, 8)
    module = module_of(lambda g, x, w: g(ConvOp, x, w, **window), *shapes)
    check(module, [values(s, FLOATS[0], n) for n, s in enumerate(shapes)])


def test_pads_of_a_convolution_of_bytes_are_zeros():
    window = {"strides": (1,), "pads": (1, 1), "dilations": (1,), "to": np.dtype(np.int32)}
    kinds = np.dtype(np.uint8), np.dtype(np.int8)
    shapes = (2, 5, 3), (3, 3, 4)
    module = module_of(lambda g, x, w: g(ConvOp, x, w, **window), *shapes, dtypes=kinds)
    check(module, [values(s, k, 5) for s, k in zip(shapes, kinds, strict=True)])


@pytest.mark.parametrize("dtype", FLOATS, ids=["f32", "f16", "bf16"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 70, 8), (37, 37, 24)], ids=str)
def test_attention(size: tuple[int, int, int], causal: bool, dtype: np.dtype):
    queries, keys, features = size
    q, kv = (2, 4, queries, features), (2, 2, keys, features)
    shapes = q, kv, kv, (2, 1, 1, keys)

    def graph(g, q, k, v, mask):
        mixed = g(AttentionOp, q, k, v, mask, scale=features**-0.5, causal=causal)
        return g(TransposeOp, mixed, perm=(0, 2, 1, 3))

    arrays = [values(s, dtype, n) for n, s in enumerate(shapes)]
    arrays[3][0, ..., -1] = -np.inf
    check(module_of(graph, *shapes, dtype=dtype), arrays)


def test_attention_over_unknown_lengths():
    def graph(g, q, k, v):
        return g(AttentionOp, q, k, v, scale=0.3, causal=True)

    f32 = FLOATS[0]
    module = module_of(graph, (N, 3, S, 16), (N, 3, S, 16), (N, 3, S, 16))
    check(
        module,
        *([values((n, 3, s, 16), f32, k) for k in range(3)] for n, s in [(0, 4), (1, 1), (2, 69)]),
    )


@pytest.mark.parametrize(("precision", "error"), [("tf32", 2e-3), ("f16", 2e-3), ("bf16", 2e-2)])
def test_factors_round_as_asked(precision: str, error: float):
    module = module_of(lambda g, x, w: g(MatmulOp, x, w), (16, 64), (64, 16))
    arrays = [values((16, 64), FLOATS[0]), values((64, 16), FLOATS[0], 1)]
    (want,) = interpret(module, arrays)
    target = CudaTarget(target_for("cuda:sm_90").architectures, precision)
    (got,) = Interpreter(module, target).run(arrays)
    difference = np.abs(got - want).max() / np.abs(want).max()
    assert error / 50 < difference < error


@pytest.mark.parametrize(("precision", "error"), [("f16", 5e-3), ("bf16", 3e-2)])
def test_values_between_kernels_are_narrow(precision: str, error: float):
    w, v = values((16, 16), FLOATS[0], 1), values((16, 8), FLOATS[0], 2)

    def graph(g, x):
        x = g(MatmulOp, x, w)
        mixed = g(AttentionOp, x, x, x, scale=0.3)
        return g(MatmulOp, g(TransposeOp, mixed, perm=(0, 2, 1, 3)), v)

    module, x = module_of(graph, (2, 3, 17, 16)), values((2, 3, 17, 16), FLOATS[0])
    (want,) = interpret(module, [x])
    target = CudaTarget(target_for("cuda:sm_90").architectures, precision)
    kernels = Interpreter(module, target)
    (got,) = kernels.run([x])
    assert np.abs(got - want).max() < error * np.abs(want).max()
    assert kernels.build.weights_size == 2 * (w.size + v.size)
