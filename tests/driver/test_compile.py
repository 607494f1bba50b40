"""``mlc.compile``: every kind of model, every option, every way to be wrong."""

from __future__ import annotations

import io
import subprocess
import sys

import mlc
import numpy as np
import onnx
import pytest
from graphs import Graph
from mlc.driver.stages import Stages
from mlc.ir.ops.conv import ConvOp
from mlc.ir.text import parse_module
from small_models import WEIGHT, dense, dense_result, dense_rows, onnx_model, unsupported

IR = """
builtin.module {
  func.func @main(%x : !mlc.tensor<[N, 2] f32>) -> !mlc.tensor<[N, 2] f32> {
    %y = "mlc.relu"(%x) : (!mlc.tensor<[N, 2] f32>) -> !mlc.tensor<[N, 2] f32>
    "mlc.return"(%y) : (!mlc.tensor<[N, 2] f32>) -> ()
  }
}
"""


@pytest.fixture
def path(tmp_path):
    onnx.save(dense(), tmp_path / "dense.onnx")
    return tmp_path / "dense.onnx"


@pytest.mark.parametrize("target", ["cpu", "reference"])
@pytest.mark.parametrize("rows", [1, 5, 64])
def test_a_model_for_any_number_of_rows(target: str, rows: int):
    model = mlc.compile(dense(), target=target, cache=False)
    x = dense_rows(rows)
    np.testing.assert_allclose(model(x), dense_result(x), rtol=1e-5, atol=1e-6)
    assert list(model.run({"x": x})) == list(model.run(x)) == list(model.run(x=x)) == ["y"]


def test_path_bytes_and_proto_are_one_model(path):
    x = dense_rows()
    for given in (path, str(path), path.read_bytes(), dense()):
        model = mlc.compile(given, cache=False)
        assert (model.name, model.input_names, model.output_names) == ("small", ["x"], ["y"])
        np.testing.assert_allclose(model(x), dense_result(x), rtol=1e-5, atol=1e-6)


def test_ir_text_and_modules(tmp_path):
    (tmp_path / "m.mlir").write_text(IR)
    module = parse_module(IR)
    x = np.array([[1, -2]], np.float32)
    for given in (tmp_path / "m.mlir", module, module):
        assert mlc.compile(given, cache=False)(x).tolist() == [[1, 0]]
    assert str(module) == str(parse_module(IR))


def test_save_and_load(tmp_path):
    x = dense_rows()
    model = mlc.compile(dense(), cache=False)
    model.save(tmp_path / "m.mlc")
    loaded = mlc.load(tmp_path / "m.mlc", threads=1)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert {**loaded.report, "seconds": model.report["seconds"]} == model.report
    assert loaded.report["nodes"] == {"product": ["matmul"], "activation": ["relu"]}


def test_the_reference_checks_its_inputs_like_native_code():
    two = onnx_model(
        [onnx.helper.make_node("MatMul", ["a", "b"], ["y"])],
        {"a": ["N", "K"], "b": ["K", 2]},
        {"y": ["N", 2]},
    )
    for target in ("cpu", "reference"):
        model = mlc.compile(two, target=target, cache=False)
        with pytest.raises(mlc.ModelError, match=r"b: dimension 0 \(K\) is 4, but K is 3 in a"):
            model(np.zeros((1, 3), np.float32), np.zeros((4, 2), np.float32))


def test_another_machines_code_is_saved_and_not_run(tmp_path):
    model = mlc.compile(dense(), target="cpu:aarch64", cache=False)
    with pytest.raises(mlc.ModelError, match="is for aarch64 and this machine is"):
        model(dense_rows())
    model.save(tmp_path / "m.mlc")
    with pytest.raises(mlc.ModelError, match="is for aarch64"):
        mlc.load(tmp_path / "m.mlc")


