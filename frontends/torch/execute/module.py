"""The way out: a module at the graph level to a torch module whose graph calls torch functions.

Every op is run by the function of torch that does the most of it, so that torch's own speed shows:
biases join the layer before them, convolutions read channels-last memory as it lies. An op that
torch has no function for is run by its numpy ``reference``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import fx
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from ....ir.errors import MlcError, Unsupported, UnsupportedError
from ....ir.module import input_names, main_function, model_name
from ....ir.op import GraphOp, source_of
from ....ir.ops.constant import ConstantOp
from ....ir.ops.control import ReturnOp
from ....ir.types import DTYPE_NAMES, type_of
from ..tensors import TORCH_DTYPES
from . import families as _families  # noqa: F401
from .recorder import Recorder
from .reference import by_reference
from .registry import Call, Results, executor_of

# Where a module's ``meta`` lists the ops that numpy runs, each with the node it stems from.
BY_REFERENCE = "by_reference"


def torch_module(module: ModuleOp, trains: bool = False) -> fx.GraphModule:
    """A torch module that computes what ``module`` does: tensors in, a tuple of tensors out.

    Run the passes first: each op is one call of torch, and a whole attention is a faster one than
    its parts. Weights share the memory of the module's constants, except those of convolutions and
    what was stored quantized. Symbolic sizes are read from the inputs at each call. The result's
    ``meta[BY_REFERENCE]`` lists the ops that run in numpy, slowly and without gradients. With
    ``trains`` gradients pass straight through what rounds.

    Raises:
        UnsupportedError: Torch has no tensors of some dtype; it lists all such ops.
        MlcError: The module holds an op of another level.
    """
    main = main_function(module)
    _check_dtypes(list(main.body.block.ops))
    recorder = Recorder(trains)
    for argument, name in zip(main.body.block.args, input_names(module), strict=True):
        recorder.input(argument, re.sub(r"\W", "_", name))
    for op in main.body.block.ops:
        _record(recorder, op)
    made = recorder.finish(re.sub(r"\W", "_", model_name(module)) or "Model")
    made.meta[BY_REFERENCE] = recorder.by_reference
    return made


def _record(recorder: Recorder, op: Operation) -> None:
    if isinstance(op, ReturnOp):
        recorder.output(op.values)
    elif isinstance(op, GraphOp):
        if not isinstance(op, ConstantOp):
            recorder.bind(op.results, _run(Call(op, recorder)))
    else:
        raise MlcError(f"{op.name} is no op of the graph level: torch runs graphs only")


def _run(call: Call) -> Results:
    """What torch's function gives, or the numpy reference where it has none."""
    execute = executor_of(type(call.op))
    made = execute(call) if execute and call.is_plain else None
    return by_reference(call) if made is None else made


def _check_dtypes(ops: Sequence[Operation]) -> None:
    """Values must be tensors; constants need not, since what decodes them is done beforehand."""
    items = [
        Unsupported(source_of(op), op.name, f"torch has no tensors of {DTYPE_NAMES[dtype]}")
        for op in ops
        if isinstance(op, GraphOp) and not isinstance(op, ConstantOp)
        for dtype in {type_of(r).dtype for r in op.results}
        if dtype not in TORCH_DTYPES
    ]
    if items:
        raise UnsupportedError(items)
