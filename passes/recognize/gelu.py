"""Finds the Gaussian error linear unit, exact or by tanh, with its factors in any place.

%a = "mlc.mul"(%x, %0.7071)        ->   %r = "mlc.gelu"(%x)
%b = "mlc.erf"(%a)
%c = "mlc.add"(%b, %one)
%d = "mlc.mul"(%x, %half)
%r = "mlc.mul"(%d, %c)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.op import Add, GraphOp
from ...ir.ops.elementwise import AddOp, ErfOp, GeluOp, MulOp, TanhOp
from ..contract import Pass, Promise
from ..match import Op, Product, Var, match
from ..rewrite import rewrite

X = Var()
ROOT, CUBIC = sqrt(2 / pi), 0.044715


def _gated(gate: Op) -> Product:
    """``x / 2 * (1 + gate)``."""
    return Product(X, 0.5, Op(AddOp, gate, 1))


EXACT = _gated(Op(ErfOp, Product(X, sqrt(0.5))))
BY_TANH = (
    # sqrt(2 / pi) * (x + 0.044715 * x**3), and the same with x taken out
    _gated(Op(TanhOp, Product(ROOT, Op(AddOp, X, Product(CUBIC, X, X, X))))),
    _gated(Op(TanhOp, Product(ROOT, X, Op(AddOp, Product(CUBIC, X, X), 1)))),
)


@dataclass(frozen=True)
class RecognizeGelu(Pass):
    """Both forms, with numbers as near as their dtype can hold them."""

    name = "recognize-gelu"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Looks at every product."""
        rewrite(module, {MulOp: [_gelu]})


def _gelu(op: GraphOp, add: Add) -> SSAValue | None:
    for pattern in (EXACT, *BY_TANH):
        found = match(pattern, op.results[0])
        if found and found[X].type == op.results[0].type:
            return add(GeluOp(found[X], approximate=pattern is not EXACT))
    return None
