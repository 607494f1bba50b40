"""The example of a pass in a package of its own: installed, found, run."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from graphs import array, build, names, run
from mlc.ir.ops.elementwise import GeluOp
from mlc.passes.manager import run_passes
from mlc.passes.pipeline import all_passes, pipeline

EXAMPLE = Path(__file__).parents[2] / "examples" / "quick_gelu"
INSTALL = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package in a folder of its own on the path."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for name in ("pyproject.toml", "quick_gelu.py", "README.md"):
        (source / name).write_bytes((EXAMPLE / name).read_bytes())
    command = [sys.executable, *INSTALL, "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot install: {done.stderr.strip().splitlines()[-1:]}")
    monkeypatch.syspath_prepend(str(target))


@pytest.mark.usefixtures("installed")
def test_the_pass_is_found_and_runs():
    assert any(e.name == "quick-gelu" for e in entry_points(group="mlc.passes"))
    assert "quick-gelu" in all_passes()
    order = [step.name for step in pipeline()]
    assert order.index("quick-gelu") == order.index("recognize-gelu") + 1

    module, x = build(lambda g, x: g(GeluOp, x), (100,)), array(100)
    (exact,) = run(module, x)
    run_passes(module, pipeline())
    (quick,) = run(module, x)
    assert names(module) == ["mul", "sigmoid", "mul"]
    assert 0 < np.abs(quick - exact).max() < 0.021
