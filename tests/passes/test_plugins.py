"""Where passes of other packages run, and what is said about those that cannot."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest
from mlc.ir.errors import PassError
from mlc.passes import plugins
from mlc.passes.contract import Pass, Promise
from mlc.passes.pipeline import all_passes, pipeline
from mlc.passes.plugins import with_plugins
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
