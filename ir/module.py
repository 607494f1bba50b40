"""The module that is a model: its function ``@main`` and the names of inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, IntegerAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Region

from .errors import MlcError
from .ops.control import ReturnOp

_INPUTS, _OUTPUTS, _LIMITS = "mlc.inputs", "mlc.outputs", "mlc.limits"


def model_module(
    block: Block, inputs: Sequence[str], outputs: Sequence[str], name: str = ""
) -> ModuleOp:
    """A module whose ``@main`` is ``block``, which ends in ``mlc.return``.

    ``inputs`` and ``outputs`` name the block's arguments and the returned values, in order;
    ``name`` is the model's.
    """
    returned = block.last_op
    if not isinstance(returned, ReturnOp):
        raise MlcError("the graph does not end in mlc.return")
    types = ([a.type for a in block.args], [v.type for v in returned.values])
    main = FuncOp("main", types, Region(block))
    main.attributes[_INPUTS] = ArrayAttr([StringAttr(n) for n in inputs])
    main.attributes[_OUTPUTS] = ArrayAttr([StringAttr(n) for n in outputs])
    return ModuleOp([main], sym_name=StringAttr(name) if name else None)


def main_function(module: ModuleOp) -> FuncOp:
    """The function that is the model."""
    for op in module.body.block.ops:
        if isinstance(op, FuncOp) and op.sym_name.data == "main":
            return op
    raise MlcError("the module has no function @main")


def model_name(module: ModuleOp) -> str:
    """The model's name; empty when it has none."""
    return module.sym_name.data if module.sym_name else ""


def input_names(module: ModuleOp) -> list[str]:
    """The names of ``@main``'s arguments; ``input0`` and so on where the module has none."""
    main = main_function(module)
    return _names(main, _INPUTS) or [f"input{k}" for k in range(len(main.body.block.args))]


def output_names(module: ModuleOp) -> list[str]:
    """The names of ``@main``'s results; ``output0`` and so on where the module has none."""
    main = main_function(module)
    count = len(main.function_type.outputs.data)
    return _names(main, _OUTPUTS) or [f"output{k}" for k in range(count)]


def set_symbol_limits(module: ModuleOp, limits: Mapping[str, int]) -> None:
    """Says up to which value of a symbol the model is right."""
    if limits:
        attributes = {name: IntegerAttr(limit, 64) for name, limit in limits.items()}
        main_function(module).attributes[_LIMITS] = DictionaryAttr(attributes)


def symbol_limits(module: ModuleOp) -> dict[str, int]:
    """The largest value of each symbol that has one."""
    limits = main_function(module).attributes.get(_LIMITS)
    values = limits.data if isinstance(limits, DictionaryAttr) else {}
    return {name: v.value.data for name, v in values.items() if isinstance(v, IntegerAttr)}


def _names(main: FuncOp, key: str) -> list[str]:
    names = main.attributes.get(key)
    if not isinstance(names, ArrayAttr):
        return []
    return [n.data for n in names.data if isinstance(n, StringAttr)]
