"""LLVM IR text to object code and to functions in this process."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

from llvmlite import binding

from ...ir.errors import TargetError
from .target import CpuTarget, host


def compile_object(text: str, target: CpuTarget) -> bytes:
    """The object file of LLVM IR text; the code generator alone is run, no mid-end passes.

    Raises:
        TargetError: LLVM does not accept the text.
    """
    _initialize()
    machine = binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="default"
    )
    try:
        module = binding.parse_assembly(text)
    except RuntimeError as error:
        raise TargetError(f"LLVM does not accept the code generated for it: {error}") from error
    return machine.emit_object(module)


class Library:
    """Object code linked into this process; functions are called by address."""

    def __init__(self, objects: Sequence[bytes], names: Sequence[str]):
        _initialize()
        machine = binding.Target.from_triple(host().triple).create_target_machine(jit=True)
        self._jit = binding.create_lljit_compiler(machine)
        builder = binding.JITLibraryBuilder().add_current_process()
        for code in objects:
            builder = builder.add_object_img(code)
        for name in names:
            builder = builder.export_symbol(name)
        self._tracker = builder.link(self._jit, "kernels")

    def __getitem__(self, name: str) -> Any:
        return self.function(name, None)

    def function(self, name: str, result: Any) -> Any:
        """A function with a ctypes result type."""
        return ctypes.CFUNCTYPE(result)(self._tracker[name])


@cache
def _initialize() -> None:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    # The C library's mathematics must be in the process before code is linked against it.
    ctypes.CDLL("libm.so.6", mode=ctypes.RTLD_GLOBAL)
