"""Names, provenance, errors, and damaged models."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from mlc.frontends.onnx import load_onnx
from mlc.ir.errors import InvalidModelError, MlcError, UnsupportedError
from mlc.ir.interpreter import interpret
from mlc.ir.module import input_names, output_names
from mlc.ir.op import source_of
from onnx import TensorProto, helper
from onnx.external_data_helper import set_external_data
from onnx_models import i64, model, one


def test_named_dims_are_symbols_and_nodes_keep_their_names():
    node = helper.make_node("Flatten", ["x"], ["out"], name="/head/Flatten")
    module = load_onnx(model([node], {"x": ["batch", 3, 4]}))
    assert "!mlc.tensor<[batch, 12] f32>" in str(module)
    assert "/head/Flatten" in [source_of(op) for op in module.walk()]


def test_all_unsupported_nodes_are_named_at_once():
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="first"),
        helper.make_node("Exp", ["a"], ["b"], name="after the first"),
        helper.make_node("ImageDecoder", ["x"], ["c"], name="second"),
        helper.make_node("Add", ["b", "c"], ["out"], name="last"),
    ]
    with pytest.raises(UnsupportedError) as caught:
        load_onnx(model(nodes, {"x": ["N", "N"]}, opset=20))
    assert [item.node for item in caught.value.items] == ["first", "second"]
    assert "ai.onnx::Det (opset 20)" in str(caught.value)


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


def test_external_data_is_mapped(tmp_path: Path):
    wanted = np.arange(4096, dtype=np.float32).reshape(64, 64)
    proto = one("MatMul", wanted, shape=[1, 64])
    onnx.save(proto, tmp_path / "model.onnx", save_as_external_data=True, size_threshold=0)
    x = np.ones((1, 64), np.float32)
    (got,) = interpret(load_onnx(tmp_path / "model.onnx"), [x])
    np.testing.assert_allclose(got, x @ wanted)
    with pytest.raises(InvalidModelError, match="give the path"):
        load_onnx((tmp_path / "model.onnx").read_bytes())


def test_large_weights_are_left_in_the_file(tmp_path: Path):
    wanted = np.arange(1 << 20, dtype=np.float32).reshape(1024, 1024)
    (tmp_path / "model.onnx").write_bytes(one("Add", wanted, shape=[1024]).SerializeToString())
    (got,) = interpret(load_onnx(tmp_path / "model.onnx"), [np.ones(1024, np.float32)])
    np.testing.assert_array_equal(got, wanted + 1)


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


def test_names_of_inputs_and_outputs_are_kept():
    nodes = [helper.make_node("Neg", ["a.1"], ["b/2"]), helper.make_node("Abs", ["a.1"], ["c"])]
    module = load_onnx(model(nodes, {"a.1": [2]}, outputs=["c", "b/2", "a.1"]))
    assert (input_names(module), output_names(module)) == (["a.1"], ["c", "b/2", "a.1"])


def test_unsupported_inputs_and_outputs_are_named():
    text = helper.make_tensor_value_info("text", TensorProto.STRING, [1])
    proto = model([helper.make_node("SequenceConstruct", ["x"], ["out"])], {"x": [2]})
    proto.graph.input.append(text)
    with pytest.raises(UnsupportedError) as caught:
        load_onnx(proto)
    assert [(i.node, i.op) for i in caught.value.items] == [("text", "input"), ("out", "output")]


def test_functions_that_call_themselves_are_refused():
    call = helper.make_node("F", ["a"], ["b"], domain="mine")
    opsets = [helper.make_opsetid("mine", 1)]
    function = helper.make_function("mine", "F", ["a"], ["b"], [call], opsets)
    proto = model([helper.make_node("F", ["x"], ["out"], domain="mine")], {"x": [2]})
    proto.functions.append(function)
    with pytest.raises(InvalidModelError, match="nested too deeply"):
        load_onnx(proto)


MALFORMED = {
    "an operand that nothing produces": helper.make_node("Add", ["x", "y"], ["out"]),
    "too few operands": helper.make_node("Add", ["x"], ["out"]),
    "no attribute": helper.make_node("Cast", ["x"], ["out"]),
    "an attribute of another type": helper.make_node("Transpose", ["x"], ["out"], perm="ab"),
    "an axis that does not exist": helper.make_node("Softmax", ["x"], ["out"], axis=7),
    "a second producer": helper.make_node("Abs", ["x"], ["x"]),
}


@pytest.mark.parametrize("bad", MALFORMED.values(), ids=list(MALFORMED))
def test_malformed_nodes_are_refused(bad: onnx.NodeProto):
    with pytest.raises(InvalidModelError):
        load_onnx(model([bad], {"x": [2, 2]}))


@pytest.mark.parametrize("seed", range(300))
def test_random_damage_is_refused_or_harmless(seed: int):
    """Some bytes of a model are changed, or its end is lost: an error of ours, or a module."""
    rng = np.random.default_rng(seed)
    weights = {"w": np.ones((4, 3), np.float32), "s": i64(2, -1)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Reshape", ["a", "s"], ["b"]),
        helper.make_node("Softmax", ["b"], ["out"], axis=-1),
    ]
    data = bytearray(model(nodes, {"x": ["N", 4]}, weights).SerializeToString())
    for place in rng.integers(0, len(data), rng.integers(1, 4)):
        data[place] = rng.integers(0, 256)
    if seed % 3 == 0:
        del data[rng.integers(0, len(data)) :]
    with contextlib.suppress(MlcError):
        load_onnx(bytes(data)).verify()
