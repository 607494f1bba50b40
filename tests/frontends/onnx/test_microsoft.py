"""ONNX Runtime's own operators, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from mlc.frontends.onnx import load_onnx
from mlc.ir.errors import MlcError
from mlc.ir.interpreter import interpret
from mlc.ir.module import input_names
from onnx_models import Of, model

ort = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(3)


def weight(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def own(op: str, inputs: dict, weights: dict, operands: str, outputs: str = "out", **attributes):
    names = ["" if n == "-" else n for n in operands.split()]
    made = onnx.helper.make_node(op, names, outputs.split(), domain="com.microsoft", **attributes)
    return model([made], inputs, weights, 17, outputs.split(), {"com.microsoft": 1})


X, W4, W44 = {"x": [2, 3, 4]}, weight(4), weight(4, 4)
IDS = {"ids": Of(np.int32, [2, 3])}
TABLES = {"words": weight(9, 4), "places": weight(5, 4), "kinds": weight(2, 4), "g": W4, "b": W4}
MODELS = {
    "gelu": own("Gelu", X, {}, "x"),
    "bias gelu": own("BiasGelu", X, {"b": W4}, "x b"),
    "fast gelu": own("FastGelu", X, {"b": W4}, "x b"),
    "quick gelu": own("QuickGelu", X, {}, "x", alpha=1.5),
    "fused matmul": own("FusedMatMul", X, {"w": W44}, "x w", transB=1, alpha=0.5),
    "skip norm": own(
        "SkipLayerNormalization",
        {**X, "y": [2, 3, 4]},
        {"g": W4, "b": W4, "c": W4},
        "x y g b c",
        epsilon=1e-3,
    ),
    "skip rms norm": own(
        "SkipSimplifiedLayerNormalization", {**X, "y": [2, 3, 4]}, {"g": W4}, "x y g"
    ),
    "embeddings": own(
        "EmbedLayerNormalization",
        {**IDS, "kind": Of(np.int32, [2, 3])},
        TABLES,
        "ids kind words places kinds g b",
        "out index",
    ),
    "attention": own(
        "Attention",
        {**X, "mask": Of(np.int32, [2, 3])},
        {"w": weight(4, 12), "b": weight(12)},
        "x w b mask",
        num_heads=2,
    ),
    "causal attention": own(
        "Attention",
        X,
        {"w": weight(4, 12), "b": weight(12)},
        "x w b",
        num_heads=2,
        unidirectional=1,
    ),
    "multi-head attention": own(
        "MultiHeadAttention",
        {**X, "k": [2, 5, 4], "v": [2, 5, 4], "m": [1, 2, 3, 5]},
        {"b": weight(12)},
        "x k v b - m",
        num_heads=2,
    ),
    "rotary embedding": own(
        "RotaryEmbedding",
        {"x": [2, 3, 8], "at": Of(np.int64, [2, 3])},
        {"c": weight(9, 2), "s": weight(9, 2)},
        "x at c s",
        num_heads=2,
    ),
}


def packed(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def codes(bits: int, **weights: np.ndarray) -> onnx.ModelProto:
    """A product with 5 columns of 40 codes in blocks of 16."""
    given = {"w": packed(5, 3, 2 * bits), "s": weight(15), **weights}
    names = [n if n in given else "-" for n in ("w", "s", "z", "g", "b")]
    kind = {"K": 40, "N": 5, "bits": bits, "block_size": 16}
    operands = " ".join(["x", *names]).rstrip(" -")
    return own("MatMulNBits", {"x": [3, 40]}, given, operands, "out", **kind)


for _bits in (2, 4, 8):
    _zeros = packed(5, -(-3 * _bits // 8))
    MODELS |= {
        f"codes of {_bits} bits": codes(_bits),
        f"codes of {_bits} bits with zero points": codes(_bits, z=_zeros.reshape(-1)),
        f"codes of {_bits} bits with a bias": codes(_bits, z=_zeros, b=weight(5)),
        f"rows of codes of {_bits} bits": own(
            "GatherBlockQuantized",
            {"i": Of(np.int64, [2, 3])},
            {"w": packed(6, 4 * _bits), "s": weight(6, 2), "z": packed(6, -(-2 * _bits // 8))},
            "w i s z",
            bits=_bits,
            block_size=16,
            gather_axis=0,
            quantize_axis=1,
        ),
    }
MODELS |= {
    "codes with zero points of floats": codes(4, z=RNG.integers(0, 16, (5, 3)).astype(np.float32)),
    "rows of codes without zero points": own(
        "GatherBlockQuantized",
        {"i": Of(np.int64, [2, 3])},
        {"w": packed(6, 16), "s": weight(6, 2)},
        "w i s",
        bits=4,
        block_size=16,
    ),
}


CODED = {"x": Of(np.uint8, [2, 3, 4, 4]), "y": Of(np.uint8, [2, 3, 4, 4])}
UNITS = {
    **{name: np.float32(unit) for name, unit in (("s", 0.5), ("t", 0.25), ("u", 0.125))},
    **{name: np.uint8(point) for name, point in (("p", 1), ("q", 2), ("r", 40))},
}


def coded(op: str, operands: str, **attributes: Any) -> onnx.ModelProto:
    """An operator from codes to codes; ``x`` and ``y`` are inputs."""
    given = {name: CODED[name] for name in CODED if name in operands.split()}
    units = {name: UNITS[name] for name in UNITS if name in operands.split()}
    return own(op, given, units, operands, **attributes)


MODELS |= {
    "sum of codes": coded("QLinearAdd", "x s p y t q u r"),
    "product of codes": coded("QLinearMul", "x s p y t q u r"),
    "sigmoid of codes": coded("QLinearSigmoid", "x s p u r"),
    "leaky ReLU of codes": coded("QLinearLeakyRelu", "x s p u r", alpha=0.5),
    "softmax of codes": coded("QLinearSoftmax", "x s p u r", axis=3, opset=13),
    "mean pixel of codes": coded("QLinearGlobalAveragePool", "x s p u r"),
    "means of codes": coded("QLinearAveragePool", "x s p u r", kernel_shape=[2, 2]),
    "concatenated codes": coded("QLinearConcat", "u r x s p y t q", axis=1),
    "codes of codes": coded("DequantizeLinear", "x s p"),
    "matrix product of codes": own(
        "QGemm",
        {"x": Of(np.uint8, [2, 3])},
        {
            **UNITS,
            "w": RNG.integers(-9, 9, (4, 3)).astype(np.int8),
            "v": weight(4) ** 2,
            "z": np.zeros(4, np.int8),
            "c": RNG.integers(-9, 9, 4).astype(np.int32),
        },
        "x s p w v z c u r",
        transB=1,
    ),
}


@pytest.mark.parametrize("proto", MODELS.values(), ids=list(MODELS))
def test_values_agree_with_onnx_runtime(proto: onnx.ModelProto):
    feed = {i.name: _values(i) for i in proto.graph.input}
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, feed)[0]
    del proto.graph.output[1:]
    module = load_onnx(proto)
    module.verify()
    (got,) = interpret(module, [feed[name] for name in input_names(module)])
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("proto", "why"),
    [
        (codes(4, g=np.arange(40, dtype=np.int32)[::-1] // 16), "g_idx that is not in order"),
        (codes(4, z=weight(5, 3)), "zero points that are no codes"),
    ],
)
def test_what_is_not_supported_is_named(proto: onnx.ModelProto, why: str):
    with pytest.raises(MlcError, match=why):
        load_onnx(proto)


def _values(value: onnx.ValueInfoProto) -> np.ndarray:
    declared = value.type.tensor_type
    shape = [d.dim_value for d in declared.shape.dim]
    if declared.elem_type == onnx.TensorProto.FLOAT:
        return weight(*shape)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type)
    return RNG.integers(0, 2, shape).astype(dtype)
