"""Object code into this process: LLVM's linker, and the functions that every object exports."""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from .errors import ArtifactError

if TYPE_CHECKING:
    from llvmlite import binding

EXPORTS = (
    "mlc_run",
    "mlc_expand",
    "mlc_arena_size",
    "mlc_input_shapes",
    "mlc_output_shapes",
    "mlc_pool_create",
    "mlc_pool_destroy",
)
_FAMILIES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_LEVELS = {
    "x86-64-v2": "sse4.2 ssse3 popcnt",
    "x86-64-v3": "avx2 fma bmi2 f16c",
    "x86-64-v4": "avx2 fma avx512f avx512bw avx512dq avx512vl",
}
_names = itertools.count()
_lock = threading.Lock()


class Library:
    """Linked object code, alive as long as this object is.

    Raises:
        ArtifactError: The linker refuses the code, or it exports something else.
    """

    def __init__(self, objects: Sequence[bytes]):
        from llvmlite import binding

        builder = binding.JITLibraryBuilder().add_current_process()
        for data in objects:
            builder.add_object_img(data)
        for name in EXPORTS:
            builder.export_symbol(name)
        try:
            with _lock:
                self._tracker = builder.link(_jit(), f"model{next(_names)}")
        except RuntimeError as error:
            raise ArtifactError(f"the artifact's code cannot be linked: {error}") from None
        self.run = self._function("mlc_run", ctypes.c_int32, ctypes.c_void_p)
        self.expand = self._function("mlc_expand", None, ctypes.c_void_p)
        self.arena_size = self._function("mlc_arena_size", ctypes.c_int64, ctypes.c_void_p)
        shapes = (None, ctypes.c_void_p, ctypes.c_void_p)
        self.input_shapes = self._function("mlc_input_shapes", *shapes)
        self.output_shapes = self._function("mlc_output_shapes", *shapes)
        self.pool_create = self._function("mlc_pool_create", ctypes.c_void_p, ctypes.c_int32)
        self.pool_destroy = self._function("mlc_pool_destroy", None, ctypes.c_void_p)

    def _function(self, name: str, result: Any, *arguments: Any) -> Any:
        return ctypes.CFUNCTYPE(result, *arguments)(self._tracker[name])


def check_target(target: Mapping[str, Any]) -> None:
    """Refuses code that this machine cannot run.

    Raises:
        ArtifactError: The code is for another architecture, or uses instructions not found here.
    """
    import platform

    here = _FAMILIES.get(platform.machine().lower(), platform.machine())
    family = str(target.get("triple", here)).split("-")[0]
    if _FAMILIES.get(family, family) != here:
        raise ArtifactError(
            f"the artifact is for {family} and this machine is {here}: compile the model here, or "
            f'with target="cpu:{here}"'
        )
    missing = sorted(_wanted(target) - _features())
    if missing:
        raise ArtifactError(
            f"the artifact uses instructions that this CPU lacks ({', '.join(missing)}): compile "
            'the model on this machine, or for a smaller one, such as target="cpu:x86-64-v3"'
        )


def _wanted(target: Mapping[str, Any]) -> set[str]:
    listed = str(target.get("features", "")).split(",")
    level = _LEVELS.get(str(target.get("cpu", "")), "")
    return {f[1:] for f in listed if f.startswith("+")} | set(level.split())


@cache
def _features() -> frozenset[str]:
    from llvmlite import binding

    return frozenset(name for name, has in binding.get_host_cpu_features().items() if has)


@cache
def _jit() -> binding.LLJIT:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    # The C library's mathematics must be in the process before code is linked against it.
    ctypes.CDLL("libm.so.6", mode=ctypes.RTLD_GLOBAL)
    return binding.create_lljit_compiler()
