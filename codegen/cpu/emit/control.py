"""Structured control flow as labels, branches and phi nodes."""

from __future__ import annotations

from typing import Any

from xdsl.dialects import func, scf
from xdsl.ir import Block, Operation, SSAValue

from .function import FunctionEmitter, Handler, Registers


def emit_for(e: FunctionEmitter, op: Any) -> None:
    """``for (i = lb; i < ub; i += step)`` with the test at the top."""
    before = e.label
    head, body, done = e.new_labels("head", "body", "done")
    block = op.body.block
    index, following = e.fresh(), e.fresh()
    carried = [[e.fresh() for _ in e.registers(a)] for a in op.iter_args]
    e.lines.append(f"  br label %{head}")
    e.start_block(head)
    place = len(e.lines)
    test = e.define(f"icmp slt i64 {index}, {e.register(op.ub)}")
    e.lines.append(f"  br i1 {test}, label %{body}, label %{done}")
    e.start_block(body)
    e.bind(block.args[0], [index])
    for argument, registers in zip(block.args[1:], carried, strict=True):
        e.bind(argument, registers)
    yielded = _emit_block(e, block)
    e.lines.append(f"  {following} = add i64 {index}, {e.register(op.step)}")
    phis = [_phi(index, "i64", e.register(op.lb), before, following, e.label)]
    for initial, held, last in zip(op.iter_args, carried, yielded, strict=True):
        phis += _phis(e, initial, held, before, last, e.label)
    e.lines[place:place] = phis
    e.lines.append(f"  br label %{head}")
    e.start_block(done)
    for result, registers in zip(op.results, carried, strict=True):
        e.bind(result, registers)


def emit_while(e: FunctionEmitter, op: Any) -> None:
    """The test, which may compute, is at the top; what it passes on is what the loop gives."""
    before = e.label
    head, body, done = e.new_labels("test", "body", "done")
    test, block = op.before_region.block, op.after_region.block
    carried = [[e.fresh() for _ in e.registers(a)] for a in op.arguments]
    e.lines.append(f"  br label %{head}")
    e.start_block(head)
    place = len(e.lines)
    for argument, registers in zip(test.args, carried, strict=True):
        e.bind(argument, registers)
    condition, *passed = _emit_block(e, test)
    e.lines.append(f"  br i1 {condition[0]}, label %{body}, label %{done}")
    e.start_block(body)
    for argument, registers in zip(block.args, passed, strict=True):
        e.bind(argument, registers)
    yielded = _emit_block(e, block)
    phis = [
        phi
        for initial, held, last in zip(op.arguments, carried, yielded, strict=True)
        for phi in _phis(e, initial, held, before, last, e.label)
    ]
    e.lines[place:place] = phis
    e.lines.append(f"  br label %{head}")
    e.start_block(done)
    for result, registers in zip(op.results, passed, strict=True):
        e.bind(result, registers)


def emit_if(e: FunctionEmitter, op: Any) -> None:
    """Two branches whose yields meet in phi nodes."""
    then, other, done = e.new_labels("then", "else", "join")
    e.lines.append(f"  br i1 {e.register(op.cond)}, label %{then}, label %{other}")
    sides: list[tuple[list[Registers], str]] = []
    for label, region in ((then, op.true_region), (other, op.false_region)):
        e.start_block(label)
        yielded = _emit_block(e, region.block) if region.blocks else []
        sides.append((yielded, e.label))
        e.lines.append(f"  br label %{done}")
    e.start_block(done)
    (left, from_left), (right, from_right) = sides
    for result, a, b in zip(op.results, left, right, strict=True):
        held = [e.fresh() for _ in a]
        rows = zip(held, e.pieces(result.type), a, b, strict=True)
        e.lines += [_phi(h, t, x, from_left, y, from_right) for h, t, x, y in rows]
        e.bind(result, held)


def emit_return(e: FunctionEmitter, op: Operation) -> None:
    """The end of a kernel."""
    e.lines.append("  ret void")


def _emit_block(e: FunctionEmitter, block: Block) -> list[Registers]:
    """Writes a block's ops; gives the registers of what it yields."""
    for op in block.ops:
        if isinstance(op, scf.YieldOp | scf.ConditionOp):
            return [e.registers(v) for v in op.operands]
        e.emit(op)
    return []


def _phis(
    e: FunctionEmitter,
    initial: SSAValue,
    held: Registers,
    before: str,
    last: Registers,
    after: str,
) -> list[str]:
    rows = zip(held, e.pieces(initial.type), e.registers(initial), last, strict=True)
    return [_phi(h, t, first, before, then, after) for h, t, first, then in rows]


def _phi(register: str, type: str, a: str, from_a: str, b: str, from_b: str) -> str:
    return f"  {register} = phi {type} [ {a}, %{from_a} ], [ {b}, %{from_b} ]"


HANDLERS: dict[type[Operation], Handler] = {
    scf.ForOp: emit_for,
    scf.WhileOp: emit_while,
    scf.IfOp: emit_if,
    func.ReturnOp: emit_return,
}
