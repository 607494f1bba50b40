"""What a module takes and gives, in the runtime's words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.dims import Shape, symbols_of
from ..ir.module import (
    input_names,
    main_function,
    model_name,
    output_names,
    symbol_limits,
)
from ..ir.types import type_of
from ..runtime import Signature, Symbol, TensorSpec


def signature_of(module: ModuleOp, symbols: Sequence[tuple[str, bool]] | None = None) -> Signature:
    """The signature of a module at the graph level.

    Args:
        module: The model.
        symbols: Name of each symbol, and whether it is known only after the run, in the order of
            native code. None: the inputs' symbols, then the others of the outputs, which are late.
    """
    block = main_function(module).body.block
    returned = block.last_op
    results = returned.operands if returned else ()
    if symbols is None:
        symbols = _symbols(block.args, results)
    limits = symbol_limits(module)
    return Signature(
        _specs(input_names(module), block.args),
        _specs(output_names(module), results),
        [Symbol(name, late, max=limits.get(name)) for name, late in symbols],
        model_name(module),
    )


def _specs(names: Sequence[str], values: Iterable[SSAValue]) -> list[TensorSpec]:
    types = [type_of(v) for v in values]
    return [
        TensorSpec(name, type.dtype, _shape(type.shape))
        for name, type in zip(names, types, strict=True)
    ]


def _shape(shape: Shape) -> tuple[int | str, ...]:
    return tuple(d if isinstance(d, int) else str(d) for d in shape)


def _symbols(inputs: Iterable[SSAValue], outputs: Iterable[SSAValue]) -> list[tuple[str, bool]]:
    known = list(dict.fromkeys(_names(inputs)))
    late = dict.fromkeys(n for n in _names(outputs) if n not in known)
    return [(n, False) for n in known] + [(n, True) for n in late]


def _names(values: Iterable[SSAValue]) -> list[str]:
    return [n for v in values for d in type_of(v).shape for n in symbols_of(d)]
