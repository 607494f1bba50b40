"""Regions take, make and give only what they have to.

    %y = "mlc.loop"(…, %w, %u) ({          %t = "mlc.transpose"(%w)
    ^body(%c, %v, %unused):          ->    %y = "mlc.loop"(…, %t) ({
      %t = "mlc.transpose"(%v)             ^body(%c, %t):
      …                                      …

A constant that is captured becomes one of the region's own, so that passes see its data. What is
the same in all iterations of a loop is computed before it. What nobody reads is neither captured
nor stacked. A branch whose condition has become known is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Region, SSAValue

from ..ir.late import mentioned
from ..ir.op import GraphOp, copy_source
from ..ir.ops.constant import ConstantOp
from ..ir.ops.control import IfOp, LoopOp, RegionOp, ReturnOp
from ..ir.ops.index import GatherElementsOp, GatherNdOp, GatherOp
from ..ir.ops.select import LateOp, late_symbols
from ..ir.ops.shape import BroadcastOp
from ..ir.structure import Special
from .contract import Pass, Promise
from .values import number

# What may fail where the loop would not have run, or is cheaper than to read it.
_STAYING = (ConstantOp, LateOp, GatherOp, GatherElementsOp, GatherNdOp, BroadcastOp)


@dataclass(frozen=True)
class TidyRegions(Pass):
    """Inner regions first, so that what does not change moves out as far as it can."""

    name = "tidy-regions"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Changes the operands of ops with regions, and the arguments of their blocks."""
        for op in reversed([op for op in module.walk() if isinstance(op, RegionOp)]):
            if isinstance(op, IfOp) and number(op.condition) is not None and not op.counts:
                _take(op.blocks[0 if number(op.condition) else 1], op)
                continue
            _own_constants(op)
            if isinstance(op, LoopOp):
                _hoist(op)
                op = _without_unread_rows(op)
            _drop_unread(op)


def _take(side: Block, op: IfOp) -> None:
    """Replaces a branch by the side that is taken."""
    place, last = op.parent, side.last_op
    assert place is not None
    assert isinstance(last, ReturnOp)
    for argument, value in zip(side.args, op.captured, strict=True):
        argument.replace_all_uses_with(value)
    results = list(last.values)
    last.detach()
    last.erase()
    for inner in list(side.ops):
        inner.detach()
        place.insert_op_before(inner, op)
    for old, new in zip(op.results, results, strict=True):
        old.replace_all_uses_with(new)
    op.detach()
    op.erase()


def _captured(op: RegionOp) -> range:
    """The numbers of captured values among the arguments of each block."""
    count = len(op.blocks[0].args)
    return range(op.carried if isinstance(op, LoopOp) else 0, count)


def _given(op: RegionOp, n: int) -> SSAValue:
    value = op.given(op.blocks[0].args[n])
    assert value is not None
    return value


def _own_constants(op: RegionOp) -> None:
    for n in _captured(op):
        constant = _given(op, n).owner
        if not isinstance(constant, ConstantOp):
            continue
        for block in op.blocks:
            if block.args[n].uses:
                block.args[n].replace_all_uses_with(_copied(constant, block))


def _copied(constant: ConstantOp, block: Block) -> SSAValue:
    copy = constant.clone()
    first = block.first_op
    assert first is not None
    block.insert_op_before(copy, first)
    return copy.result


def _hoist(op: LoopOp) -> None:
    late = {*late_symbols(op.block.walk()), op.index or ""}
    for inner in list(op.block.ops):
        if isinstance(inner, GraphOp) and _may_leave(inner, op, late):
            _move_out(inner, op)


def _may_leave(inner: GraphOp, op: LoopOp, late: set[str]) -> bool:
    """Whether an op computes the same in all iterations, and would do no harm if there are none."""
    if isinstance(inner, _STAYING) or isinstance(inner.structure(), Special):
        return False
    values = {*op.block.args[op.carried :]}
    known = all(v in values or isinstance(v.owner, ConstantOp) for v in inner.operands)
    return known and not values.isdisjoint(inner.operands) and not mentioned(inner, late)


def _move_out(inner: GraphOp, op: LoopOp) -> None:
    outside = op.parent
    assert outside is not None
    around = {a: _given(op, n) for n, a in enumerate(op.block.args) if n >= op.carried}
    for value in inner.operands:
        if isinstance(value.owner, ConstantOp):
            constant = value.owner.clone()
            outside.insert_op_before(constant, op)
            around[value] = constant.result
    moved = inner.clone(around)
    copy_source(inner, moved)
    outside.insert_op_before(moved, op)
    op.operands = (*op.operands, *moved.results)
    for old in inner.results:
        old.replace_all_uses_with(op.block.insert_arg(old.type, len(op.block.args)))
    inner.detach()
    inner.erase()


def _without_unread_rows(op: LoopOp) -> LoopOp:
    """The same loop without stacks that nobody reads."""
    unread = [n for n, r in enumerate(op.results) if n >= op.carried and not r.uses]
    last = op.block.last_op
    if not unread or last is None:
        return op
    last.operands = [v for n, v in enumerate(last.operands) if n - 1 not in unread]
    kept = [r for n, r in enumerate(op.results) if n not in unread]
    block, place = op.body.detach_block(0), op.parent
    assert place is not None
    new = LoopOp(*op.operands, regions=[Region(block)], **op.properties)
    copy_source(op, new)
    place.insert_op_before(new, op)
    for old, result in zip(kept, new.results, strict=True):
        old.replace_all_uses_with(result)
    op.body.add_block(Block())
    op.detach()
    op.erase()
    return new


def _drop_unread(op: RegionOp) -> None:
    for n in reversed(_captured(op)):
        if any(block.args[n].uses for block in op.blocks):
            continue
        first = len(op.operands) - len(op.blocks[0].args)
        op.operands = [v for k, v in enumerate(op.operands) if k != first + n]
        for block in op.blocks:
            block.erase_arg(block.args[n])
