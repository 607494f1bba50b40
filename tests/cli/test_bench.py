"""``mlc bench``: the contest, its arithmetic, and the engines that are installed here."""

from __future__ import annotations

import json
import time
from itertools import groupby

import numpy as np
import onnx
import pytest
from mlc.cli.contest import Contestant, largest_difference, result_of
from mlc.cli.engines import ENGINES, Job, Loaded
from mlc.cli.main import main
from mlc.cli.timing import Samples, interleave
from mlc.ir.errors import MlcError
from onnx_models import one
from small_models import dense

TORCH_FILE = """
import torch
def build():
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    return module, (torch.ones(2, 4),)
def broken():
    raise ValueError("no weights")
def wrong():
    return 1
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLC_CACHE", str(tmp_path / "cache"))
    onnx.save(dense(), "dense.onnx")
    (tmp_path / "net.py").write_text(TORCH_FILE)
    return tmp_path


def test_a_contest_of_one(capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "dense.onnx", "--against", "", "--seconds", "0"]) == 0
    out, err = capsys.readouterr()
    assert "measuring" in err
    assert out.splitlines()[2].startswith("mlc ")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_against_an_engine(engine: str, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip(engine)
    options = ["--against", engine, "--seconds", "0", "--threads", "1", "--shape", "x=3,4"]
    assert main(["bench", "dense.onnx", "--json", "--quiet", *options]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (err, found["threads"], found["inputs"]) == ("", 1, {"x": [3, 4]})
    ours, theirs = found["engines"]
    assert (ours["engine"], theirs["engine"], theirs["failed"]) == ("mlc", engine, "")
    assert theirs["difference"] < 1e-6
    assert theirs["ratio"] > 0


def test_torch_files(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("torch")
    assert main(["bench", "net.py:build", "--against", "torch", "--seconds", "0"]) == 0
    assert "faster" in capsys.readouterr().out


def test_every_command_reads_torch_files(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("torch")
    for command in ("compile", "run", "explain"):
        assert main([command, "net.py:build", "--quiet"]) == 0
    assert main(["opt", "net.py:build"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("net.mlc: ")
    assert '"mlc.matmul"' in out


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", "net.py:broken failed: ValueError: no weights"),
        ("wrong", "net.py:wrong must return (module, inputs)"),
        ("none", "net.py has no function 'none'"),
    ],
)
def test_torch_files_that_are_none(function: str, message: str, capsys):
    pytest.importorskip("torch")
    assert main(["run", f"net.py:{function}"]) == 1
    assert message in capsys.readouterr().err


def test_an_engine_that_cannot_is_told(capsys: pytest.CaptureFixture[str], monkeypatch):
    def refuse(job: Job) -> Loaded:
        raise MlcError("not today")

    monkeypatch.setitem(ENGINES, "other", refuse)
    assert main(["bench", "dense.onnx", "--against", "other", "--seconds", "0"]) == 0
    assert "other: not today" in capsys.readouterr().out


def test_torch_runs_onnx_files(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("torch")
    options = ["--against", "torch", "--seconds", "0", "--shape", "x=3,4", "--json"]
    assert main(["bench", "dense.onnx", *options]) == 0
    theirs = json.loads(capsys.readouterr().out)["engines"][1]
    assert (theirs["failed"], theirs["note"]) == ("", "")
    assert theirs["difference"] < 1e-6


def test_what_numpy_runs_for_torch_is_told(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("torch")
    onnx.save(one("Unique", shape=(7,)), "unique.onnx")
    assert main(["bench", "unique.onnx", "--against", "torch", "--seconds", "0"]) == 0
    assert "torch: numpy runs 1 op: mlc.unique (n0)" in capsys.readouterr().out


def test_another_result_is_told(capsys: pytest.CaptureFixture[str], monkeypatch):
    other = Loaded(lambda: None, lambda _: [np.full((1, 3), 7.0)])
    monkeypatch.setitem(ENGINES, "other", lambda job: other)
    assert main(["bench", "dense.onnx", "--against", "other", "--seconds", "0"]) == 1
    assert "DIFFERS" in capsys.readouterr().out


def test_differences():
    a = np.array([1.0, -4.0])
    assert largest_difference([a], [a]) == 0
    assert largest_difference([a], [a + 0.4]) == pytest.approx(0.1)
    assert largest_difference([a], [np.array([1.0, np.nan])]) == np.inf
    assert largest_difference([a], [a[:1]]) == np.inf
    assert largest_difference([], []) == 0


def test_turns_are_taken_in_turn():
    calls: list[str] = []
    runs = {
        "slow": lambda: (calls.append("slow"), time.sleep(0.04)),
        "fast": lambda: calls.append("fast"),
    }
    samples = interleave(runs, 0)
    assert [len(s.rounds) for s in samples.values()] == [3, 3]
    assert [len(samples[n].rounds[0]) for n in runs] == [1, 8]
    # Once to see how long each takes, then forth, back and forth.
    assert [name for name, _ in groupby(calls)] == ["slow", "fast"] * 3
    assert samples["slow"].ratio_to(samples["fast"]) > 10
    assert samples["slow"].median >= samples["slow"].fastest >= 0.04


def test_ratios_are_taken_by_round():
    ours, theirs = Samples([[1.0], [10.0], [1.0]]), Samples([[2.0], [20.0], [2.0]])
    us, them = (Contestant(n, Loaded(lambda: None, lambda _: []), 1.0) for n in ("mlc", "x"))
    found = result_of(them, us, {"mlc": ours, "x": theirs})
    assert (found.ratio, found.rounds, found.median_ms) == (2.0, 3, 2000.0)
