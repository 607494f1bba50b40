"""Training after compression: what was lost comes back, and the compression stays."""

from __future__ import annotations

import sys
from typing import Any

import mlc
import numpy as np
import pytest
from compress_models import batches, mlp
from mlc.cli.compression_page import compression_page
from mlc.cli.compression_text import text_of
from mlc.ir.errors import MlcError
from mlc.passes.compress.recipe import LowRank, Quantize, Sparsify

torch = pytest.importorskip("torch")

RECIPES = {
    "sparse": mlc.Recipe(sparsify=Sparsify(0.8)),
    "int4": mlc.Recipe(Quantize(bits=4, group=16, method="nearest")),
    "sparse int8": mlc.Recipe(Quantize(scheme="static"), Sparsify(0.8)),
    "low rank int2": mlc.Recipe(Quantize(bits=2, method="nearest"), low_rank=LowRank(0.3)),
}


def error(model: mlc.Model) -> float:
    x = batches(5)[4]
    wanted = mlc.compile(mlp(), cache=False)(x)
    return float(np.linalg.norm(model(x) - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("name", RECIPES)
def test_some_of_what_was_lost_comes_back(name: str):
    recipe, data = RECIPES[name], batches()
    plain = mlc.compile(mlp(), recipe=recipe, calibration=data, cache=False)
    trained = mlc.recover(mlp(), recipe, data, steps=60, cache=False)
    assert error(trained) < (0.97 if "rank" in name else 0.9) * error(plain)
    found = trained.report["compression"]["recovery"]
    assert all(stage["after"] < stage["before"] for stage in found)
    assert sum(stage["steps"] for stage in found) == 60


def test_too_few_minutes_are_told(capsys: pytest.CaptureFixture[str]):
    options: dict[str, Any] = {"steps": 9, "minutes": 1e-9, "cache": False, "verbose": True}
    model = mlc.recover(mlp(), RECIPES["sparse"], batches(), **options)
    (found,) = model.report["compression"]["recovery"]
    assert "after 1 of 9 steps for want of minutes and helped nothing" in found["shortfall"]
    assert found["shortfall"] in capsys.readouterr().err
    fine = mlc.recover(mlp(), RECIPES["sparse"], batches(), steps=60, cache=False)
    assert [e["shortfall"] for e in fine.report["compression"]["recovery"]] == [None]


def test_zeros_stay_zeros():
    from mlc.driver.compression import Compression
    from mlc.driver.recovery import Recovery
    from mlc.driver.stages import Stages
    from mlc.passes.compress.layers import layers_of

    module = mlp()
    asked = Compression(RECIPES["sparse"], batches(), 1, recovery=Recovery(steps=20))
    asked.apply(module, Stages(), None)
    for layer in layers_of(module):
        assert (layer.weight() == 0).mean() == pytest.approx(0.8, abs=0.01)


def test_a_torch_module():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3)
    )
    data = [np.random.default_rng(k).standard_normal((2, 3, 8, 8), np.float32) for k in range(4)]
    model = mlc.recover(
        module, RECIPES["sparse"], data, inputs=torch.zeros(2, 3, 8, 8), steps=40, rate=0.05
    )
    *_, found = model.report["compression"]["recovery"]
    assert found["after"] < 0.9 * found["before"]


def test_what_cannot_be_trained_is_refused(monkeypatch: pytest.MonkeyPatch):
    wrong: list[dict[str, Any]] = [{"steps": 0}, {"steps": "all"}, {"rate": -1}, {"layers": -1}]
    for options in wrong:
        with pytest.raises(MlcError, match=r"positive|from 0 on"):
            mlc.recover(mlp(), RECIPES["sparse"], batches(), **options)
    with pytest.raises(MlcError, match="batches of inputs"):
        mlc.recover(mlp(), RECIPES["sparse"], None)
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [m for m in sys.modules if m.startswith("mlc.frontends.torch")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MlcError, match="recovery needs torch"):
        mlc.recover(mlp(), RECIPES["sparse"], batches(), cache=False)


def test_training_is_told():
    model = mlc.recover(mlp(), RECIPES["sparse"], batches(), steps=9, minutes=1e-9, cache=False)
    found = model.report["compression"]
    for told in (text_of(found), compression_page("mlp", found, "")):
        assert "trained 1 step: the difference to the float model" in told
        assert "for want of minutes" in told
