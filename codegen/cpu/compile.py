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
    return _machine(target).emit_object(_parsed(text))


def compile_linked(texts: Sequence[str], exported: Sequence[str], target: CpuTarget) -> bytes:
    """One object file of several texts; nothing that they define is seen but what is ``exported``.

    Raises:
        TargetError: LLVM does not accept a text.
    """
    module, *others = (_parsed(text) for text in texts)
    for other in others:
        module.link_in(other)
    for function in module.functions:
        if not function.is_declaration and function.name not in exported:
            function.linkage = "internal"
    return _machine(target).emit_object(module)


def assembly_of(text: str, target: CpuTarget) -> str:
    """The assembly of LLVM IR text.

    Raises:
        TargetError: LLVM does not accept the text.
    """
    return _machine(target).emit_assembly(_parsed(text))


def _machine(target: CpuTarget) -> binding.TargetMachine:
    _initialize()
    return binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="default"
    )


def _parsed(text: str) -> binding.ModuleRef:
    try:
        return binding.parse_assembly(text)
    except RuntimeError as error:
        raise TargetError(f"LLVM does not accept the code generated for it: {error}") from error


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
