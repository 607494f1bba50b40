"""Shapes that a model computes stay exact in the symbols of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import pytest
from mlc.frontends.onnx import load_onnx
from mlc.ir.errors import InvalidModelError, UnsupportedError
from mlc.ir.interpreter import interpret
from mlc.ir.module import input_names, main_function
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.types import type_of
from onnx.reference import ReferenceEvaluator
from onnx_models import Array, Of, f32, i64, model, node
from xdsl.dialects.builtin import ModuleOp

SIZES = {"N": (3, 1), "S": (5, 2), "P": (4, 0)}


def result_shape(module: ModuleOp) -> list[str]:
    """The dims of the first result, as text."""
    returned = main_function(module).body.block.last_op
    assert returned is not None
    return [str(d) for d in type_of(returned.operands[0]).shape]


def check(proto: onnx.ModelProto, dtype: Mapping[str, type] | None = None) -> ModuleOp:
    """Runs a model with two values of its symbols against the reference of onnx."""
    module = load_onnx(proto)
    module.verify()
    for k in range(2):
        feed = {i.name: _values(i, k) for i in proto.graph.input}
        (wanted, *_) = ReferenceEvaluator(proto).run(None, feed)
        (got, *_) = interpret(module, [feed[name] for name in input_names(module)])
        np.testing.assert_array_equal(got, np.asarray(wanted))
    return module


def _values(value: onnx.ValueInfoProto, k: int) -> np.ndarray:
    declared = value.type.tensor_type
    dims = [d.dim_value or SIZES[d.dim_param][k] for d in declared.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type)
    return np.random.default_rng(k).integers(0, 9, dims).astype(dtype)


def reshaped_by(nodes: Sequence[onnx.NodeProto], weights: Mapping[str, Array]):
    """x ``[N, S, 6]`` reshaped to what ``nodes`` compute of it as ``shape``."""
    last = node("Reshape", "x shape", "out")
    return model([*nodes, last], {"x": ["N", "S", 6]}, dict(weights))


HEADS = [
    node("Shape", "x", "all"),
    node("Gather", "all zero", "n"),
    node("Gather", "all one", "s"),
    node("Unsqueeze", "n zeros", "n1"),
    node("Unsqueeze", "s zeros", "s1"),
    node("Concat", "n1 s1 heads rest", "shape", axis=0),
]
PRODUCT = [
    node("Shape", "x", "all"),
    node("Slice", "all zeros ones", "first", name="first"),
    node("Slice", "all ones threes", "others", name="others"),
    node("ReduceProd", "others", "p", keepdims=1),
    node("Concat", "first p", "shape", axis=0),
]
ARITHMETIC = [
    node("Shape", "x", "n", start=0, end=1),
    node("Shape", "x", "s", start=1, end=2),
    node("Mul", "n three", "n3"),
    node("Mul", "s two", "s2"),
    node("Add", "n3 zero1", "a"),
    node("Concat", "a s2", "shape", axis=0),
]
HALVES = [
    node("Shape", "x", "n", start=0, end=1),
    node("Shape", "x", "s", start=1, end=2),
    node("Mul", "n four", "n4"),
    node("Cast", "n4", "f", to=onnx.TensorProto.FLOAT),
    node("Mul", "f half", "h"),
    node("Floor", "h", "g"),
    node("Cast", "g", "n2", to=onnx.TensorProto.INT64),
    node("Concat", "n2 s three", "shape", axis=0),
]
COMPUTED = {
    "heads": (
        reshaped_by(
            HEADS,
            {
                "zero": np.int64(0),
                "one": np.int64(1),
                "zeros": i64(0),
                "heads": i64(2),
                "rest": i64(3),
            },
        ),
        ["N", "S", "2", "3"],
    ),
    "product": (
        reshaped_by(PRODUCT, {"zeros": i64(0), "ones": i64(1), "threes": i64(3)}),
        ["N", "6*S"],
    ),
    "arithmetic": (
        reshaped_by(ARITHMETIC, {"two": i64(2), "three": i64(3), "zero1": i64(0)}),
        ["3*N", "2*S"],
    ),
    "halves through floats": (
        reshaped_by(HALVES, {"four": i64(4), "three": i64(3), "half": np.float32(0.5)}),
        ["2*N", "S", "3"],
    ),
}


@pytest.mark.parametrize(("proto", "shape"), COMPUTED.values(), ids=list(COMPUTED))
def test_computed_shapes(proto: onnx.ModelProto, shape: list[str]):
    assert result_shape(check(proto)) == shape


def test_expand_by_a_shape_with_minus_one():
    """As torch's exporter writes it: where(shape == -1, 1, shape)."""
    nodes = [
        node("Shape", "x", "all"),
        node("Shape", "all", "rank"),
        node("ConstantOfShape", "rank", "ones", value=onnx.numpy_helper.from_array(i64(1))),
        node("Concat", "all_n minus minus", "wanted", axis=0),
        node("Equal", "wanted minus", "open"),
        node("Where", "open ones wanted", "shape"),
        node("Expand", "x shape", "out"),
    ]
    nodes.insert(0, node("Shape", "x", "all_n", start=0, end=1))
    proto = model(nodes, {"x": ["N", "S", 6]}, {"minus": i64(-1)})
    assert result_shape(check(proto)) == ["N", "S", "6"]


