"""Triton source to cubins, on a machine without a GPU: ``triton.compile`` for a named target."""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from types import ModuleType
from typing import Any

from ...ir.errors import TargetError
from .cubin import spilled_bytes
from .frame import Code
from .target import PORTABLE, Architecture

_FILE = "<mlc kernels>"
# Of drivers from CUDA 12.0 on.
_PTX_VERSION = 80
_DRIVER_TYPES = {8: 10, 9: 8, 10: 9}


@dataclass(frozen=True)
class Box:
    """What is copied at once, in the driver's terms.

    Attributes:
        sizes: Elements along each dim, outermost first.
        type: Their ``CUtensorMapDataType``.
        swizzle: The ``CUtensorMapSwizzle`` of their order in shared memory.
    """

    sizes: tuple[int, ...]
    type: int
    swizzle: int


@dataclass(frozen=True)
class Binary:
    """A kernel compiled for one architecture.

    Attributes:
        cubin: The object that a driver loads.
        ptx: Its assembly.
        entry: The name of the function in it.
        num_warps: How many warps run a program.
        shared: Bytes of shared memory it asks for.
        global_scratch: Bytes, and their alignment, that each program needs in global memory.
        spilled: Bytes of memory that each thread uses for want of registers.
        boxes: How what each descriptor tells lies in shared memory.
    """

    cubin: bytes
    ptx: str
    entry: str
    num_warps: int
    shared: int
    global_scratch: tuple[int, int]
    spilled: int
    boxes: tuple[Box, ...] = ()


class Compiler:
    """Compiles the kernels of one source.

    Raises:
        TargetError: Triton is not installed.
    """

    def __init__(self, source: str):
        with _environment():
            _triton()
        self._functions = load_source(source)

    def compile(self, code: Code, architecture: Architecture) -> Binary:
        """The binary of a kernel; fewer steps are loaded ahead where shared memory is short.

        Raises:
            TargetError: Triton does not accept it, or it needs more than the GPU has.
        """
        with _environment():
            binary = _binary_of(self._made(code, architecture))
        if binary.shared <= architecture.shared:
            return binary
        if code.num_stages > 1:
            return self.compile(replace(code, num_stages=code.num_stages - 1), architecture)
        raise TargetError(
            f"kernel {code.name} takes {binary.shared} bytes of shared memory, "
            f"{architecture.name} has {architecture.shared}"
        )

    def _made(self, code: Code, architecture: Architecture) -> Any:
        triton = _triton()
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        divisible = {(n,): [["tt.divisibility", 16]] for n in pointers(code)}
        signature = {**code.signature, **{d.name: d.type for d in code.descriptors}}
        source = ASTSource(self._functions[code.name], signature, {}, divisible)
        options = {
            "num_warps": code.num_warps,
            "num_stages": code.num_stages,
            "enable_fp_fusion": True,
            **({"ptx_version": _PTX_VERSION} if architecture is PORTABLE else {}),
        }
        try:
            return triton.compile(
                source, target=GPUTarget("cuda", architecture.capability, 32), options=options
            )
        except Exception as error:  # Triton raises whatever its stages do
            raise TargetError(
                f"Triton does not compile kernel {code.name} for {architecture.name}: {error}"
            ) from error


def _binary_of(made: Any) -> Binary:
    """What matters of Triton's compiled kernel."""
    meta = made.metadata
    scratch = getattr(meta, "global_scratch_size", 0), getattr(meta, "global_scratch_align", 1)
    return Binary(
        made.asm["cubin"],
        made.asm["ptx"],
        meta.name,
        meta.num_warps,
        meta.shared,
        scratch,
        spilled_bytes(made.asm["cubin"]),
        tuple(_box_of(told) for told in getattr(meta, "tensordesc_meta", None) or ()),
    )


def _box_of(told: Mapping[str, Any]) -> Box:
    """A box as Triton tells it, which counts some types otherwise than the driver."""
    type: int = told["elem_type"]
    return Box(tuple(told["block_size"]), _DRIVER_TYPES.get(type, type), told["swizzle"])


def pointers(code: Code) -> Sequence[int]:
    """The numbers of the parameters that point to memory at a multiple of 16 bytes."""
    owners = (n for n in count() for _ in code.packed.get(n, (None,)))
    types = zip(owners, code.signature.values(), strict=False)
    return [
        place
        for place, (owner, type) in enumerate(types)
        if type.startswith("*") and owner not in code.unaligned
    ]


def load_source(source: str) -> dict[str, Any]:
    """The functions of a source, which Triton can read again line by line."""
    lines = source.splitlines(keepends=True)
    linecache.cache[_FILE] = (len(source), None, lines, _FILE)
    names: dict[str, Any] = {"__name__": "mlc_kernels"}
    exec(compile(source, _FILE, "exec"), names)
    return names


def triton_version() -> str:
    """The version of Triton that compiles here."""
    return str(_triton().__version__)


def _triton() -> ModuleType:
    try:
        import triton
    except ImportError:
        raise TargetError(
            "compiling for CUDA needs Triton, which is not installed: pip install 'mlc[cuda]'"
        ) from None
    return triton


@contextmanager
def _environment() -> Iterator[None]:
    """Leaves out line tables, which hold paths and triple the size."""
    name = "TRITON_DISABLE_LINE_INFO"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
