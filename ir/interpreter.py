"""The reference interpreter: runs a graph with every op's own numpy ``reference``.

It is the oracle of the tests, the constant folder's arithmetic and ``target="reference"``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

from .errors import MlcError
from .kernel import KernelOp, YieldOp
from .module import main_function
from .op import GraphOp
from .ops.control import ReturnOp
from .symbols import bind, known_symbols
from .types import type_of

Values = Mapping[SSAValue, np.ndarray]


def interpret(module: ModuleOp, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Runs ``@main`` on ``inputs`` and returns its results.

    Raises:
        MlcError: The number of inputs is wrong, or the module holds an op of another level.
    """
    block = main_function(module).body.block
    if len(inputs) != len(block.args):
        raise MlcError(f"the model takes {len(block.args)} inputs, got {len(inputs)}")
    return run_block(block, inputs)


def run_block(
    block: Block, arguments: Sequence[np.ndarray], outside: Values | None = None
) -> list[np.ndarray]:
    """Runs a block on its arguments; it may read the values ``outside`` of it.

    Raises:
        MlcError: The block holds an op of another level, or has no end.
    """
    values = {**(outside or {}), **dict(zip(block.args, arguments, strict=True))}
    symbols = bind([type_of(a) for a in block.args], arguments)
    for op in block.ops:
        operands = [values[o] for o in op.operands]
        if isinstance(op, ReturnOp | YieldOp):
            return operands
        if not isinstance(op, GraphOp | KernelOp):
            raise MlcError(f"{op.name} is an op of neither the graph level nor the kernel level")
        with known_symbols(symbols):
            kernel = isinstance(op, KernelOp)
            results = run_block(op.block, operands) if kernel else run_op(op, operands)
        values.update(zip(op.results, results, strict=True))
        symbols.update(bind([type_of(r) for r in op.results], results))
    raise MlcError("the graph does not end in mlc.return")


def run_op(op: GraphOp, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results of one op; arrays also where numpy would give scalars."""
    with known_symbols(bind([type_of(o) for o in op.operands], operands)):
        results = op.reference(*operands)
    return [np.asarray(r) for r in (results if isinstance(results, tuple) else (results,))]
