"""Functions of one byte become tables of 256 entries.

%a = "mlc.dequantize"(%x, %s, %z)
%b = "mlc.erf"(%a)                   ->   %y = "mlc.gather"(table, %x)
%y = "mlc.quantize"(%b, %t, %u)

Only what costs more than a look into a table is replaced: sums and products alone are not, unless
they change no code, as scales that a quantized division by a number takes up. The table is what
the ops themselves give for all codes, so nothing is rounded in another way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from ..ir.op import GraphOp, copy_source
from ..ir.ops import elementwise as e
from ..ir.ops.constant import ConstantOp
from ..ir.ops.index import GatherOp
from ..ir.ops.quant import DequantizeOp, QuantizeOp
from ..ir.ops.shape import ReshapeOp
from ..ir.types import DTYPES, type_of
from .contract import Pass, Promise
from .values import constant

_BYTE = DTYPES["ui8"]
_CODES = np.arange(256).astype(_BYTE)
_CHEAP = (
    *(e.AddOp, e.SubOp, e.MulOp, e.MaxOp, e.MinOp, e.NegOp, e.AbsOp, e.ReluOp),
    *(e.CastOp, e.SelectOp, e.IsnanOp, DequantizeOp, QuantizeOp, ReshapeOp),
)


@dataclass(frozen=True)
class Tabulate(Pass):
    """From the last op to the first, so that a table spans as much as it can."""

    name = "tabulate"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Replaces quantizations of functions of one byte."""
        for op in reversed(list(module.walk())):
            if isinstance(op, QuantizeOp) and type_of(op.result).dtype == _BYTE:
                _replace(op)


def _replace(op: QuantizeOp) -> None:
    chain = _chain(op)
    if chain is None:
        return
    entries = _entries(op, chain.source)
    new: list[GraphOp] = []
    if not np.array_equal(entries, _CODES):
        if all(isinstance(o, _CHEAP) for o in chain.ops):
            return
        table = ConstantOp.of(entries)
        new = [table, GatherOp(table.results[0], chain.source, axis=0)]
    value = new[-1].results[0] if new else chain.source
    if value.type != op.result.type:
        new.append(ReshapeOp.to(value, type_of(op.result).shape))
        value = new[-1].results[0]
    for added in new:
        copy_source(op, added)
    Rewriter.replace_op(op, new, [value])


@dataclass(frozen=True)
class _Chain:
    """What is computed between a byte and its function."""

    source: SSAValue
    ops: tuple[GraphOp, ...]


def _chain(op: QuantizeOp) -> _Chain | None:
    """The ops from the one byte that ``op`` depends on; None where it is no function of one."""
    size = type_of(op.result).size
    bytes: dict[SSAValue, None] = {}
    ops: dict[GraphOp, None] = {}
    waiting: list[SSAValue] = [op.result]
    while True:
        while waiting:
            value = waiting.pop()
            inner = value.owner
            if constant(value) is not None and type_of(value).size == 1:
                continue
            if type_of(value).size != size or not isinstance(inner, GraphOp):
                return None
            if not _is_plain(inner):
                return None
            if inner not in ops:
                ops[inner] = None
                bytes.pop(inner.results[0], None)
                code = inner.operands[0]
                encoded = isinstance(inner, DequantizeOp) and type_of(code).dtype == _BYTE
                if encoded and type_of(code).size == size and code.owner not in ops:
                    bytes[code] = None
                else:
                    waiting += inner.operands
        if len(bytes) == 1:
            return _Chain(next(iter(bytes)), tuple(ops))
        last = _last(bytes)
        if last is None:
            return None
        waiting.append(last)


def _last(values: dict[SSAValue, None]) -> SSAValue | None:
    """The value that is computed last; None where all are given."""
    made = {v.owner: v for v in values if isinstance(v.owner, Operation)}
    block = next(iter(made)).parent if made else None
    ordered = [made[op] for op in block.ops if op in made] if block else []
    return ordered[-1] if ordered else None


def _is_plain(op: GraphOp) -> bool:
    """Whether an op is elementwise, with one scale for all."""
    if isinstance(op, QuantizeOp | DequantizeOp):
        return type_of(op.scale).rank == 0
    return isinstance(op, e.ElementwiseOp | ReshapeOp)


def _entries(op: QuantizeOp, source: SSAValue) -> np.ndarray:
    """The function of every byte."""
    known: dict[SSAValue, np.ndarray] = {source: _CODES}

    def value(v: SSAValue) -> np.ndarray:
        if v not in known:
            data = constant(v)
            inner = v.owner
            if data is not None:
                known[v] = data.reshape(())
            elif isinstance(inner, ReshapeOp):
                known[v] = value(inner.x)
            else:
                assert isinstance(inner, GraphOp)
                known[v] = np.asarray(inner.reference(*(value(o) for o in inner.operands)))
        return known[v]

    return value(op.result)
