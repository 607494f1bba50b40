"""NVIDIA's cuBLASLt by ctypes, where it is installed: the functions that are used, each checked.

It is looked for where the system's linker does, and in the packages of NVIDIA that pip installs.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DeviceError
from .driver import OLDEST, TYPES, driver

# As in driver.py; l stands for int64_t and uint64_t.
PROTOTYPES = {
    "cublasLtCreate": "p",
    "cublasLtDestroy": "p",
    "cublasLtMatmulDescCreate": "pii",
    "cublasLtMatmulDescDestroy": "p",
    "cublasLtMatmulDescSetAttribute": "pipn",
    "cublasLtMatrixLayoutCreate": "pilll",
    "cublasLtMatrixLayoutDestroy": "p",
    "cublasLtMatrixLayoutSetAttribute": "pipn",
    "cublasLtMatmulPreferenceCreate": "p",
    "cublasLtMatmulPreferenceDestroy": "p",
    "cublasLtMatmulPreferenceSetAttribute": "pipn",
    "cublasLtMatmulAlgoGetHeuristic": "pppppppipp",
    "cublasLtMatmul": "ppppppppppppppnp",
}
_SPECIAL = {
    "cublasLtGetVersion": ([], ctypes.c_size_t),
    "cublasLtGetStatusName": ([ctypes.c_int], ctypes.c_char_p),
}


class CublasLt:
    """The library's functions as attributes, without ``cublasLt`` at the beginning.

    A call that fails raises a ``DeviceError`` with the function and the name of the status.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Any]: ...

    def __init__(self, library: Any):
        for name, types in PROTOTYPES.items():
            self._declare(library, name, [TYPES[t] for t in types], ctypes.c_int)
            getattr(self, name.removeprefix("cublasLt")).errcheck = self._checker(name)
        for name, (types, result) in _SPECIAL.items():
            self._declare(library, name, types, result)

    def _declare(self, library: Any, name: str, types: list[Any], result: Any) -> None:
        function = getattr(library, name, None)
        if function is None:
            raise DeviceError(f"the cuBLASLt of this machine is too old: it lacks {name}")
        function.argtypes, function.restype = types, result
        setattr(self, name.removeprefix("cublasLt"), function)

    def handle(self, function: Callable[..., Any], *arguments: Any) -> int:
        """What a function writes through its first argument, a pointer to a handle."""
        made = ctypes.c_void_p()
        function(ctypes.byref(made), *arguments)
        return made.value or 0

    def set(self, function: Callable[..., Any], handle: int, attribute: int, value: Any) -> None:
        """Sets an attribute; ``value`` is of the C type that it has."""
        function(handle, attribute, ctypes.byref(value), ctypes.sizeof(value))

    def version(self) -> str:
        """Such as ``12.9.3``."""
        number = self.GetVersion()
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"

    def _checker(self, name: str) -> Callable[[int, Any, Any], int]:
        def check(status: int, _function: Any, _arguments: Any) -> int:
            if status:
                said = (self.GetStatusName(status) or b"").decode(errors="replace")
                raise DeviceError(f"{name} failed with {said or status}", status)
            return status

        return check


@cache
def cublaslt() -> CublasLt:
    """The library, in the newest version that the driver of this machine supports.

    Raises:
        DeviceError: It is not installed, or it is too old; or there is no driver.
    """
    cuda = driver()
    newest = cuda.number(cuda.cuDriverGetVersion) // 1000
    return CublasLt(_library(range(newest, OLDEST // 1000 - 1, -1)))


def missing() -> str:
    """Why the library cannot be used here; nothing if it can."""
    try:
        cublaslt()
    except DeviceError as problem:
        return str(problem)
    return ""


def _library(versions: range) -> Any:
    names = [f"libcublasLt.so.{n}" for n in versions]
    for path in (p for name in names for p in (name, *_installed(name))):
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise DeviceError(f"cuBLASLt is not installed: no {' or '.join(names)} is found")


def _installed(name: str) -> Iterator[str]:
    """Where pip has put it."""
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from map(str, sorted(Path(folder).glob(f"*/lib/{name}")))
