"""Moves transposes towards the results, through ops that do not care about the order of dims.

    %a = "mlc.transpose"(%x) <{perm = [0, 3, 1, 2]}>        %b = "mlc.relu"(%x)
    %b = "mlc.relu"(%a)                               ->    %c = "mlc.transpose"(%b) <{perm = …}>

Importers put transposes around every op that is channels-last here and channels-first in the
user's model. Sunk, the transpose after one such op meets the transpose before the next, and both
vanish (see canonicalize): the whole network is channels-last without a layout pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.op import GraphOp, copy_source
from ..ir.ops.constant import ConstantOp
from ..ir.ops.elementwise import ElementwiseOp
from ..ir.ops.quant import ScaledOp
from ..ir.ops.reduce import ReduceOp
from ..ir.ops.resample import ResampleOp
from ..ir.ops.shape import ConcatOp, PadOp, ReshapeOp, SliceOp, TransposeOp, param_dims
from ..ir.types import type_of
from .contract import Pass, Promise
from .dim_groups import dim_groups

Perm = tuple[int, ...]


@dataclass(frozen=True)
class SinkTransposes(Pass):
    """One walk in program order moves every transpose as far as it goes."""

    name = "sink-transposes"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Sinks; what is left unused is dead code."""
        for op in list(module.walk()):
            if isinstance(op, GraphOp) and op.operands:
                _Sink(op).run()


class _Sink:
    """Rewrites one op to work on untransposed operands, and transposes its result instead."""

    def __init__(self, op: GraphOp):
        self.op = op

    def run(self) -> None:
        for kind, rule in _RULES.items():
            if isinstance(self.op, kind):
                made = rule(self)
                if made is not None:
                    self.op.results[0].replace_all_uses_with(made)
                return

    def add(self, op: GraphOp) -> SSAValue:
        copy_source(self.op, op)
        block = self.op.parent
        assert block is not None
        block.insert_op_before(op, self.op)
        return op.results[0]

    def transposed(self, value: SSAValue, perm: Perm) -> SSAValue:
        return self.add(TransposeOp(value, perm=perm))

    def elementwise(self) -> SSAValue | None:
        rank = type_of(self.op.results[0]).rank
        perm = next((p for v in self.op.operands if (p := _perm(v)) and len(p) == rank), None)
        if perm is None or not all(_cheap(v, perm) for v in self.op.operands):
            return None
        operands = [self._straight(v, perm) for v in self.op.operands]
        return self.transposed(self._again(operands), perm)

    def _straight(self, value: SSAValue, perm: Perm) -> SSAValue:
        """An operand in the order of dims before ``perm``."""
        if _perm(value) == perm:
            return value.owner.operands[0]  # pyright: ignore[reportAttributeAccessIssue]
        type = type_of(value)
        if type.size == 1:
            return value
        shape = (1,) * (len(perm) - type.rank) + type.shape
        if len(shape) != type.rank:
            value = self.add(ReshapeOp.to(value, shape))
        return self.transposed(value, _inverse(perm))

    def _again(self, operands: Sequence[SSAValue], **params: object) -> SSAValue:
        """The same op on other operands, with some parameters changed."""
        kept = {k: v for k, v in self.op.properties.items() if k not in params}
        return self.add(type(self.op)(*operands, **kept, **params))

    def scaled(self) -> SSAValue | None:
        """Quantization: scales by dim, and the sizes of blocks, turn with the dims."""
        x, *scales = self.op.operands
        perm = _perm(x)
        if perm is None:
            return None
        assert isinstance(self.op, ScaledOp)
        straight = [self._straight(v, perm) if type_of(v).rank else v for v in scales]
        blocks = self.op.blocks and _moved(self.op.blocks, perm)
        changed = {"blocks": blocks} if blocks else {}
        return self.transposed(self._again([self._straight(x, perm), *straight], **changed), perm)

    def reduce(self) -> SSAValue | None:
        perm = _perm(self.op.operands[0])
        if perm is None:
            return None
        assert isinstance(self.op, ReduceOp)
        axes = [perm[a] for a in self.op.axes]
        source = self.op.operands[0].owner.operands[0]  # pyright: ignore[reportAttributeAccessIssue]
        result = self._again([source], axes=tuple(sorted(axes)))
        if self.op.keepdims:
            return self.transposed(result, perm)
        kept = [p for p in perm if p not in axes]
        return self.transposed(result, tuple(sorted(kept).index(p) for p in kept))

    def concat(self) -> SSAValue | None:
        perms = {_perm(v) for v in self.op.operands}
        (perm, *others) = perms
        if others or perm is None:
            return None
        assert isinstance(self.op, ConcatOp)
        sources = [v.owner.operands[0] for v in self.op.operands]  # pyright: ignore[reportAttributeAccessIssue]
        return self.transposed(self._again(sources, axis=perm[self.op.axis]), perm)

    def slice(self) -> SSAValue | None:
        perm = _perm(self.op.operands[0])
        if perm is None:
            return None
        assert isinstance(self.op, SliceOp)
        moved = {n: _moved(getattr(self.op, n), perm) for n in ("starts", "stops", "steps")}
        source = self.op.operands[0].owner.operands[0]  # pyright: ignore[reportAttributeAccessIssue]
        return self.transposed(self._again([source], **moved), perm)

    def resample(self) -> SSAValue | None:
        perm = _perm(self.op.operands[0])
        if perm is None:
            return None
        assert isinstance(self.op, ResampleOp)
        source = self.op.operands[0].owner.operands[0]  # pyright: ignore[reportAttributeAccessIssue]
        moved = self._again([source], axes=tuple(perm[a] for a in self.op.axes))
        return self.transposed(moved, perm)

    def pad(self) -> SSAValue | None:
        perm = _perm(self.op.operands[0])
        if perm is None:
            return None
        assert isinstance(self.op, PadOp)
        rank = len(perm)
        pads = _moved(self.op.pads[:rank], perm) + _moved(self.op.pads[rank:], perm)
        source = self.op.operands[0].owner.operands[0]  # pyright: ignore[reportAttributeAccessIssue]
        return self.transposed(self._again([source, *self.op.operands[1:]], pads=pads), perm)

    def reshape(self) -> SSAValue | None:
        """Where dims are merged or split that lie side by side before the transpose too."""
        perm = _perm(self.op.operands[0])
        if perm is None:
            return None
        assert isinstance(self.op, ReshapeOp)
        groups = dim_groups(type_of(self.op.operands[0]).shape, param_dims(self.op.shape))
        if groups is None or not all(_side_by_side(perm, ins) for ins, _ in groups):
            return None
        order = sorted((g for g in groups if g[0]), key=lambda g: perm[g[0][0]])
        if len(order) != len(groups):
            return None
        shape = param_dims(self.op.shape)
        places = [o for _, outs in order for o in outs]
        source = self.op.operands[0].owner.operands[0]  # pyright: ignore[reportAttributeAccessIssue]
        flat = self.add(ReshapeOp.to(source, tuple(shape[o] for o in places)))
        return self.transposed(flat, _inverse(tuple(places)))


