"""The table of importers: a function for each ONNX operator, chosen by opset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from xdsl.ir import SSAValue

from .node import Node, Value

Result = SSAValue | Sequence[Value] | None
Importer = Callable[[Node], Result]
ImporterT = TypeVar("ImporterT", bound=Importer)

_TABLE: dict[tuple[str, str], dict[int, Importer]] = {}


def importer(*names: str, since: int = 1, domain: str = "") -> Callable[[ImporterT], ImporterT]:
    """Registers an importer for operators of ``domain`` from opset ``since`` on."""

    def register(function: ImporterT) -> ImporterT:
        for name in names:
            _TABLE.setdefault((domain, name), {})[since] = function
        return function

    return register


def importer_of(domain: str, name: str, opset: int) -> Importer | None:
    """The importer of the nearest version not above ``opset``."""
    versions = _TABLE.get((domain, name), {})
    fitting = [since for since in versions if since <= opset]
    return versions[max(fitting)] if fitting else None