@pytest.mark.parametrize(
    "options",
    [{"shapes": {"x": (5, 4)}}, {"shapes": {"N": 5}}, {"inputs": {"x": dense_rows(5)}}],
    ids=str,
)
def test_shapes_can_be_fixed(options: dict):
    model = mlc.compile(dense(), cache=False, **options)
    assert model.inputs[0].shape == (5, 4)
    x = dense_rows(5)
    np.testing.assert_allclose(model(x), dense_result(x), rtol=1e-5, atol=1e-6)
    with pytest.raises(mlc.ModelError, match="dimension 0 is 6"):
        model(dense_rows(6))


def test_inputs_can_be_constants():
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = onnx_model(nodes, {"x": ["N", 4], "w": [4, 3]}, {"y": ["N", 3]})
    compiled = mlc.compile(model, constants={"w": WEIGHT}, cache=False)
    assert compiled.input_names == ["x"]
    x = dense_rows()
    np.testing.assert_allclose(compiled(x), x @ WEIGHT, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "gpu"}, r"unknown target 'gpu'; the targets are:\n  cpu .*\n(.|\n)*reference"),
        ({"target": "cpu:vax"}, "unknown target 'cpu:vax'"),
        ({"dynamic_shapes": {}}, "dynamic_shapes= is for torch models"),
        ({"inputs": (1,)}, "by name"),
        ({"shapes": {"M": 3}}, "no input and no symbolic size 'M'; it has x, N"),
        ({"shapes": {"x": (3, 5)}}, "dim 1 of input 'x' is 4, not 5"),
        ({"constants": {"z": dense_rows()}}, "no input 'z'"),
        ({"model": "none.onnx"}, "there is no file 'none.onnx'"),
        ({"model": "done.mlc"}, "compiled already: use mlc.load"),
        ({"model": b"no model"}, "no ONNX model"),
        ({"model": 7}, "cannot compile a int: expected"),
    ],
)
def test_wrong_arguments_are_named(change: dict, message: str):
    with pytest.raises(mlc.MlcError, match=message):
        mlc.compile(**{"model": dense(), "cache": False, **change})


def test_all_unsupported_nodes_are_named():
    with pytest.raises(mlc.MlcError, match="2 nodes") as caught:
        mlc.compile(unsupported(), cache=False)
    assert "first: ai.onnx::Frobnicate" in str(caught.value)
    assert "second: ai.onnx::Defenestrate" in str(caught.value)


def test_stages_are_told_and_timed(capsys: pytest.CaptureFixture[str]):
    model = mlc.compile(dense(), cache=False, verbose=True)
    told = [line.strip().rsplit(maxsplit=2)[0] for line in capsys.readouterr().err.splitlines()]
    assert told == ["import", "simplify", "generate code", "lay out weights"]
    assert list(model.report["seconds"]) == told


def test_a_failing_stage_ends_its_line_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def fail(stages: Stages) -> None:
        with stages("import"):
            raise ValueError

    stream = Terminal()
    with pytest.raises(ValueError):  # noqa: PT011
        fail(Stages(stream))
    assert stream.getvalue() == "  import …\n"


def test_the_face_is_lazy_and_complete():
    assert {"compile", "load", "Model", "ModelError", "MlcError"} <= set(dir(mlc))
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = mlc.train  # pyright: ignore[reportAttributeAccessIssue]
    code = "import sys, mlc; mlc.load; print('xdsl' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_exact_leaves_out_what_rounds_more():
    algorithms = {}
    for exact in (False, True):
        graph = Graph((1, 28, 28, 32))
        w = np.ones((3, 3, 32, 32), np.float32)
        plain = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}
        module = graph.module(graph(ConvOp, graph.inputs[0], w, **plain))
        model = mlc.compile(module, exact=exact, cache=False)
        algorithms[exact] = [site["algorithm"] for site in model.manifest["sites"]]
    assert algorithms == {False: ["winograd"], True: ["pad", "contraction"]}
