"""Finds the layer norm in its definition, over the last dims or over one in the middle.

    %m = "mlc.reduce_mean"(%x)         ->   %r = "mlc.layer_norm"(%x)
    %c = "mlc.sub"(%x, %m)
    %s = "mlc.mul"(%c, %c)
    %v = "mlc.reduce_mean"(%s)
    %e = "mlc.add"(%v, %epsilon)
    %i = "mlc.rsqrt"(%e)
    %r = "mlc.mul"(%c, %i)

Scale and bias are the business of ``absorb-norm-weights``. A norm over channels that are not the
last dim, as in ``[N, C, H, W]``, gets transposes, which meet those of the convolutions around it.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.op import Add, GraphOp
from ...ir.ops.elementwise import AddOp, MulOp, RsqrtOp, SubOp
from ...ir.ops.norm import LayerNormOp
from ...ir.ops.reduce import ReduceMeanOp
from ..contract import Pass, Promise
from ..match import Constant, Either, Op, Product, Var, match
from ..rewrite import rewrite
from ..values import number
from .normalised import over_last_dims

X, EPSILON = Var(), Constant()
MEAN = Op(ReduceMeanOp, X)
CENTRED = Op(SubOp, X, MEAN)
SQUARES = Op(ReduceMeanOp, Product(CENTRED, CENTRED))
SQUARES_OF_X = Op(ReduceMeanOp, Product(X, X))
VARIANCE = Either(SQUARES, Op(SubOp, SQUARES_OF_X, Product(MEAN, MEAN)))
NORM = Product(CENTRED, Op(RsqrtOp, Op(AddOp, VARIANCE, EPSILON)))


@dataclass(frozen=True)
class RecognizeLayerNorm(Pass):
    """The variance may be the mean of squares, or that of x less the square of the mean."""

    name = "recognize-layer-norm"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Looks at every product."""
        rewrite(module, {MulOp: [_layer_norm]})


def _layer_norm(op: GraphOp, add: Add) -> SSAValue | None:
    found = match(NORM, op.results[0])
    if found is None or found[X].type != op.results[0].type:
        return None
    epsilon, mean = number(found[EPSILON]), found.op(MEAN)
    squares = found.op(SQUARES if found.get(SQUARES) else SQUARES_OF_X)
    if epsilon is None or squares.axes != mean.axes:
        return None
    return over_last_dims(LayerNormOp, found[X], mean, epsilon, add)
