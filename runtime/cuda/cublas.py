"""The functions of NVIDIA's cuBLASLt that are used."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

from . import vendor
from .driver import OLDEST, driver

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


class CublasLt(vendor.Functions):
    """The library."""

    title, prefix, prototypes = "cuBLASLt", "cublasLt", PROTOTYPES
    special = {
        "cublasLtGetVersion": ([], ctypes.c_size_t),
        "cublasLtGetStatusName": ([ctypes.c_int], ctypes.c_char_p),
    }

    def status(self, number: int) -> bytes | None:
        """The name of a status."""
        return self.GetStatusName(number)

    def set(self, function: Callable[..., Any], handle: int, attribute: int, value: Any) -> None:
        """Sets an attribute; ``value`` is of the C type that it has."""
        function(handle, attribute, ctypes.byref(value), ctypes.sizeof(value))


@cache
def cublaslt() -> CublasLt:
    """The library, in the newest version that the driver of this machine supports.

    Raises:
        DeviceError: It is not installed, or it is too old; or there is no driver.
    """
    cuda = driver()
    newest = cuda.number(cuda.cuDriverGetVersion) // 1000
    names = [f"libcublasLt.so.{n}" for n in range(newest, OLDEST // 1000 - 1, -1)]
    return CublasLt(vendor.find(CublasLt.title, names))
