"""Tuning: what is measured to be fastest is taken, remembered, and computes the same."""

from __future__ import annotations

import io
import json

import mlc
import numpy as np
import pytest
from graphs import Graph, array
from mlc.driver import tuner
from mlc.driver.tuner import Tuner
from mlc.ir.dims import symbol
from mlc.ir.errors import TargetError
from mlc.ir.interpreter import interpret
from mlc.ir.ops.attention import AttentionOp
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.runtime.notes import Notes
from mlc.runtime.progress import Progress
from xdsl.dialects.builtin import ModuleOp


def convolutions() -> ModuleOp:
    """A padded convolution of 3x3, a depthwise one, one of 1x1."""
    g = Graph((1, 12, 12, 16))
    w = [array(3, 3, 16, 32), array(3, 3, 1, 32, seed=1), array(1, 1, 32, 48, seed=2)]
    plain = {"strides": (1, 1), "dilations": (1, 1)}
    y = g(ConvOp, *g.inputs, w[0] / 12, **plain, pads=(1, 1, 1, 1))
    y = g(ConvOp, y, w[1] / 3, **plain, pads=(0, 0, 0, 0), groups=32)
    return g.module(g(ConvOp, y, w[2] / 6, **plain, pads=(0, 0, 0, 0)))


def attention() -> ModuleOp:
    g = Graph((1, 2, 70, 16), (1, 2, 70, 16), (1, 2, 70, 16))
    return g.module(g(AttentionOp, *g.inputs))


def prefer(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """Makes option ``number``, or the last one, the fastest by far; gives the contests held."""
    held: list[int] = []

    def times(self: Tuner, contestants: list[object]) -> list[float]:
        held.append(len(contestants))
        fastest = min(number, len(contestants) - 1)
        return [1.0 if n == fastest else 9.0 for n in range(len(contestants))]

    monkeypatch.setattr(Tuner, "_times", times)
    return held


@pytest.mark.parametrize("number", [1, 9])
@pytest.mark.parametrize("make", [convolutions, attention])
def test_every_option_computes_the_same(monkeypatch: pytest.MonkeyPatch, make, number: int):
    prefer(monkeypatch, number)
    model = mlc.compile(make(), tune=True, cache=False, threads=1)
    arrays = [array(*spec.shape, seed=n) for n, spec in enumerate(model.inputs)]  # pyright: ignore
    (wanted,) = interpret(make(), arrays)
    np.testing.assert_allclose(model(*arrays), wanted, rtol=1e-4, atol=1e-5)


def test_winners_are_taken_and_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path):
    held = prefer(monkeypatch, 9)
    model = mlc.compile(convolutions(), tune=True, cache=tmp_path, threads=1)
    assert held
    assert "measured to be the fastest" in str(model.manifest["sites"])
    noted = json.loads((tmp_path / "measured.json").read_text())
    assert {key.split()[0] for key in noted} == {"winograd", "window", "tile"}
    held.clear()
    for path in tmp_path.glob("*.mlc"):
        path.unlink()
    again = mlc.compile(convolutions(), tune=True, cache=tmp_path, threads=1)
    assert not held
    assert again.manifest["sites"] == model.manifest["sites"]


def test_it_measures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tuner, "_ROUNDS", 2)
    monkeypatch.setattr(tuner, "_LARGE", 1 << 10)
    model = mlc.compile(convolutions(), tune=True, cache=False, threads=2)
    assert model(array(1, 12, 12, 16)).shape == (1, 10, 10, 48)


def test_open_sizes_and_late_questions_are_left_to_estimates(monkeypatch: pytest.MonkeyPatch):
    held = prefer(monkeypatch, 1)
    g = Graph((symbol("N"), 8))
    mlc.compile(g.module(g(MatmulOp, *g.inputs, array(8, 40))), tune=True, cache=False)
    monkeypatch.setattr(tuner, "_SECONDS", -1.0)
    mlc.compile(convolutions(), tune=True, cache=False)
    assert not held


def test_other_machines_cannot_be_measured():
    with pytest.raises(TargetError, match="nothing can be measured for 'cpu:aarch64'"):
        mlc.compile(convolutions(), target="cpu:aarch64", tune=True, cache=False)


def test_damaged_notes_are_as_good_as_none(tmp_path):
    (tmp_path / "measured.json").write_text("[1")
    notes = Notes(tmp_path)
    assert notes.find("a") is None
    notes.keep({"a": [1]})
    Notes(tmp_path).keep({"b": 2})
    notes.keep({"c": 3})
    assert json.loads((tmp_path / "measured.json").read_text()) == {"a": [1], "b": 2, "c": 3}


def test_progress_is_drawn_on_terminals_only():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        bar = Progress("tuning", 4, stream)
        bar.show(2, "conv")
        assert ("tuning ████████████░░░░░░░░░░░░ 2/4 conv" in stream.getvalue()) is drawn
        bar.end()
