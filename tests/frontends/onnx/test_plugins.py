"""Importers of other packages."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType

import numpy as np
import pytest
from mlc.frontends.onnx import load_onnx, plugins
from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.registry import importer
from mlc.ir.errors import MlcError, UnsupportedError
from mlc.ir.interpreter import interpret
from mlc.ir.ops.elementwise import AddOp
from onnx_models import f32, one
from xdsl.ir import SSAValue

TWICE = one("Twice", shape=[2], domain="acme")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Pretends that a package with these entry points is installed."""

    def install(**values: str) -> None:
        points = EntryPoints(EntryPoint(n, v, plugins.GROUP) for n, v in values.items())
        monkeypatch.setattr(plugins, "entry_points", lambda group: points.select(group=group))
        plugins.load_plugins.cache_clear()

    yield install
    plugins.load_plugins.cache_clear()


class Late(ModuleType):
    """A module that registers an importer when its attribute is read."""

    @property
    def importers(self) -> type:
        @importer("Twice", domain="acme")
        def twice(node: Node) -> SSAValue:
            return node.add(AddOp(node.input(), node.input()))

        return Late


def test_operators_of_another_domain(installed, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UnsupportedError, match=r"acme::Twice \(opset 1\): no importer"):
        load_onnx(TWICE)
    monkeypatch.setitem(sys.modules, "acme", Late("acme"))
    installed(acme="acme:importers")
    (got,) = interpret(load_onnx(TWICE), [f32(1, 2)])
    np.testing.assert_array_equal(got, [2, 4])


def test_a_package_that_cannot_be_loaded_is_named(installed):
    installed(broken="no_such_module")
    with pytest.raises(MlcError, match=r"ONNX importers 'broken'.*no_such_module"):
        load_onnx(TWICE)
