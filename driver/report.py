"""Which nodes of the user's model there were, for the report of what became of them."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp

from ..ir.module import main_function
from ..ir.op import source_of


def origins(module: ModuleOp) -> dict[str, list[str]]:
    """The graph ops that each node of the user's model was imported as, in order."""
    found: dict[str, list[str]] = {}
    for op in main_function(module).walk():
        node = source_of(op)
        if node:
            found.setdefault(node, []).append(op.name.removeprefix("mlc."))
    return found
