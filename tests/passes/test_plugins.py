"""Where passes of other packages run, and what is said about those that cannot."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import mlc
import numpy as np
import pytest
from mlc.ir.errors import PassError
from mlc.passes import plugins
from mlc.passes.compress.compress import all_compressions
from mlc.passes.compress.recipe import Sparsify
from mlc.passes.compress.report import Step, sqnr
from mlc.passes.compress.weight_pass import WeightPass
from mlc.passes.contract import Pass, Promise
from mlc.passes.pipeline import all_passes, pipeline
from mlc.passes.plugins import with_plugins
from small_models import dense, dense_rows
from xdsl.dialects.builtin import ModuleOp


class Named(Pass):
    """Does nothing, under any name and in any place."""

    promise = Promise.EXACT

    def __init__(self, name: str, before: str = "", after: str = ""):
        self.name, self.before, self.after = name, before, after  # pyright: ignore

    def apply(self, module: ModuleOp) -> None:
        pass


class Idle(Named):
    def __init__(self):
        super().__init__("idle", after="canonicalize")


class Asked(Named):
    def __init__(self):
        super().__init__("asked")


@dataclass(frozen=True)
class ClipWeights(WeightPass[Sparsify]):
    """A toy: what the recipe prunes loses its largest weights, too."""

    name = "clip-weights"
    after = "sparsify-weights"

    def asked(self, layer: str) -> Sparsify | None:
        return self.recipe.sparsify_of(layer)

    def apply(self, module: ModuleOp) -> None:
        for layer, options in self.todo(module):
            before = layer.weight()
            most = 0.5 * float(np.abs(before).max())
            layer.replace_weight(np.clip(before, -most, most))
            noise = sqnr(layer.as_matrices(before)[0], layer.matrices()[0])
            self.report.add(Step(layer.name, options.text(), f"clipped at {most:.2g}", sqnr=noise))


OWN = [Named("a"), Named("b"), Named("a"), Named("c")]


def order(*added: Pass) -> list[str]:
    return [p.name for p in with_plugins(OWN, added)]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    def install(**entries: str) -> None:
        points = EntryPoints(EntryPoint(n, v, plugins.GROUP) for n, v in entries.items())
        monkeypatch.setattr(plugins, "entry_points", lambda group: points.select(group=group))

    return install


def test_before_the_first_and_after_the_last():
    assert order(Named("x", before="a")) == ["x", "a", "b", "a", "c"]
    assert order(Named("x", after="a")) == ["a", "b", "a", "x", "c"]


def test_next_to_each_other():
    added = [Named("x", after="y"), Named("y", before="c")]
    assert order(*added) == ["a", "b", "a", "y", "x", "c"]


def test_without_a_place():
    assert order(Named("x")) == ["a", "b", "a", "c"]


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ([Named("x", before="z")], "run before 'z', which is not in the pipeline; it holds: a, b"),
        ([Named("x", after="y"), Named("y", after="x")], "is not in the pipeline"),
        ([Named("x", before="a", after="b")], "both 'before' and 'after'"),
        ([Named("b", before="a")], "two passes named 'b'"),
        ([Named("x"), Named("x")], "two passes named 'x'"),
    ],
)
def test_no_place(added: list[Pass], message: str):
    with pytest.raises(PassError, match=message):
        order(*added)


def test_installed_passes_are_found(installed):
    installed(idle=f"{__name__}:Idle", asked=f"{__name__}:Asked")
    assert {"idle", "asked"} <= set(all_passes())
    names = [p.name for p in pipeline()]
    assert names[names.index("idle") - 1] == "canonicalize"
    assert "asked" not in names


def test_a_compression_of_another_package_is_reported_and_guarded(installed):
    installed(**{"clip-weights": f"{__name__}:ClipWeights"})
    assert "clip-weights" not in [p.name for p in pipeline()]
    names = [p.name for p in all_compressions()]
    assert names[names.index("clip-weights") - 1] == "sparsify-weights"
    asked: dict[str, Any] = {"recipe": mlc.Recipe.of("int8-weights", 0.5), "cache": False}
    found = mlc.compile(dense(), **asked).report["compression"]
    (layer,) = found["layers"]
    pruned, clipped, rounded = (step["done"] for step in layer["steps"])
    assert "zeros by magnitude" in pruned
    assert clipped.startswith("clipped at")
    assert rounded.startswith("int8")
    asked |= {"max_drop": 0.0, "validation": [dense_rows(8)]}
    (layer,) = mlc.compile(dense(), **asked).report["compression"]["layers"]
    assert layer["restored"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("no_such_module:Pass", "cannot be loaded: ModuleNotFoundError"),
        (f"{__name__}:missing", "cannot be loaded: AttributeError"),
        ("builtins:object", "is no subclass"),
        (f"{__name__}:Asked", "calls itself 'asked'"),
    ],
)
def test_what_is_no_pass(installed, entry: str, message: str):
    installed(idle=entry)
    with pytest.raises(PassError, match=f"the pass 'idle' of the package .*{message}"):
        pipeline()
