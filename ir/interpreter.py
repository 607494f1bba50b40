"""The reference interpreter: runs a graph with every op's own numpy ``reference``.

It is the oracle of the tests, the constant folder's arithmetic and ``target="reference"``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

from .errors import MlcError
from .module import main_function
from .op import GraphOp
from .ops.control import ReturnOp


def interpret(module: ModuleOp, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Runs ``@main`` on ``inputs`` and returns its results.

    Raises:
        MlcError: The number of inputs is wrong, or the module holds an op of another level.
    """
    block = main_function(module).body.block
    if len(inputs) != len(block.args):
        raise MlcError(f"the model takes {len(block.args)} inputs, got {len(inputs)}")
    return _run_block(block, dict(zip(block.args, inputs, strict=True)))


def _run_block(block: Block, values: dict[SSAValue, np.ndarray]) -> list[np.ndarray]:
    for op in block.ops:
        operands = [values[o] for o in op.operands]
        if isinstance(op, ReturnOp):
            return operands
        if not isinstance(op, GraphOp):
            raise MlcError(f"{op.name} is not an op of the graph level")
        values.update(zip(op.results, run_op(op, operands), strict=True))
    raise MlcError("the graph does not end in mlc.return")


def run_op(op: GraphOp, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results of one op; arrays also where numpy would give scalars."""
    results = op.reference(*operands)
    return [np.asarray(r) for r in (results if isinstance(results, tuple) else (results,))]
