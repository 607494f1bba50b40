"""Finds the root-mean-square norm in its definition.

    %s = "mlc.mul"(%x, %x)             ->   %r = "mlc.rms_norm"(%x)
    %m = "mlc.reduce_mean"(%s)
    %e = "mlc.add"(%m, %epsilon)
    %i = "mlc.rsqrt"(%e)
    %r = "mlc.mul"(%x, %i)

The scale is the business of ``absorb-norm-weights``.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.op import Add, GraphOp
from ...ir.ops.elementwise import AddOp, MulOp, RsqrtOp
from ...ir.ops.norm import RmsNormOp
from ...ir.ops.reduce import ReduceMeanOp
from ..contract import Pass, Promise
from ..match import Constant, Op, Product, Var, match
from ..rewrite import rewrite
from ..values import number
from .normalised import over_last_dims

X, EPSILON = Var(), Constant()
SQUARES = Op(ReduceMeanOp, Product(X, X))
NORM = Product(X, Op(RsqrtOp, Op(AddOp, SQUARES, EPSILON)))


@dataclass(frozen=True)
class RecognizeRmsNorm(Pass):
    """Run after layer norms are found, which hold one on what they have centred."""

    name = "recognize-rms-norm"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Looks at every product."""
        rewrite(module, {MulOp: [_rms_norm]})


def _rms_norm(op: GraphOp, add: Add) -> SSAValue | None:
    found = match(NORM, op.results[0])
    if found is None or found[X].type != op.results[0].type:
        return None
    epsilon = number(found[EPSILON])
    if epsilon is None:
        return None
    return over_last_dims(RmsNormOp, found[X], found.op(SQUARES), epsilon, add)
