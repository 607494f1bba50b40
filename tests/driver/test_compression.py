"""Recipes through ``mlc.compile`` and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import compress_models
import mlc
import numpy as np
import onnx
import pytest
import torch
from mlc.cli.main import main
from mlc.driver.kernel_reasons import tell_kernels
from mlc.ir.errors import MlcError
from mlc.passes.compress.recipe import Override, Quantize, RecipeError, Sparsify
from small_models import dense, dense_result, dense_rows

RECIPE = mlc.Recipe(Quantize(bits=4), Sparsify(0.5, method="sparsegpt"))
BATCHES = [dense_rows(n) for n in (5, 6, 7)]


TWICE = (Override("product", quantize=True), Override("prod*", quantize=False))


def difference(got: np.ndarray, x: np.ndarray) -> float:
    wanted = dense_result(x)
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("target", ["cpu", "reference"])
def test_compiles_what_a_recipe_says(target: str):
    x = dense_rows()
    options = {"target": target, "recipe": mlc.Recipe(Quantize()), "cache": False}
    assert 0 < difference(mlc.compile(dense(), **options)(x), x) < 0.02


def test_native_code_means_what_the_interpreter_says():
    x, options = dense_rows(), {"recipe": RECIPE, "calibration": BATCHES, "cache": False}
    native = mlc.compile(dense(), **options)
    wanted = mlc.compile(dense(), target="reference", **options)(x)
    np.testing.assert_allclose(native(x), wanted, rtol=1e-4, atol=1e-5)


def test_the_report_says_what_became_of_each_layer():
    model = mlc.compile(dense(), recipe=RECIPE, calibration=BATCHES, cache=False)
    assert "sparsegpt" in model.report["recipe"]
    (layer,) = model.report["compression"]["layers"]
    assert layer["layer"] == "product"
    pruned, rounded = layer["steps"]
    assert pruned["done"] == "50.0% zeros by sparsegpt"
    assert rounded["done"] == "uint4 gptq"
    assert layer["bytes_before"] == 48
    assert layer["bytes_after"] == 6 + 6 + 2
    assert 0 < layer["predicted_after"] <= layer["predicted_before"]


def test_the_cache_knows_recipes_and_data(tmp_path: Path):
    def compiled(recipe: mlc.Recipe | None, batches: list[np.ndarray] | None = None) -> float:
        model = mlc.compile(dense(), recipe=recipe, calibration=batches, cache=tmp_path)
        return difference(model(dense_rows()), dense_rows())

    found = [compiled(None), compiled(RECIPE, BATCHES), compiled(RECIPE, BATCHES[:1])]
    assert found[0] < 1e-6
    assert len(set(found)) == 3
    assert compiled(RECIPE, BATCHES) == found[1]


@pytest.mark.parametrize(
    ("recipe", "data", "problem"),
    [
        (RECIPE, [np.zeros((3, 5))], r"'x' has the shape \[3, 5\]"),
        (RECIPE, [dense_rows(0)], "batch 0: 'x' is empty"),
        (RECIPE, [None, *BATCHES, None], "batch 0 and 1 more: None is no batch: expected arrays"),
        (RECIPE, [dense_rows(3).astype(int)], "'x' holds int64: expected .* scaled"),
        (
            RECIPE,
            {"y": dense_rows(3)},
            "'x' is missing\n.*no input is called 'y'; the inputs are x",
        ),
        (RECIPE, "data.npz", "calibration is 'data.npz': expected batches"),
        ("int8", BATCHES, "recipe is 'int8': expected an mlc.Recipe"),
        (mlc.Recipe(sparsify=Sparsify("0.9")), None, "sparsity is '0.9': expected float"),  # type: ignore
        (RECIPE, {"x": np.full((3, 5), np.nan), "z": 1}, "called 'z'.*\n.*shape.*\n.*holds NaN"),
        (RECIPE, {"x": dense_rows(0)}, "'x' is empty"),
        (mlc.Recipe.of("int8"), None, "quantize static int8 needs calibration data"),
        (RECIPE, None, "unstructured by sparsegpt needs calibration data"),
        (mlc.Recipe(Quantize(), layers=(Override("*prodct*"),)), None, "did you mean 'product'"),
        (mlc.Recipe(Quantize(), layers=TWICE), None, "layers 'product' have no say"),
        (mlc.Recipe(Quantize(), layers=TWICE[1:]), None, "asks for nothing of any layer"),
    ],
)
def test_bad_recipes_and_data_are_refused(recipe: Any, data: Any, problem: str):
    with pytest.raises(MlcError, match=problem):
        mlc.compile(dense(), recipe=recipe, calibration=data, cache=False)


@pytest.mark.parametrize(
    ("judging", "problem"),
    [
        ({"validation": {"x": dense_rows(6), "labels": np.zeros(5, int)}}, "labels.* which are 6"),
        (
            {"validation": {"x": dense_rows(6), "labels": np.zeros(6)}},
            "expected numbers of classes",
        ),
        ({"validation": {"x": dense_rows(6), "labels": np.full(6, 3)}}, "3 to 3: expected 0 to 2"),
        ({"max_drop": 0.01}, "something to judge by"),
        ({"max_drop": -1.0, "metric": lambda _: 1.0}, "max_drop is -1.0"),
    ],
)
def test_what_cannot_be_judged_by_is_refused(judging: dict[str, Any], problem: str):
    with pytest.raises(RecipeError, match=problem):
        mlc.compile(dense(), recipe=mlc.Recipe(Quantize()), cache=False, **judging)


@pytest.mark.parametrize("metric", [5, lambda _: None, lambda _: float("nan")])
def test_a_metric_that_gives_no_number_is_refused(metric: Any):
    with pytest.raises(MlcError, match="expected a"):
        mlc.compile(dense(), recipe=mlc.Recipe(Quantize()), metric=metric, cache=False)


def test_data_may_be_an_array_or_have_labels_beside():
    x, recipe = dense_rows(16), mlc.Recipe.of("int8")
    given = (
        x,
        {"x": x, "labels": np.zeros(16, int)},
        [torch.from_numpy(x)[n:][:8] for n in (0, 8)],
    )
    models = [mlc.compile(dense(), recipe=recipe, calibration=g, cache=False) for g in given]
    wanted, *others = [np.asarray(model(x)) for model in models]
    for other in others:
        np.testing.assert_array_equal(other, wanted)


def test_files_that_hold_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    onnx.save(dense(), tmp_path / "m.onnx")
    np.savez(tmp_path / "objects.npz", x=np.array([1, None], object))
    np.savez(tmp_path / "data.npz", x=dense_rows(20))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "data.npz").read_bytes()[:90])
    for name in ("objects", "cut"):
        given = f"--calibration={tmp_path / name}.npz"
        assert main(["compile", str(tmp_path / "m.onnx"), "--quantize=int8", given]) == 1
        assert "is no .npy or .npz file of numbers" in capsys.readouterr().err


def test_a_part_and_a_report(tmp_path: Path):
    onnx.save(dense(), tmp_path / "m.onnx")
    common = ["compile", str(tmp_path / "m.onnx"), "--quantize=int4", "--quiet", "--emit=asm"]
    report = tmp_path / "r.json"
    assert main([*common, "-o", str(tmp_path / "m.s"), f"--report={report}"]) == 0
    assert "product" in report.read_text()


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    onnx.save(dense(), tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", x=dense_rows(20))
    (tmp_path / "r.toml").write_text('[sparsify]\nsparsity = 0.5\nmethod = "wanda"\n')
    common = ["compile", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "m.mlc"), "--no-cache"]
    data = ["--calibration", str(tmp_path / "data.npz")]
    assert main([*common, *data, "--recipe", str(tmp_path / "r.toml"), "--quantize", "int4"]) == 0
    (layer,) = mlc.load(tmp_path / "m.mlc").report["compression"]["layers"]
    assert [step["asked"] for step in layer["steps"]] == [
        "sparsify 50% unstructured",
        "quantize weights int4 g32",
    ]
    assert main([*common, *data]) == 1
    assert "give --recipe" in capsys.readouterr().err
    assert main([*common, "--quantize", "int4", "--report", str(tmp_path / "no" / "r.html")]) == 1
    assert "there is no folder" in capsys.readouterr().err


def test_passes_of_a_recipe_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    onnx.save(dense(), tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", x=dense_rows(20))
    data = f"--calibration={tmp_path / 'data.npz'}"
    opt = ["opt", str(tmp_path / "m.onnx"), "--sparsify=0.5", "--quantize=int8"]
    assert main([*opt, data, "--stop-after=sparsify-weights"]) == 0
    assert "0.0" in (pruned := capsys.readouterr().out)
    assert "mlc.quantize" not in pruned
    assert main([*opt, data]) == 0
    assert "mlc.quantize" in capsys.readouterr().out
    assert main(opt) == 1
    assert "needs calibration data" in capsys.readouterr().err
    assert main(["passes"]) == 0
    assert "quantize-weights" in capsys.readouterr().out


def test_what_is_decoded_when_it_is_loaded_counts_as_its_codes():
    convolution = compress_models.convolution()
    model = mlc.compile(convolution, recipe=mlc.Recipe(Quantize(bits=4)), cache=False)
    (layer,) = model.report["compression"]["layers"]
    assert layer["bytes_after"] < 0.2 * layer["bytes_before"]
    assert "decoded ahead of time" in layer["steps"][0]["why"]
    assert "stored as codes" in layer["steps"][0]["why"]


def test_what_is_decoded_by_the_compiler_is_reported_as_stored():
    layer: dict[str, Any] = {"layer": "conv", "steps": [{"why": ""}], "restored": False}
    layer |= {"bytes_before": 400, "bytes_after": 50}
    site = {"nodes": ["conv"], "why": "decoded ahead of time: grouped", "weights": []}
    tell_kernels([layer], [site])
    assert layer["bytes_after"] == 400
    assert layer["steps"][0]["why"] == "decoded ahead of time: grouped"


def test_the_same_recipe_makes_the_same_file(tmp_path: Path):
    files = [tmp_path / "1.mlc", tmp_path / "2.mlc"]
    for file in files:
        mlc.compile(dense(), recipe=RECIPE, calibration=BATCHES, cache=False).save(file)
    first, second = (file.read_bytes() for file in files)
    assert first == second
