"""Functions and modules."""

from __future__ import annotations

from collections.abc import Iterable

from xdsl.dialects.builtin import MemRefType
from xdsl.dialects.func import FuncOp
from xdsl.ir import BlockArgument, Operation

from ....ir.levels import Level, check_ops
from ..target import CpuTarget
from . import arith, control, dot, lookup, memory, narrow, tiles, words
from .function import FunctionEmitter, Handler, llvm_type

HANDLERS: dict[type[Operation], Handler] = {
    **arith.HANDLERS,
    **memory.HANDLERS,
    **dot.HANDLERS,
    **words.HANDLERS,
    **lookup.HANDLERS,
    **narrow.HANDLERS,
    **control.HANDLERS,
    **tiles.HANDLERS,
}


def emit_module(functions: Iterable[FuncOp], target: CpuTarget) -> str:
    """The LLVM IR text of kernels.

    Raises:
        TargetError: A function holds an op or a type that the emitter does not know.
    """
    declarations: set[str] = set()
    texts: list[str] = []
    for function in functions:
        check_ops(function, Level.LOOP)
        emitter = FunctionEmitter(target, HANDLERS)
        texts.append(_emit_function(emitter, function))
        declarations |= emitter.intrinsics
    head = f'target triple = "{target.triple}"\n'
    return "\n".join([head, *texts, *sorted(declarations), ""])


def _emit_function(e: FunctionEmitter, function: FuncOp) -> str:
    arguments = function.body.block.args
    for number, argument in enumerate(arguments):
        e.bind(argument, [f"%a{number}"])
    e.start_block("entry")
    for op in function.body.block.ops:
        e.emit(op)
    signature = ", ".join(_argument(a, n) for n, a in enumerate(arguments))
    entry, *rest = e.lines
    body = "\n".join([entry, *e.allocas, *rest])
    return f"define void @{function.sym_name.data}({signature}) {{\n{body}\n}}\n"


def _argument(argument: BlockArgument, number: int) -> str:
    noalias = " noalias" if isinstance(argument.type, MemRefType) else ""
    return f"{llvm_type(argument.type)}{noalias} %a{number}"
