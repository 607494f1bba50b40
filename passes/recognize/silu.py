"""Finds the sigmoid in its definition, and the sigmoid linear unit (swish).

%n = "mlc.neg"(%x)             ->   %s = "mlc.sigmoid"(%x)   ->   %r = "mlc.silu"(%x)
%e = "mlc.exp"(%n)                  %r = "mlc.mul"(%x, %s)
%d = "mlc.add"(%e, %one)
%s = "mlc.div"(%one, %d)
%r = "mlc.mul"(%x, %s)
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.op import Add, GraphOp
from ...ir.ops.elementwise import AddOp, DivOp, ExpOp, MulOp, SigmoidOp, SiluOp
from ..contract import Pass, Promise
from ..match import Either, Op, Product, Var, match
from ..rewrite import rewrite

X = Var()
ONE_PLUS_POWER = Op(AddOp, Op(ExpOp, Product(X, -1)), 1)
SIGMOID = Op(DivOp, 1, ONE_PLUS_POWER)
SILU = Either(Product(X, Op(SigmoidOp, X)), Op(DivOp, X, ONE_PLUS_POWER))


@dataclass(frozen=True)
class RecognizeSilu(Pass):
    """The definitions with ``exp(-x)``, and the product with a sigmoid."""

    name = "recognize-silu"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Looks at every product and quotient."""
        rewrite(module, {MulOp: [_silu], DivOp: [_sigmoid, _silu]})


def _sigmoid(op: GraphOp, add: Add) -> SSAValue | None:
    found = match(SIGMOID, op.results[0])
    fits = found and found[X].type == op.results[0].type
    return add(SigmoidOp(found[X])) if found and fits else None


def _silu(op: GraphOp, add: Add) -> SSAValue | None:
    found = match(SILU, op.results[0])
    fits = found and found[X].type == op.results[0].type
    return add(SiluOp(found[X])) if found and fits else None
