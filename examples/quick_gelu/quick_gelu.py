"""Computes GELU by one sigmoid (Hendrycks and Gimpel, 2016), which errs by 0.02 at most.

%r = "mlc.gelu"(%x)      ->   %a = "mlc.mul"(%x, %1.702)
                              %s = "mlc.sigmoid"(%a)
                              %r = "mlc.mul"(%x, %s)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mlc.ir.op import Add
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.elementwise import GeluOp, MulOp, SigmoidOp
from mlc.ir.types import type_of
from mlc.passes.contract import Pass, Promise
from mlc.passes.rewrite import rewrite
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue


@dataclass(frozen=True)
class QuickGelu(Pass):
    """Every GELU, right after all of them have been found."""

    name = "quick-gelu"
    promise = Promise.LOSSY
    after = "recognize-gelu"

    def apply(self, module: ModuleOp) -> None:
        """Looks at every GELU."""
        rewrite(module, {GeluOp: [by_sigmoid]})


def by_sigmoid(op: GeluOp, add: Add) -> SSAValue:
    """``x * sigmoid(1.702 * x)``."""
    factor = add(ConstantOp.of(np.asarray(1.702, type_of(op.x).dtype)))
    return add(MulOp(op.x, add(SigmoidOp(add(MulOp(op.x, factor))))))
