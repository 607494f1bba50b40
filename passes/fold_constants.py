"""Computes ops whose operands are all constants, with the op's own reference.

    %a = "mlc.constant"() <{value = [1.0]}>      %c = "mlc.constant"() <{value = [3.0]}>
    %b = "mlc.constant"() <{value = [2.0]}>  ->
    %c = "mlc.add"(%a, %b)

A large result much larger than its operands is left alone, and so is a repetition, so that the
artifact does not grow; so is a decoded weight, whose code is the point. Results are lazy, so
nothing large is computed before it is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.data import DataAttr
from ..ir.dims import static_size
from ..ir.interpreter import run_op
from ..ir.op import Add, GraphOp, Param
from ..ir.ops.constant import ConstantOp
from ..ir.ops.elementwise import CastOp
from ..ir.ops.quant import DequantizeOp
from ..ir.ops.shape import BroadcastOp
from ..ir.types import bit_width, is_float, is_integer, type_of
from .contract import Pass, Promise
from .rewrite import rewrite

# Fewer codes are no memory to speak of.
_FEWEST = 1024
_BYTE = 8


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Folds in program order, so that chains of constants collapse in one walk.

    Attributes:
        growth: The most elements a folded result may have, as a multiple of its operands'.
        always: Results up to this many elements are always folded.
        repeats: The same for repetitions.
        decode: Whether encoded weights are decoded, for targets that do not compute on them.
    """

    name = "fold-constants"
    promise = Promise.EXACT
    growth: int = 2
    always: int = 1 << 19
    repeats: int = 4096
    decode: bool = False

    def apply(self, module: ModuleOp) -> None:
        """Replaces foldable ops by constants."""
        rewrite(module, {GraphOp: [self.fold]})

    def fold(self, op: GraphOp, add: Add) -> SSAValue | None:
        """The constant that ``op`` computes, as a rule of ``rewrite``."""
        if isinstance(op, ConstantOp) or len(op.results) != 1 or op.regions:
            return None
        if not self.decode and (isinstance(op, DequantizeOp) or widens_codes(op)):
            return None
        sources = [o.owner.value for o in op.operands if isinstance(o.owner, ConstantOp)]
        if len(sources) != len(op.operands) or not self._affordable(op) or _names_symbols(op):
            return None

        def compute() -> np.ndarray:
            return run_op(op, [s.array for s in sources])[0]

        return add(ConstantOp(value=DataAttr.lazy(type_of(op.results[0]), compute)))

    def _affordable(self, op: GraphOp) -> bool:
        size = static_size(type_of(op.results[0]).shape)
        given = max((static_size(type_of(o).shape) or 0 for o in op.operands), default=0)
        if size is None or isinstance(op, BroadcastOp):
            return size is not None and size <= self.repeats
        return size <= max(self.always, self.growth * given)


def widens_codes(op: GraphOp) -> bool:
    """Whether an op makes floats of a stored matrix of integers of at most a byte."""
    if not isinstance(op, CastOp) or not isinstance(op.x.owner, ConstantOp):
        return False
    type, size = type_of(op.x), static_size(type_of(op.x).shape) or 0
    few = is_integer(type.dtype) and bit_width(type.dtype) <= _BYTE
    return few and is_float(op.to) and type.rank > 1 and size >= _FEWEST


def _names_symbols(op: GraphOp) -> bool:
    """Whether a parameter is a size known only at run time: text among or in place of numbers."""
    values = {name: p.data for name, p in op.properties.items() if isinstance(p, Param)}
    lists = [v for v in values.values() if isinstance(v, tuple)]
    return isinstance(values.get("k"), str) or any(isinstance(d, str) for v in lists for d in v)


def placed(op: GraphOp, add: Add) -> SSAValue:
    """Places a new op, or the constant that it computes, for rules that go on with the result."""
    constant = FoldConstants().fold(op, add)
    if constant is None:
        return add(op)
    op.drop_all_references()
    return constant
