"""Finds the softmax in its definition.

%m = "mlc.reduce_max"(%x) <{axes = [2], keepdims = true}>   ->   %r = "mlc.softmax"(%x)
%s = "mlc.sub"(%x, %m)
%e = "mlc.exp"(%s)
%t = "mlc.reduce_sum"(%e) <{axes = [2], keepdims = true}>
%r = "mlc.div"(%e, %t)
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.op import Add, GraphOp
from ...ir.ops.elementwise import DivOp, ExpOp, SubOp
from ...ir.ops.norm import SoftmaxOp
from ...ir.ops.reduce import ReduceMaxOp, ReduceSumOp
from ..contract import Pass, Promise
from ..match import Op, Var, match
from ..rewrite import rewrite

X = Var()
MAXIMUM = Op(ReduceMaxOp, X)
POWERS = Op(ExpOp, Op(SubOp, X, MAXIMUM))
TOTAL = Op(ReduceSumOp, POWERS)
SOFTMAX = Op(DivOp, POWERS, TOTAL)


@dataclass(frozen=True)
class RecognizeSoftmax(Pass):
    """Along one axis; without the maximum it would overflow, and is not the same."""

    name = "recognize-softmax"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Looks at every quotient."""
        rewrite(module, {DivOp: [_softmax]})


def _softmax(op: GraphOp, add: Add) -> SSAValue | None:
    found = match(SOFTMAX, op.results[0])
    if found is None:
        return None
    maximum, total = found.op(MAXIMUM), found.op(TOTAL)
    if maximum.axes != total.axes or len(total.axes) != 1:
        return None
    if not (maximum.keepdims and total.keepdims) and total.axes != (0,):
        return None
    return add(SoftmaxOp(found[X], axis=total.axes[0]))
