"""Computes ops whose operands are all constants, with the op's own reference.

    %a = "mlc.constant"() <{value = [1.0]}>      %c = "mlc.constant"() <{value = [3.0]}>
    %b = "mlc.constant"() <{value = [2.0]}>  ->
    %c = "mlc.add"(%a, %b)

A result much larger than its operands (a broadcast) is left alone, so that the artifact does not
grow; results are lazy, so nothing large is computed before it is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.rewriter import Rewriter

from ..ir.data import DataAttr
from ..ir.dims import static_size
from ..ir.interpreter import run_op
from ..ir.op import GraphOp, copy_source
from ..ir.ops.constant import ConstantOp
from ..ir.types import type_of
from .contract import Pass, Promise


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Folds in program order, so that chains of constants collapse in one walk.

    Attributes:
        growth: The most elements a folded result may have, as a multiple of its operands'.
        always: Results up to this many elements are always folded.
    """

    name = "fold-constants"
    promise = Promise.EXACT
    growth: int = 2
    always: int = 4096

    def apply(self, module: ModuleOp) -> None:
        """Replaces foldable ops by constants."""
        for op in list(module.walk()):
            if isinstance(op, GraphOp) and self._foldable(op):
                _fold(op)

    def _foldable(self, op: GraphOp) -> bool:
        if isinstance(op, ConstantOp) or len(op.results) != 1:
            return False
        if not op.operands or not all(isinstance(o.owner, ConstantOp) for o in op.operands):
            return False
        sizes = [static_size(type_of(o).shape) for o in op.operands]
        result = static_size(type_of(op.results[0]).shape)
        known = [s for s in sizes if s is not None]
        return result is not None and result <= max(self.always, self.growth * max(known))


def _fold(op: GraphOp) -> None:
    sources = [o.owner.value for o in op.operands if isinstance(o.owner, ConstantOp)]

    def compute() -> np.ndarray:
        return run_op(op, [s.array for s in sources])[0]

    constant = ConstantOp(value=DataAttr.lazy(type_of(op.results[0]), compute))
    copy_source(op, constant)
    Rewriter.replace_op(op, constant, safe_erase=False)