_RULES: dict[type[GraphOp], Callable[[_Sink], SSAValue | None]] = {
    ElementwiseOp: _Sink.elementwise,
    ReduceOp: _Sink.reduce,
    ScaledOp: _Sink.scaled,
    ConcatOp: _Sink.concat,
    SliceOp: _Sink.slice,
    PadOp: _Sink.pad,
    ResampleOp: _Sink.resample,
    ReshapeOp: _Sink.reshape,
}


def _perm(value: SSAValue) -> Perm | None:
    return value.owner.perm if isinstance(value.owner, TransposeOp) else None


def _cheap(value: SSAValue, perm: Perm) -> bool:
    """Whether an operand comes without its transpose at no cost: only dims of size 1 would move."""
    if _perm(value) == perm or isinstance(value.owner, ConstantOp):
        return True
    shape = (1,) * (len(perm) - type_of(value).rank) + type_of(value).shape
    moved = [k for k in _inverse(perm) if shape[k] != 1]
    return moved == sorted(moved)


def _inverse(perm: Perm) -> Perm:
    return tuple(perm.index(k) for k in range(len(perm)))


def _moved(values: Sequence[object], perm: Perm) -> tuple[object, ...]:
    """Per-dim parameters in the order of dims before ``perm``."""
    inverse = _inverse(perm)
    return tuple(values[inverse[k]] for k in range(len(perm)))


def _side_by_side(perm: Perm, dims: list[int]) -> bool:
    return all(perm[b] == perm[a] + 1 for a, b in pairwise(dims))
