"""The levels a module passes through, and what may stand at each.

A level is a rule for every op; passes say which level they take and give, and the manager checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation

from .errors import MlcError
from .kernel import KernelOp, YieldOp
from .module import main_function
from .op import GraphOp
from .ops.constant import ConstantOp
from .ops.control import ReturnOp
from .structure import Control, View

_LOOP_DIALECTS = frozenset(["arith", "func", "math", "scf", "tile"])


class Level(Enum):
    """Where a module is on its way from model to machine code."""

    GRAPH = "graph ops on tensors"
    KERNEL = "kernels of graph ops, constants, and views and control flow between them"
    LOOP = "loops and register tiles over flat buffers"


def check_level(module: ModuleOp, level: Level) -> None:
    """Checks the model's function against a level's rule.

    Raises:
        MlcError: Some ops do not belong there; it names them.
    """
    check_ops(main_function(module), level)


def check_ops(function: FuncOp, level: Level) -> None:
    """Checks a function against a level's rule.

    Raises:
        MlcError: Some ops do not belong there; it names them.
    """
    rule = _RULES[level]
    strangers = dict.fromkeys(op.name for op in _inside(function) if not rule(op))
    if strangers:
        raise MlcError(
            f"{', '.join(strangers)} cannot stand at the {level.name.lower()} level ({level.value})"
        )


def _inside(function: FuncOp) -> Iterator[Operation]:
    return (op for op in function.walk() if op is not function)


def _at_graph(op: Operation) -> bool:
    return isinstance(op, GraphOp | ReturnOp)


def _at_kernel(op: Operation) -> bool:
    if isinstance(op.parent_op(), KernelOp):
        return isinstance(op, GraphOp | YieldOp)
    if isinstance(op, GraphOp):
        return isinstance(op, ConstantOp) or isinstance(op.structure(), View | Control)
    return isinstance(op, KernelOp | ReturnOp)


def _at_loop(op: Operation) -> bool:
    return op.name.partition(".")[0] in _LOOP_DIALECTS


_RULES: dict[Level, Callable[[Operation], bool]] = {
    Level.GRAPH: _at_graph,
    Level.KERNEL: _at_kernel,
    Level.LOOP: _at_loop,
}
