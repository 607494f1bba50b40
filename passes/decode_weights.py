"""Decodes constants that no kernel computes on as codes, and says why.

%w = "mlc.dequantize"(%codes, %scale)          %w = "mlc.constant"()
%y = "mlc.conv"(%x, %w)                   ->   %y = "mlc.conv"(%x, %w) {codes = "decoded …"}

Who computes on codes gets a decoding of its own. The reason stands on whoever reads the weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue, Use

from ..ir.op import Add, GraphOp, Param
from ..ir.ops.quant import DequantizeOp
from .contract import Pass, Promise
from .fold_constants import FoldConstants
from .rewrite import again, rewrite
from .values import is_constant

# Whether the one reader of a decoded constant computes on its codes, and the reason.
Choice = Callable[[DequantizeOp], tuple[bool, str]]
# The attribute that holds the reason, and how that begins where they are decoded.
NOTE = "codes"
DECODED = "decoded ahead of time"


@dataclass(frozen=True)
class DecodeWeights(Pass):
    """Asks the target about each reader of each decoded constant.

    Attributes:
        choose: Says what the target computes on as codes.
    """

    name = "decode-weights"
    promise = Promise.EXACT
    choose: Choice = lambda op: (False, "")

    def apply(self, module: ModuleOp) -> None:
        """Leaves decodings of constants only where they will be part of a kernel."""
        kept = set()
        for op in list(module.walk()):
            if isinstance(op, DequantizeOp) and all(is_constant(v) for v in op.operands):
                kept |= {copy for use in list(op.result.uses) if (copy := self._kept(op, use))}

        def decoded(op: DequantizeOp, add: Add) -> SSAValue | None:
            return None if op in kept else FoldConstants(decode=True).fold(op, add)

        rewrite(module, {DequantizeOp: [decoded]})

    def _kept(self, op: DequantizeOp, use: Use) -> DequantizeOp | None:
        """A decoding for one reader, if that computes on the codes."""
        copy, reader = again(op, *op.operands), use.operation
        assert op.parent is not None
        op.parent.insert_op_after(copy, op)
        reader.operands[use.index] = copy.result
        taken, why = self.choose(copy)
        if why:
            reader.attributes[NOTE] = Param(why)
        if taken:
            return copy
        reader.operands[use.index] = op.result
        copy.detach()
        copy.erase()
        return None


def note_of(ops: list[GraphOp]) -> str:
    """Why weights that ``ops`` read were decoded ahead of time, or are computed on as codes."""
    notes = [op.attributes.get(NOTE) for op in ops]
    return "; ".join(dict.fromkeys(str(n.data) for n in notes if isinstance(n, Param)))