def test_range_and_causal_mask():
    nodes = [
        node("Shape", "x", "s1", start=1, end=2),
        node("Squeeze", "s1 zeros", "s"),
        node("Range", "zero s one", "r"),
        node("Unsqueeze", "r ones", "column"),
        node("Greater", "r column", "later"),
        node("Where", "later low x", "out"),
    ]
    weights = {"zero": np.int64(0), "one": np.int64(1), "zeros": i64(0), "ones": i64(1)}
    proto = model(nodes, {"x": ["N", "S", "S"]}, {**weights, "low": np.float32(-9)})
    assert result_shape(check(proto)) == ["N", "S", "S"]


def test_slices_of_a_table_fit_what_they_are_added_to():
    """GPT-2's causal mask: a part of a table, as large as sizes that may exceed it."""
    nodes = [
        node("Shape", "past", "p", start=0, end=1),
        node("Shape", "x", "s", start=0, end=1),
        node("Add", "p s", "t"),
        node("Slice", "table p t zeros", "rows"),
        node("Slice", "rows zeros t ones", "part"),
        node("Mul", "x part", "out"),
    ]
    weights = {"table": np.tri(16, dtype=np.float32), "zeros": i64(0), "ones": i64(1)}
    proto = model(nodes, {"x": ["S", "P + S"], "past": ["P", 1]}, weights)
    module = load_onnx(proto)
    assert result_shape(module) == ["S", "P + S"]
    x, past = np.ones((3, 7), np.float32), np.zeros((4, 1), np.float32)
    np.testing.assert_array_equal(interpret(module, [x, past])[0], np.tri(16)[4:7, :7])


@pytest.mark.parametrize(
    ("bounds", "shape"),
    [
        ((1, 1 << 62, 1), "S - min(1, S)"),
        ((-1, 1 << 62, 1), "min(1, S)"),
        ((0, -1, 1), "S - min(1, S)"),
    ],
)
def test_slices_from_the_ends(bounds: tuple[int, int, int], shape: str):
    starts, ends, steps = map(i64, bounds)
    nodes = [node("Slice", "x starts ends axes steps", "out")]
    weights = {"starts": starts, "ends": ends, "axes": i64(1), "steps": steps}
    proto = model(nodes, {"x": ["N", "S"]}, weights)
    assert result_shape(check(proto)) == ["N", shape]


def test_reversed_by_a_slice():
    nodes = [node("Slice", "x starts ends axes steps", "out")]
    weights = {"starts": i64(-1), "ends": i64(-(1 << 62)), "axes": i64(1), "steps": i64(-1)}
    assert result_shape(check(model(nodes, {"x": ["N", "S"]}, weights))) == ["N", "S"]


def test_sizes_are_values_where_they_are_needed_as_such():
    nodes = [
        node("Shape", "x", "all"),
        node("Cast", "all", "sizes", to=onnx.TensorProto.FLOAT),
        node("ReduceSum", "x axes", "total", keepdims=0),
        node("Div", "total sizes", "out"),
    ]
    proto = model(nodes, {"x": ["N", "S"]}, {"axes": i64(0, 1)})
    assert "mlc.dims" in str(check(proto))


def test_shapes_alone_leave_no_ops():
    proto, _ = COMPUTED["heads"]
    ops = list(main_function(load_onnx(proto)).body.block.ops)
    assert [op.name for op in ops] == ["mlc.reshape", "mlc.return"]


def test_sizes_that_only_the_data_tells():
    nodes = [node("NonZero", "x", "places"), node("Shape", "places", "out")]
    module = load_onnx(model(nodes, {"x": ["N", "S"]}))
    (got,) = interpret(module, [f32(1, 0, 2, 0, 0, 5).reshape(2, 3)])
    np.testing.assert_array_equal(got, [2, 3])


def test_what_is_known_is_computed_at_once():
    nodes = [node("Shape", "x", "s"), node("Mul", "s s", "out")]
    module = load_onnx(model(nodes, {"x": [2, 3]}))
    (constant, _) = main_function(module).body.block.ops
    assert isinstance(constant, ConstantOp)
    np.testing.assert_array_equal(constant.value.array, [4, 9])


def test_inputs_that_decide_a_shape_are_fixed_by_the_caller():
    proto = model([node("Reshape", "x shape", "out")], {"x": [2, 6], "shape": Of(np.int64, [2])})
    with pytest.raises(UnsupportedError, match=r"input 1 \('shape'\).*constants="):
        load_onnx(proto)
    module = load_onnx(proto, constants={"shape": i64(3, -1)})
    assert (input_names(module), result_shape(module)) == (["x"], ["3", "4"])


def test_dims_of_inputs_are_fixed_by_the_caller():
    proto = model([node("Add", "x y", "out")], {"x": ["N", "S"], "y": ["N", None]})
    with pytest.raises(UnsupportedError, match=r"S and y_1.*shapes="):
        load_onnx(proto)
    assert result_shape(load_onnx(proto, shapes={"y": [None, "S"]})) == ["N", "S"]
    assert result_shape(load_onnx(proto, shapes={"x": [4, 8], "y": [None, 8]})) == ["4", "8"]
    with pytest.raises(InvalidModelError, match="dim 0 of input 'y' is 4, not 5"):
        load_onnx(proto, shapes={"x": [4, 8], "y": [5, 8]})
    with pytest.raises(InvalidModelError, match="no input 'z'"):
        load_onnx(proto, constants={"z": i64(1)})


def test_names_of_dims_may_be_expressions_of_others():
    inputs = {"x": ["N", "P + S"], "y": ["P", "S"], "z": ["class", "a.b"]}
    module = load_onnx(model([node("Add", "x x", "out")], inputs))
    types = [type_of(a).shape for a in main_function(module).body.block.args]
    assert [[str(d) for d in t] for t in types] == [["N", "P + S"], ["P", "S"], ["d_class", "a_b"]]
