"""ONNX models in, the interpreter's values out, against the ONNX reference evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from mlc.frontends.onnx import load_onnx
from mlc.ir.errors import InvalidModelError, UnsupportedError
from mlc.ir.interpreter import interpret
from mlc.ir.op import source_of
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data
from onnx.reference import ReferenceEvaluator

F = TensorProto.FLOAT


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list],
    weights: dict[str, np.ndarray] | None = None,
    opset: int = 18,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(n, F, s) for n, s in inputs.items()],
        [helper.make_empty_tensor_value_info("out")],
        [numpy_helper.from_array(a, n) for n, a in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def one(op: str, *extra: np.ndarray, shape: tuple = (2, 3, 4), opset: int = 18, **attributes: Any):
    weights = {f"w{k}": w for k, w in enumerate(extra)}
    node = helper.make_node(op, ["x", *weights], ["out"], name="n0", **attributes)
    return model([node], {"x": list(shape)}, weights, opset)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


MODELS = {
    "unary": one("Tanh"),
    "relu, opset 7": one("Relu", opset=7),
    "broadcast": one("Mul", np.arange(4, dtype=np.float32)),
    "gelu": one("Gelu", opset=20, approximate="tanh"),
    "clip": one("Clip", np.array(-0.1, np.float32), np.array(0.4, np.float32)),
    "leaky": one("LeakyRelu", alpha=0.3),
    "hard swish": one("HardSwish"),
    "softplus": one("Softplus"),
    "power": one("Pow", i64(2)),
    "matmul": one("MatMul", np.ones((4, 5), np.float32)),
    "matmul by vector": one("MatMul", np.ones(4, np.float32)),
    "vector by matmul": one("MatMul", np.ones((4, 5), np.float32), shape=(4,)),
    "gemm": one(
        "Gemm",
        np.ones((5, 3), np.float32),
        np.ones(5, np.float32),
        shape=(2, 3),
        transB=1,
        beta=2.0,
    ),
    "reshape": one("Reshape", i64(0, -1)),
    "flatten": one("Flatten", axis=2),
    "transpose": one("Transpose"),
    "squeeze": one("Squeeze", i64(1), shape=(2, 1, 3)),
    "squeeze, opset 11": one("Squeeze", shape=(2, 1, 3), opset=11, axes=[-2]),
    "unsqueeze": one("Unsqueeze", i64(0, -1)),
    "mean": one("ReduceMean", i64(-1), keepdims=0),
    "mean, opset 13": one("ReduceMean", opset=13, axes=[1]),
    "sum of all": one("ReduceSum"),
    "sum of none": one("ReduceSum", noop_with_empty_axes=1),
    "concat": one("Concat", np.zeros((2, 1, 4), np.float32), axis=-2),
}


@pytest.mark.parametrize("proto", MODELS.values(), ids=list(MODELS))
def test_values_agree_with_the_onnx_reference(proto: onnx.ModelProto):
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(5).uniform(-1, 1, shape).astype(np.float32)
    (wanted,) = map(np.asarray, ReferenceEvaluator(proto).run(None, {"x": x}))
    module = load_onnx(proto.SerializeToString())
    module.verify()
    (got,) = interpret(module, [x])
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_named_dims_are_symbols_and_nodes_keep_their_names():
    node = helper.make_node("Flatten", ["x"], ["out"], name="/head/Flatten")
    module = load_onnx(model([node], {"x": ["batch", 3, 4]}))
    assert "!mlc.tensor<[batch, 12] f32>" in str(module)
    assert "/head/Flatten" in [source_of(op) for op in module.walk()]


def test_all_unsupported_nodes_are_named_at_once():
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="first"),
        helper.make_node("Exp", ["a"], ["b"], name="after the first"),
        helper.make_node("Unique", ["x"], ["c"], name="second"),
        helper.make_node("Add", ["b", "c"], ["out"], name="last"),
    ]
    with pytest.raises(UnsupportedError) as caught:
        load_onnx(model(nodes, {"x": [2, 2]}))
    assert [item.node for item in caught.value.items] == ["first", "second"]
    assert "ai.onnx::Det (opset 18)" in str(caught.value)


def test_ill_typed_nodes_are_named():
    with pytest.raises(UnsupportedError, match=r"n0: ai.onnx::MatMul.*inner sizes 4 and 3 differ"):
        load_onnx(one("MatMul", np.ones((3, 5), np.float32)))


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "no ONNX model"), (b"not a model", "no ONNX model"), (b"\x08", "truncated")],
)
def test_damaged_models_are_refused(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    with pytest.raises(InvalidModelError, match=message):
        load_onnx(path)
    with pytest.raises(InvalidModelError, match="cannot be read"):
        load_onnx(tmp_path / "missing.onnx")


def test_external_data_outside_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "secret").write_bytes(bytes(48))
    (tmp_path / "inner").mkdir()
    proto = one("Add", np.zeros((3, 4), np.float32))
    weight = proto.graph.initializer[0]
    set_external_data(weight, "../secret")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    path = tmp_path / "inner" / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidModelError, match="external data"):
        load_onnx(path)


def test_an_opset_of_the_future_is_refused():
    with pytest.raises(InvalidModelError, match="uses opset 999"):
        load_onnx(one("Relu", opset=999))
