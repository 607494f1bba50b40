"""A compiled model as a library for C: what is emitted compiles, links, and runs without Python."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import mlc
import numpy as np
import onnx
import pytest
from mlc.codegen.cpu.embed.interface import identifiers
from mlc.driver.emit import emit
from mlc.ir.errors import MlcError
from mlc.runtime import Artifact, Model
from onnx import TensorProto, helper
from small_models import dense, dense_result, dense_rows, onnx_model

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler to link with")

Pointer, Int = ctypes.c_void_p, ctypes.c_int64
_STRICT = ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]


def artifact_of(model: onnx.ModelProto, target: str = "cpu") -> Artifact:
    found = mlc.compile(model, target=target, cache=False).artifact
    assert found is not None
    return found


def library(artifact: Artifact, path: Path) -> ctypes.CDLL:
    emit(artifact, "so", path)
    found = ctypes.CDLL(str(path))
    getattr(found, f"{path.stem}_create").restype = Pointer
    getattr(found, f"{path.stem}_error").restype = ctypes.c_char_p
    return found


def nonzero() -> onnx.ModelProto:
    """Where ``relu(x)`` is not zero: a size that only the data decide."""
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("NonZero", ["a"], ["y"])]
    model = onnx_model(nodes, {"x": ["N", 4]}, {})
    place = helper.make_tensor_value_info("y", TensorProto.INT64, [2, "found"])
    model.graph.output.append(place)
    return model


@pytest.mark.parametrize("threads", [1, 2])
def test_a_library_computes_what_the_model_does(tmp_path: Path, threads: int):
    lib = library(artifact_of(dense()), tmp_path / "dense.so")
    model = Pointer(lib.dense_create(threads))
    for rows in (5, 1, 0, 300, 7):
        x, y = dense_rows(rows), np.zeros((rows, 3), np.float32)
        assert lib.dense_run(model, Int(rows), Pointer(x.ctypes.data), Pointer(y.ctypes.data)) == 0
        np.testing.assert_allclose(y, dense_result(x), rtol=1e-5)
    lib.dense_destroy(model)


def test_sizes_that_make_no_sense_are_errors_with_a_meaning(tmp_path: Path):
    lib = library(artifact_of(dense()), tmp_path / "dense.so")
    model = Pointer(lib.dense_create(1))
    error = lib.dense_run(model, Int(-1), None, None)
    assert b"a size is not one" in lib.dense_error(error)
    assert lib.dense_error(0) == b"no error"
    assert lib.dense_error(99) == b"an error that is not known"
    lib.dense_destroy(model)
    lib.dense_destroy(None)


def test_results_of_late_size_are_allocated(tmp_path: Path):
    lib = library(artifact_of(nonzero()), tmp_path / "places.so")
    model, x = Pointer(lib.places_create(1)), dense_rows(6)
    places, count = Pointer(), Int()
    arguments = Pointer(x.ctypes.data), ctypes.byref(places), ctypes.byref(count)
    assert lib.places_run(model, Int(6), *arguments) == 0
    wanted = np.array(np.nonzero(np.maximum(x, 0)))
    got = np.ctypeslib.as_array(
        (ctypes.c_int64 * (2 * count.value)).from_address(places.value or 0)
    )
    np.testing.assert_array_equal(got.reshape(2, -1), wanted)
    ctypes.CDLL(None).free(places)
    lib.places_destroy(model)


PROGRAM = """
#include <stdio.h>
#include "first.h"
#include "second.h"

int main(void) {
  first *a = first_create(2);
  second *b = second_create(1);
  const float x[4] = {1, 2, 3, 4};
  float y[3], z[3];
  if (first_run(a, 1, x, y) || second_run(b, 1, x, z)) return 1;
  for (int i = 0; i < 3; i++) printf("%.6g %.6g\\n", (double)y[i], (double)z[i]);
  first_destroy(a);
  second_destroy(b);
  return 0;
}
"""


def test_two_models_in_one_program(tmp_path: Path):
    weights = np.arange(12, dtype=np.float32).reshape(4, 3), np.ones((4, 3), np.float32)
    for name, weight in zip(("first", "second"), weights, strict=True):
        emit(artifact_of(dense(weight)), "obj", tmp_path / name)
    (tmp_path / "main.c").write_text(PROGRAM)
    objects = sorted(tmp_path.glob("*/*.o"))
    folders = [f"-I{tmp_path / name}" for name in ("first", "second")]
    program = tmp_path / "program"
    command = [*_STRICT, *folders, tmp_path / "main.c", *objects, "-o", program]
    subprocess.run([*command, "-lm", "-lpthread"], check=True)
    told = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    x = np.array([[1, 2, 3, 4]], np.float32)
    expected = zip(*(dense_result(x, w)[0] for w in weights), strict=True)
    assert told == "".join(f"{y:.6g} {z:.6g}\n" for y, z in expected)


def test_objects_for_another_machine_link_there(tmp_path: Path):
    artifact = artifact_of(dense(), "cpu:aarch64")
    code, weights, header = emit(artifact, "obj", tmp_path / "dense")
    machines = [int.from_bytes(p.read_bytes()[18:20], "little") for p in (code, weights)]
    assert machines == [183, 183]
    assert "aarch64" not in header.name
    with pytest.raises(MlcError, match="that machine's linker"):
        emit(artifact, "so", tmp_path / "dense.so")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dense"]


def test_code_as_text(tmp_path: Path):
    artifact = artifact_of(dense())
    (llvm,) = emit(artifact, "llvm", tmp_path / "dense.ll")
    (assembly,) = emit(artifact, "asm", tmp_path / "dense.s")
    assert "define i32 @mlc_run(ptr %call)" in llvm.read_text()
    assert "mlc_run:" in assembly.read_text()


def test_names_of_a_model_become_names_of_c():
    names = ["input.1", "input_1", "2nd", "float", "model", "é", "input.1"]
    found = identifiers(names)
    assert found == ["input_1", "input_1_2", "_2nd", "float_", "model_", "value", "input_1_3"]
    assert len(set(identifiers(["a", "a_2", "a", "a"]))) == 4


def convolution(channels: int = 48) -> onnx.ModelProto:
    """3x3 filters, which Winograd's algorithm reads in a larger form than they are stored in."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(channels, channels, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)]
    shape = [1, channels, 20, 20]
    return onnx_model(nodes, {"x": shape}, {"y": shape}, {"w": w})


def test_a_library_makes_the_weights_that_it_does_not_hold(tmp_path: Path):
    artifact = artifact_of(convolution())
    assert artifact.manifest["expansion"]["size"] > artifact.weights.nbytes
    lib = library(artifact, tmp_path / "conv.so")
    x = np.random.default_rng(1).normal(size=(1, 48, 20, 20)).astype(np.float32)
    wanted = Model.from_artifact(artifact)(x)
    for threads in (1, 2):
        model, y = Pointer(lib.conv_create(threads)), np.zeros_like(x)
        assert lib.conv_run(model, Pointer(x.ctypes.data), Pointer(y.ctypes.data)) == 0
        np.testing.assert_array_equal(y, wanted)
        lib.conv_destroy(model)
