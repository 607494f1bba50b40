"""The benchmark of GPUs, as far as it goes without one: interpreted kernels, on a stand-in."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cuda_interpreted import interpreting
from cuda_standin import standing_in
from mlc.runtime import Artifact

pytestmark = pytest.mark.interpreted

FOLDER = Path(__file__).parents[2] / "benchmarks"
ZOO = """
import numpy as np

def build(name, batch):
    import torch
    torch.manual_seed(0)
    layers = torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 8)
    return torch.nn.Sequential(*layers).eval(), {"x": np.ones((batch, 32), np.float32)}

MODELS = {"small": build}
"""


@pytest.fixture
def zoo(tmp_path: Path) -> str:
    path = tmp_path / "zoo.py"
    path.write_text(ZOO)
    return str(path)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's two files."""
    monkeypatch.syspath_prepend(FOLDER)
    cases = importlib.import_module("gpu_cases")
    monkeypatch.setattr(cases, "ROUND", 0)
    monkeypatch.setattr(cases, "ROUNDS", 1)
    spec = importlib.util.spec_from_file_location("benchmark_of_gpus", FOLDER / "gpu.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return SimpleNamespace(cases=cases, script=script)


def test_without_a_gpu_it_says_so(zoo: str):
    command = [sys.executable, FOLDER / "gpu.py", "--zoo", zoo]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("this machine has no NVIDIA driver")


def test_a_case_is_compiled_checked_and_timed(
    bench: Any, zoo: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    setting = bench.cases.Setting(zoo, "cuda:sm_90", "cpu")
    case = bench.cases.Case("small", 2, "bf16", "w8")
    path = tmp_path / "m.mlc"
    seconds = bench.cases.compile_case(setting, case, str(path))
    with standing_in(interpreting(Artifact.open(path))):
        found = bench.cases.Bench(setting, case).measure(["mlc", "eager"], str(path))
    assert seconds > 0
    assert (found.correct, found.failed) == (True, {})
    assert found.microseconds.keys() == {"mlc", "eager"}
    out = tmp_path / "gpu.json"
    bench.script._write(out, [found], setting)
    assert json.loads(out.read_text())["machine"]["device"] == "the CPU: a trial run"
    assert bench.script._read(out)[case].microseconds == found.microseconds
    bench.script.show([found], ["mlc", "eager"])
    printed = capsys.readouterr().out
    assert "small b2 bf16 w8" in printed
    assert "times as fast as eager" in printed


def test_what_comes_first(bench: Any):
    cases = [
        bench.cases.Case("m", b, d, r) for b in (1, 32) for d, r in (("f32", ""), ("bf16", ""))
    ]
    coded = bench.cases.Case("m", 1, "bf16", "w4")
    (quick, first), (slow, second) = bench.script._passes(["mlc", "eager", "inductor"], cases)
    assert (quick, slow, first) == (["mlc", "eager"], ["mlc", "inductor"], cases)
    assert [(c.dtype, c.batch) for c in second] == [
        *(("bf16", 1), ("bf16", 32), ("f32", 1), ("f32", 32))
    ]
    assert not bench.script._fits("inductor", coded)
