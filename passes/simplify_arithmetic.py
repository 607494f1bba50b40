"""Rewrites arithmetic to what computes the same faster, but may round otherwise.

    %a = "mlc.div"(%x, %four)     ->   %a = "mlc.mul"(%x, %quarter)
    %b = "mlc.mul"(%a, %two)           %b = "mlc.mul"(%x, %half)
    %c = "mlc.pow"(%b, %two)           %c = "mlc.mul"(%b, %b)

The rules are in passes/canonical, those with ``promise=Promise.ROUNDING``.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp

from .canonical.registry import rules_that
from .contract import Pass, Promise
from .rewrite import rewrite


@dataclass(frozen=True)
class SimplifyArithmetic(Pass):
    """Applies the rules that may change the last bits, until none fits."""

    name = "simplify-arithmetic"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Rewrites to the fixed point."""
        rewrite(module, rules_that(Promise.ROUNDING))
