"""Runs a module's AArch64 code in the emulator, as ``native.Native`` runs code of this machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from emulator import Emulator
from mlc.codegen.choice import Chooser, by_estimate
from mlc.codegen.cpu.build import build
from mlc.codegen.cpu.target import target_for
from mlc.ir.module import main_function
from mlc.ir.types import type_of
from xdsl.dialects.builtin import ModuleOp

_WORDS = 64


def run_emulated(
    module: ModuleOp, arrays: Sequence[np.ndarray], choose: Chooser = by_estimate
) -> list[np.ndarray]:
    """The results of a module whose sizes are all known."""
    returned = main_function(module).body.block.last_op
    types = [type_of(v) for v in (returned.operands if returned else ())]
    made = build(module, target_for("cpu:aarch64"), choose=choose)
    machine = Emulator(made.objects)
    weights = machine.reserve(made.weights_size)
    for offset, data in made.weights:
        machine.write(weights + offset, np.asarray(data()))
    outputs = [machine.reserve(_bytes(type.shape, type.dtype)) for type in types]
    symbols = machine.reserve(8 * _WORDS)
    fields = [
        _pointers(machine, [machine.place(a) for a in arrays]),
        _pointers(machine, outputs),
        symbols,
        machine.reserve(machine.call("mlc_arena_size", symbols)),
        weights,
        machine.reserve(made.expansion.size),
    ]
    frame = _pointers(machine, [*fields, 0, 0, 0])
    machine.call("mlc_expand", frame)
    code = machine.call("mlc_run", frame)
    assert code == 0
    shapes = [tuple(int(str(d)) for d in type.shape) for type in types]
    return [
        machine.array(address, shape, type.dtype)
        for address, shape, type in zip(outputs, shapes, types, strict=True)
    ]


def _pointers(machine: Emulator, addresses: Sequence[int]) -> int:
    return machine.place(np.array(addresses or [0], np.uint64))


def _bytes(shape: Sequence[object], dtype: np.dtype) -> int:
    return int(np.prod([int(str(d)) for d in shape], dtype=int)) * dtype.itemsize
