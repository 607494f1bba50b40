"""NVIDIA's driver library by ctypes: the functions that are used, each call of them checked."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from ..errors import DeviceError

OLDEST = 12000
# p: pointer or handle; d: device address; n: size; u, i, l: unsigned, int, unsigned long long;
# f: double.
PROTOTYPES = {
    "cuInit": "u",
    "cuDriverGetVersion": "p",
    "cuGetErrorName": "ip",
    "cuGetErrorString": "ip",
    "cuDeviceGet": "pi",
    "cuDeviceGetName": "pii",
    "cuDeviceGetAttribute": "pii",
    "cuDevicePrimaryCtxRetain": "pi",
    "cuCtxGetCurrent": "p",
    "cuCtxSetCurrent": "p",
    "cuCtxGetDevice": "p",
    "cuPointerGetAttribute": "pid",
    "cuMemAlloc_v2": "pn",
    "cuMemFree_v2": "d",
    "cuMemHostAlloc": "pnu",
    "cuMemFreeHost": "p",
    "cuMemcpyHtoD_v2": "dpn",
    "cuMemcpyDtoH_v2": "pdn",
    "cuMemcpyDtoD_v2": "ddn",
    "cuMemcpyHtoDAsync_v2": "dpnp",
    "cuMemcpyDtoHAsync_v2": "pdnp",
    "cuStreamCreate": "pu",
    "cuStreamDestroy_v2": "p",
    "cuStreamSynchronize": "p",
    "cuStreamWaitEvent": "ppu",
    "cuStreamBeginCapture_v2": "pi",
    "cuStreamEndCapture": "pp",
    "cuEventCreate": "pu",
    "cuEventRecord": "pp",
    "cuEventSynchronize": "p",
    "cuEventElapsedTime": "ppp",
    "cuEventDestroy_v2": "p",
    "cuModuleLoadData": "pp",
    "cuModuleGetFunction": "ppp",
    "cuModuleUnload": "p",
    "cuFuncSetAttribute": "pii",
    "cuTensorMapEncodeTiled": "piupppppiiii",
    "cuGraphCreate": "pu",
    "cuGraphAddKernelNode_v2": "pppnp",
    "cuGraphAddChildGraphNode": "pppnp",
    "cuGraphKernelNodeSetAttribute": "pip",
    "cuGraphInstantiateWithFlags": "ppl",
    "cuGraphExecKernelNodeSetParams_v2": "ppp",
    "cuGraphExecChildGraphNodeSetParams": "ppp",
    "cuGraphLaunch": "pp",
    "cuGraphExecDestroy": "p",
    "cuGraphDestroy": "p",
}
TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p,
    "d": ctypes.c_uint64,
    "n": ctypes.c_size_t,
    "u": ctypes.c_uint,
    "i": ctypes.c_int,
    "l": ctypes.c_ulonglong,
    "f": ctypes.c_double,
}
_NO_DEVICE = 100
_ADVICE = {
    2: "; free memory on the GPU, or run smaller batches",
    3: "; a process that was forked from one which used a GPU cannot use it: let multiprocessing "
    'start processes by "spawn"',
    900: "; a model whose runs wait for what the data decide cannot be captured",
}


class Driver:
    """The library's functions as attributes, without the version at the end of their names.

    A call that fails raises a ``DeviceError`` with the function, the error's name and its text.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., int]: ...

    def __init__(self, library: Any):
        for name, types in PROTOTYPES.items():
            function = getattr(library, name, None)
            if function is None:
                raise DeviceError(
                    f"the NVIDIA driver of this machine is too old: it lacks {name}; install one "
                    f"for CUDA {OLDEST // 1000} or newer"
                )
            function.argtypes = [TYPES[t] for t in types]
            function.restype = ctypes.c_int
            if not name.startswith("cuGetError"):
                function.errcheck = self._checker(name)
            setattr(self, name.partition("_v")[0], function)

    def handle(self, function: Callable[..., int], *arguments: Any) -> int:
        """What a function writes through its first argument, a pointer to a handle."""
        made = ctypes.c_void_p()
        function(ctypes.byref(made), *arguments)
        return made.value or 0

    def number(self, function: Callable[..., int], *arguments: Any) -> int:
        """What a function writes through its first argument, a pointer to an ``int``."""
        found = ctypes.c_int()
        function(ctypes.byref(found), *arguments)
        return found.value

    def version(self) -> str:
        """The newest CUDA that the driver supports, such as ``13.0``."""
        number = self.number(self.cuDriverGetVersion)
        return f"{number // 1000}.{number % 1000 // 10}"

    def _checker(self, name: str) -> Callable[[int, Any, Any], int]:
        def check(code: int, _function: Any, _arguments: Any) -> int:
            if code:
                raise DeviceError(self._failure(name, code), code)
            return code

        return check

    def _failure(self, name: str, code: int) -> str:
        kind, text = (self._text(f, code) for f in (self.cuGetErrorName, self.cuGetErrorString))
        advice = _ADVICE.get(code, "")
        return f"{name} failed with {kind or code}: {text or 'unknown error'}{advice}"

    def _text(self, function: Callable[..., int], code: int) -> str:
        text = ctypes.c_char_p()
        function(code, ctypes.byref(text))
        return (text.value or b"").decode(errors="replace")


@cache
def driver() -> Driver:
    """The driver of this machine, ready for use.

    Raises:
        DeviceError: There is no driver, it is too old, or it finds no GPU.
    """
    found = Driver(_library())
    try:
        found.cuInit(0)
    except DeviceError as error:
        if error.code != _NO_DEVICE:
            raise
        told = f"the NVIDIA driver of this machine finds no GPU{_hidden()}"
        raise DeviceError(told, _NO_DEVICE) from None
    if found.number(found.cuDriverGetVersion) < OLDEST:
        raise DeviceError(
            f"the NVIDIA driver of this machine is too old: it is for CUDA {found.version()}; "
            f"install one for CUDA {OLDEST // 1000} or newer"
        )
    return found


def _hidden() -> str:
    """A remark where the environment chooses among the GPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f", of which CUDA_VISIBLE_DEVICES={visible!r} shows some only"


def _library() -> Any:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise DeviceError(
            "this machine has no NVIDIA driver: libcuda.so.1 cannot be loaded"
        ) from None
