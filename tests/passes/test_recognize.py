"""Whole ops found in their decompositions, in the forms that exporters and people write."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from graphs import Graph, apply, array, build, counts, first, names
from mlc.ir.dims import symbol
from mlc.ir.ops import elementwise as e
from mlc.ir.ops.norm import LayerNormOp, RmsNormOp, SoftmaxOp
from mlc.ir.ops.reduce import ReduceMaxOp, ReduceMeanOp, ReduceSumOp
from mlc.ir.ops.shape import TransposeOp
from mlc.passes.contract import Pass
from mlc.passes.pipeline import PIPELINE, RECOGNIZE, SIMPLIFY
from mlc.passes.recognize.gelu import RecognizeGelu
from mlc.passes.recognize.silu import RecognizeSilu
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

Build = Callable[..., Any]
N = symbol("N")
ALL: tuple[Pass, ...] = (*SIMPLIFY, *RECOGNIZE)


def recognized(graph: Build, *shapes: Any, **kind: Any) -> ModuleOp:
    return apply(build(graph, *shapes, **kind), *ALL, sizes={"N": 3})


# ------------------------------------------------------------------------------- activations


def gate(g: Graph, x: SSAValue) -> SSAValue:
    return g(e.AddOp, g(e.ErfOp, g(e.DivOp, x, sqrt(2))), 1.0)


def tanh_gate(g: Graph, x: SSAValue) -> SSAValue:
    cube = g(e.MulOp, g(e.PowOp, x, 3.0), 0.044715)
    return g(e.AddOp, 1.0, g(e.TanhOp, g(e.MulOp, sqrt(2 / pi), g(e.AddOp, x, cube))))


def fast_gate(g: Graph, x: SSAValue) -> SSAValue:
    """Taken out of the bracket: ``x * c * (1 + 0.044715 * x * x)``."""
    square = g(e.MulOp, g(e.MulOp, 0.044715, x), x)
    inner = g(e.MulOp, g(e.MulOp, x, 0.7978845608), g(e.AddOp, 1.0, square))
    return g(e.AddOp, g(e.TanhOp, inner), 1.0)


GELU: dict[str, Build] = {
    "half inside": lambda g, x: g(e.MulOp, x, g(e.MulOp, 0.5, gate(g, x))),
    "half of x": lambda g, x: g(e.MulOp, g(e.MulOp, x, 0.5), gate(g, x)),
    "half outside": lambda g, x: g(e.MulOp, g(e.MulOp, gate(g, x), x), 0.5),
    "halved": lambda g, x: g(e.DivOp, g(e.MulOp, x, gate(g, x)), 2.0),
    "tanh": lambda g, x: g(e.MulOp, g(e.MulOp, x, 0.5), tanh_gate(g, x)),
    "tanh, half inside": lambda g, x: g(e.MulOp, g(e.MulOp, 0.5, tanh_gate(g, x)), x),
    "fast tanh": lambda g, x: g(e.MulOp, g(e.MulOp, 0.5, x), fast_gate(g, x)),
}
SILU: dict[str, Build] = {
    "product": lambda g, x: g(e.MulOp, g(e.SigmoidOp, x), x),
    "quotient": lambda g, x: g(e.DivOp, x, g(e.AddOp, 1.0, g(e.ExpOp, g(e.NegOp, x)))),
    "definition": lambda g, x: g(
        e.MulOp, x, g(e.DivOp, 1.0, g(e.AddOp, g(e.ExpOp, g(e.MulOp, x, -1.0)), 1.0))
    ),
}


@pytest.mark.parametrize("form", GELU)
@pytest.mark.parametrize("dtype", ["float32", ml_dtypes.bfloat16])
def test_gelu(form: str, dtype: Any):
    module = build(GELU[form], (N, 5), dtype=np.dtype(dtype))
    for step in ALL:
        step.apply(module)
    assert names(module) == ["gelu"]
    assert first(module, e.GeluOp).approximate == ("tanh" in form)


@pytest.mark.parametrize("form", GELU)
def test_gelu_keeps_its_values(form: str):
    assert names(recognized(GELU[form], (N, 5))) == ["gelu"]


@pytest.mark.parametrize(
    "graph",
    [
        lambda g, x: g(e.MulOp, x, gate(g, x)),
        lambda g, x: g(e.MulOp, g(e.MulOp, x, 0.5), gate(g, g(e.NegOp, x))),
        lambda g, x: g(e.MulOp, g(e.MulOp, x, 0.5), g(e.AddOp, g(e.ErfOp, x), 1.0)),
        lambda g, x: ((y := gate(g, x)), g(e.MulOp, g(e.MulOp, x, 0.5), y)),
    ],
)
def test_what_is_no_gelu(graph: Build):
    assert "gelu" not in names(apply(build(graph, (5,)), *SIMPLIFY, RecognizeGelu()))


@pytest.mark.parametrize("form", SILU)
def test_silu(form: str):
    assert names(recognized(SILU[form], (N, 5))) == ["silu"]


def test_sigmoid():
    module = recognized(
        lambda g, x: g(e.DivOp, 1.0, g(e.AddOp, g(e.ExpOp, g(e.NegOp, x)), 1.0)), (5,)
    )
    assert names(module) == ["sigmoid"]


def test_a_gate_of_another_value_is_no_silu():
    module = build(lambda g, x, y: g(e.MulOp, g(e.SigmoidOp, x), y), (5,), (5,))
    assert names(apply(module, RecognizeSilu())) == ["sigmoid", "mul"]


# ------------------------------------------------------------------------------------- norms


def centred(g: Graph, x: SSAValue, *axes: int) -> SSAValue:
    return g(e.SubOp, x, g(ReduceMeanOp, x, axes=axes, keepdims=True))


def layer_norm(g: Graph, x: SSAValue, *axes: int, epsilon: float = 1e-5) -> SSAValue:
    """As torch writes it for old opsets."""
    y = centred(g, x, *axes)
    variance = g(ReduceMeanOp, g(e.PowOp, y, 2.0), axes=axes, keepdims=True)
    return g(e.DivOp, y, g(e.SqrtOp, g(e.AddOp, variance, epsilon)))


def layer_norm_by_product(g: Graph, x: SSAValue, *axes: int) -> SSAValue:
    """With the difference written twice, a product and the inverse root."""
    square = g(e.MulOp, centred(g, x, *axes), centred(g, x, *axes))
    variance = g(ReduceMeanOp, square, axes=axes, keepdims=True)
    inverse = g(e.DivOp, 1.0, g(e.SqrtOp, g(e.AddOp, 1e-5, variance)))
    return g(e.MulOp, inverse, centred(g, x, *axes))


def layer_norm_by_squares(g: Graph, x: SSAValue, *axes: int) -> SSAValue:
    """As Flax writes it: the mean of squares less the square of the mean."""
    mean = g(ReduceMeanOp, x, axes=axes, keepdims=True)
    squares = g(ReduceMeanOp, g(e.MulOp, x, x), axes=axes, keepdims=True)
    variance = g(e.SubOp, squares, g(e.MulOp, mean, mean))
    inverse = g(e.RsqrtOp, g(e.AddOp, variance, 1e-5))
    return g(e.MulOp, g(e.SubOp, x, mean), inverse)


def rms_norm(g: Graph, x: SSAValue, *axes: int) -> SSAValue:
    square = g(ReduceMeanOp, g(e.PowOp, x, 2.0), axes=axes, keepdims=True)
    inverse = g(e.DivOp, 1.0, g(e.SqrtOp, g(e.AddOp, square, 1e-6)))
    return g(e.MulOp, x, inverse)


def affine(g: Graph, x: SSAValue, shape: tuple, *, bias: bool = True) -> SSAValue:
    x = g(e.MulOp, array(*shape, seed=1), x)
    return g(e.AddOp, x, array(*shape, seed=2)) if bias else x


@pytest.mark.parametrize("form", [layer_norm, layer_norm_by_product, layer_norm_by_squares])
def test_layer_norm(form: Build):
    plain = recognized(lambda g, x: form(g, x, 2), (2, N, 8))
    whole = recognized(lambda g, x: affine(g, form(g, x, 2), (8,)), (2, N, 8))
    assert names(plain) == names(whole) == ["layer_norm"]
    assert [len(first(m, LayerNormOp).operands) for m in (plain, whole)] == [1, 3]


def test_layer_norm_with_a_scale_of_more_dims():
    module = recognized(lambda g, x: affine(g, layer_norm(g, x, 2), (1, 1, 8)), (2, 3, 8))
    assert names(module) == ["layer_norm"]


def test_layer_norm_over_several_dims():
    module = recognized(lambda g, x: affine(g, layer_norm(g, x, 1, 2), (3, 8)), (2, 3, 8))
    assert names(module) == ["layer_norm"]
    assert first(module, LayerNormOp).axis == 1


def test_layer_norm_over_channels_in_the_middle():
    """As ConvNeXt writes it."""
    module = recognized(lambda g, x: affine(g, layer_norm(g, x, 1), (8, 1, 1)), (2, 8, 3, 4))
    assert names(module) == ["transpose", "layer_norm", "transpose"]
    assert len(first(module, LayerNormOp).operands) == 3


def test_layer_norm_between_channels_last_ops_needs_no_transpose():
    def graph(g: Graph, x: SSAValue) -> SSAValue:
        x = g(TransposeOp, g(e.ReluOp, x), perm=(0, 3, 1, 2))
        x = affine(g, layer_norm(g, x, 1), (8, 1, 1))
        return g(e.ReluOp, g(TransposeOp, x, perm=(0, 2, 3, 1)))

    module = apply(build(graph, (2, 3, 4, 8)), *PIPELINE)
    assert names(module) == ["relu", "layer_norm", "relu"]


def test_the_epsilon_is_kept():
    module = recognized(lambda g, x: layer_norm(g, x, 1, epsilon=0.25), (2, 8))
    assert first(module, LayerNormOp).epsilon == 0.25


def test_a_bias_without_a_scale_stays():
    module = recognized(lambda g, x: g(e.AddOp, layer_norm(g, x, 1), array(8)), (2, 8))
    assert names(module) == ["layer_norm", "add"]


def test_a_scale_by_row_stays():
    module = recognized(lambda g, x, s: g(e.MulOp, layer_norm(g, x, 1), s), (2, 8), (2, 1))
    assert names(module) == ["layer_norm", "mul"]


def test_a_variance_that_is_used_elsewhere():
    def graph(g: Graph, x: SSAValue):
        y = centred(g, x, 1)
        variance = g(ReduceMeanOp, g(e.MulOp, y, y), axes=(1,), keepdims=True)
        return g(e.MulOp, y, g(e.RsqrtOp, g(e.AddOp, variance, 1e-5))), variance

    assert "layer_norm" not in names(recognized(graph, (2, 8)))


def test_rms_norm():
    plain = recognized(lambda g, x: rms_norm(g, x, 2), (2, N, 8))
    whole = recognized(lambda g, x: affine(g, rms_norm(g, x, 2), (8,), bias=False), (2, N, 8))
    assert names(plain) == names(whole) == ["rms_norm"]
    assert len(first(whole, RmsNormOp).operands) == 2


def test_rms_norm_computed_in_a_wider_dtype():
    """As Llama in half precision writes it."""
    half = np.dtype(np.float16)

    def graph(g: Graph, x: SSAValue) -> SSAValue:
        wide = g(e.CastOp, x, to=np.dtype(np.float32))
        g.dtype = np.dtype(np.float32)
        narrow = g(e.CastOp, rms_norm(g, wide, 1), to=half)
        return g(e.MulOp, array(8).astype(half), narrow)

    module = build(graph, (2, 8), dtype=half)
    for step in ALL:
        step.apply(module)
    assert names(module) == ["rms_norm"]
    assert first(module, RmsNormOp).operand_type(0).dtype == half


# ----------------------------------------------------------------------------------- softmax


def softmax(g: Graph, x: SSAValue, axis: int) -> SSAValue:
    powers = g(e.ExpOp, g(e.SubOp, x, g(ReduceMaxOp, x, axes=(axis,), keepdims=True)))
    return g(e.DivOp, powers, g(ReduceSumOp, powers, axes=(axis,), keepdims=True))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax(axis: int):
    module = recognized(lambda g, x: softmax(g, x, axis), (2, N, 4))
    assert names(module) == ["softmax"]
    assert first(module, SoftmaxOp).axis == axis


def test_softmax_without_its_maximum_is_another_thing():
    def graph(g: Graph, x: SSAValue) -> SSAValue:
        powers = g(e.ExpOp, x)
        return g(e.DivOp, powers, g(ReduceSumOp, powers, axes=(1,), keepdims=True))

    assert counts(recognized(graph, (2, 4)))["softmax"] == 0
