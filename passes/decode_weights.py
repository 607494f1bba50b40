"""Decodes constants that no kernel computes on as codes, and says why.

%w = "mlc.dequantize"(%codes, %scale)          %w = "mlc.constant"() {origin = [codes, scale]}
%y = "mlc.conv"(%x, %w)                   ->   %y = "mlc.conv"(%x, %w) {codes = "decoded …"}

Who computes on codes gets a decoding of its own. The reason stands on whoever reads the weight. The
constant knows what it was decoded from: that may be stored, and decoded when it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.dialects.builtin import ArrayAttr, ModuleOp
from xdsl.ir import SSAValue, Use

from ..ir.data import DataAttr
from ..ir.op import Add, GraphOp, Param
from ..ir.ops.constant import ConstantOp
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
# What is added to the reason where the artifact holds the codes nevertheless.
STORED = "stored as codes"
_ORIGIN, _BLOCKS = "origin", "blocks"


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
            return None if op in kept else _decoded(op, add)

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


def _decoded(op: DequantizeOp, add: Add) -> SSAValue | None:
    """The constant that a decoding gives."""
    result = FoldConstants(decode=True).fold(op, add)
    if result is not None:
        origin = [v.owner.value for v in op.operands if isinstance(v.owner, ConstantOp)]
        assert isinstance(result.owner, ConstantOp)
        result.owner.attributes[_ORIGIN] = ArrayAttr(origin)
        result.owner.attributes[_BLOCKS] = Param(tuple(op.known_blocks()))
    return result


@dataclass(frozen=True)
class Origin:
    """What a constant was decoded from.

    Attributes:
        codes: In the shape of the constant.
        scale: A number, or one for each block.
        zero: Likewise, in the dtype of the codes; None where it is 0.
        blocks: Of each dim of the scale, the elements there, and those of a block.
    """

    codes: DataAttr
    scale: DataAttr
    zero: DataAttr | None
    blocks: tuple[tuple[int, int], ...]


def origin_of(constant: ConstantOp) -> Origin | None:
    """What a constant was decoded from, if it was."""
    origin, blocks = (constant.attributes.get(name) for name in (_ORIGIN, _BLOCKS))
    if not isinstance(origin, ArrayAttr) or not isinstance(blocks, Param):
        return None
    codes, scale, zero = (*origin.data, None)[:3]
    return Origin(codes, scale, zero, blocks.data)


def note_of(ops: list[GraphOp]) -> str:
    """Why weights that ``ops`` read were decoded ahead of time, or are computed on as codes."""
    notes = [op.attributes.get(NOTE) for op in ops]
    return "; ".join(dict.fromkeys(str(n.data) for n in notes if isinstance(n, Param)))
