"""Brings ops to their canonical form, with the rules that the op families give.

    %a = "mlc.reshape"(%x)        ->   %b = "mlc.reshape"(%x)
    %b = "mlc.reshape"(%a)
    %c = "mlc.mul"(%b, %one)           (uses of %c read %b)

The rules are in passes/canonical; a new family registers its own with ``@canonical``.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp

from .canonical.registry import rules_that
from .contract import Pass, Promise
from .rewrite import rewrite


@dataclass(frozen=True)
class Canonicalize(Pass):
    """Applies the rules that do not change a bit, until none fits."""

    name = "canonicalize"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Rewrites to the fixed point."""
        rewrite(module, rules_that(Promise.EXACT))
