"""Compression is judged, reported layer by layer, and held to a bound."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlc
import numpy as np
import pytest
from compress_models import batches, mlp
from mlc.cli.bar_chart import Bar, Entry, bar_chart
from mlc.cli.main import main
from mlc.ir.errors import MlcError
from mlc.passes.compress.outcome import fewest
from mlc.passes.compress.recipe import LowRank, Quantize, Sparsify

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
ROUGH = mlc.Recipe(Quantize(bits=2, method="nearest"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The digits' test set as a file with labels, and a part of it as one without."""
    given = np.load(DIGITS / "test_set.npz")
    images = (given["pixels"] / 16).astype(np.float32)
    folder = tmp_path_factory.mktemp("digits")
    paths = {name: folder / f"{name}.npz" for name in ("calibration", "validation")}
    np.savez(paths["calibration"], image=images[:64])
    np.savez(paths["validation"], image=images[64:], labels=given["labels"][64:])
    return paths


def judged(recipe: mlc.Recipe, **options: Any) -> mlc.Model:
    return mlc.compile(mlp(), recipe=recipe, calibration=batches(), cache=False, **options)


def test_the_worst_layers_stay_floats():
    free = judged(ROUGH, validation=batches(2)).report["compression"]["metric"]
    assert free["after"] == free["without_guard"] < 0.9
    assert free["metric"] == "agreement with the float model"
    model = judged(ROUGH, validation=batches(2), max_drop=0.1)
    found = model.report["compression"]
    assert found["metric"]["after"] >= 0.9 > found["metric"]["without_guard"]
    assert found["metric"]["evaluations"] <= 3
    kept = [e["layer"] for e in found["layers"] if e["restored"]]
    assert kept == found["metric"]["restored"] == ["head"]


@pytest.mark.parametrize(
    "recipe",
    [
        mlc.Recipe(low_rank=LowRank(0.3)),
        mlc.Recipe.of("int8"),
        mlc.Recipe(Quantize(bits=4, group=16), Sparsify(0.5), LowRank(0.5)),
    ],
    ids=["low rank", "int8", "all"],
)
def test_no_drop_at_all_is_the_float_model(recipe: mlc.Recipe):
    model, x = judged(recipe, max_drop=0.0), batches(1)[0]
    assert model.report["compression"]["metric"]["restored"]
    np.testing.assert_allclose(model(x), mlc.compile(mlp(), cache=False)(x), rtol=1e-4, atol=1e-4)


def test_a_function_of_the_user_judges():
    asked = []

    def first_row(model: mlc.Model) -> float:
        asked.append(model)
        return float(np.asarray(model(batches(1)[0]))[0].sum())

    found = judged(ROUGH, metric=first_row).report["compression"]["metric"]
    assert found["metric"] == "first_row"
    assert len(asked) == 2


@pytest.mark.parametrize("most", [1, 2, 7, 100])
def test_few_evaluations(most: int):
    for wanted in range(most + 1):
        tried = []
        found = fewest(most, lambda n, w=wanted, t=tried: t.append(n) or n >= w)
        assert found == wanted
        assert len(tried) <= most.bit_length() + 1


def test_judging_needs_a_recipe():
    with pytest.raises(MlcError, match="give a recipe"):
        mlc.compile(mlp(), max_drop=0.01)
    with pytest.raises(MlcError, match="something to judge by"):
        mlc.compile(mlp(), recipe=ROUGH, max_drop=0.01, cache=False)


def test_labels_that_do_not_fit(data: dict[str, Path]):
    given = dict(np.load(data["validation"])) | {"labels": np.zeros(3, np.uint8)}
    with pytest.raises(MlcError, match=r"shape \[3\]: expected one label"):
        mlc.compile(
            DIGITS / "digits.onnx", recipe=mlc.Recipe(Quantize()), validation=given, cache=False
        )


def test_the_reports(data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    given = [f"--{name}={path}" for name, path in data.items()]
    common = ["compile", str(DIGITS / "digits.onnx"), "-o", str(tmp_path / "m.mlc"), "--no-cache"]
    common += ["--quantize=int8", "--max-drop=0.01", "--quiet", *given]
    assert main([*common, f"--report={tmp_path / 'r.html'}"]) == 0
    told = capsys.readouterr().out
    assert "accuracy: 0.98" in told
    assert "weights of layers" in told
    page = (tmp_path / "r.html").read_text()
    assert page.count("<svg") == 3
    assert page.count(">conv_3</text>") == 3
    assert "as fast as a whole, measured" in page
    assert "of 3</b><span>layers compressed" in page
    assert main([*common, f"--report={tmp_path / 'r.json'}"]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["run"]["inputs"] == {"image": [8, 1, 8, 8]}
    assert min(report["run"]["before"], report["run"]["after"]) > 0
    layers = report["layers"]
    assert len(layers) == 3
    for layer in layers:
        assert layer["output_sqnr"] > 20
        assert layer["bytes_after"] < layer["bytes_before"]
        assert min(layer["measured_before"], layer["measured_after"]) > 0
    assert main([*common, "--report=r.pdf"]) == 1
    assert "ends in .html or .json" in capsys.readouterr().err


def test_the_artifact_tells_its_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model, page = str(tmp_path / "m.mlc"), tmp_path / "r.html"
    made = ["compile", str(DIGITS / "digits.onnx"), "-o", model, "--sparsify=0.9", "--quiet"]
    assert main(made) == 0
    capsys.readouterr()
    assert main(["explain", model, "--compression"]) == 0
    told = capsys.readouterr().out
    assert "[sparsify]\nsparsity = 0.9" in told
    assert "logits: zeros are not skipped" in told
    assert main(["explain", model, "--compression", f"--html={page}"]) == 0
    assert "zeros are not skipped" in page.read_text()
    capsys.readouterr()
    assert main(["explain", model, "--compression", "--json"]) == 0
    logits = json.loads(capsys.readouterr().out)["layers"][-1]
    assert logits["bytes_after"] == logits["bytes_before"]
    assert main(["explain", str(DIGITS / "digits.onnx"), "--compression"]) == 1
    assert "without a recipe" in capsys.readouterr().err


def test_names_below_bars_have_room():
    for number in (1, 12, 150):
        entries = [Entry(f"layer {k}", "#", [Bar("dB", 10.0 - k / 20)]) for k in range(number)]
        drawn = bar_chart(entries, "dB", [])
        places = [float(x) for x in re.findall(r"translate\(([\d.]+)", drawn)]
        assert len(places) == min(number, 50)
        assert all(b - a >= 13 for a, b in pairwise(places))
        assert drawn.count("<title>") == number


def test_times_are_those_of_the_target(tmp_path: Path):
    report = judged(ROUGH, target="cpu:aarch64", measure=True).report["compression"]
    assert report["run"] is None
    for layer in report["layers"]:
        assert layer["measured_after"] is None
        assert layer["output_sqnr"] is not None
