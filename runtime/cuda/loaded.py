"""A model's code and weights on one device."""

from __future__ import annotations

import re
from contextlib import suppress

from ..artifact import Artifact
from ..errors import ArtifactError, DeviceError
from .device import Device, Memory, upload
from .kernel import Kernel
from .program import Program
from .vendors import vendor_on

_DYNAMIC_SHARED, _LARGE_CLUSTERS = 8, 14
# Less than the 48 kB that launches may have unasked: some binaries hold one of their own.
_SHARED_BY_DEFAULT = 47 << 10
_CLUSTER_BY_DEFAULT = 8
# From this generation on, Triton's code uses features that no later GPU has.
_EXACT_FROM = 9


class Loaded:
    """Kernels ready for launching, and weights in the device's memory.

    Attributes:
        device: Where.
        archs: For what the code is that each kernel runs.
        functions: The driver's handle of each kernel that is launched; 0 of a library's work.
        vendors: The libraries that compute these, by name.
        weights: The artifact's; ``weights`` of another model of the same artifact, if there is one.

    Raises:
        DeviceError: The artifact has no code for the device, or the driver refuses it.
    """

    def __init__(
        self, device: Device, program: Program, artifact: Artifact, weights: Memory | None = None
    ):
        self.device = device
        self._program = program
        self._code = artifact.code
        self._modules: dict[tuple[int, int], int] = {}
        with device.entered():
            launched = dict.fromkeys(launch.kernel for launch in program.launches)
            called = {kernel.call.library for kernel in launched if kernel.call}
            self.vendors = {name: vendor_on(name, device) for name in called}
            self.archs = {k: self._arch(k) for k in launched if not k.call}
            self.functions = {k: 0 if k.call else self._function(k) for k in launched}
        self.weights = weights or upload(device, artifact.weights)

    def __del__(self) -> None:
        with suppress(DeviceError, AttributeError), self.device.entered():
            for module in self._modules.values():
                self.device.cuda.cuModuleUnload(module)

    def _function(self, kernel: Kernel) -> int:
        cuda = self.device.cuda
        module = self._module(kernel)
        function = cuda.handle(cuda.cuModuleGetFunction, module, kernel.name.encode())
        if kernel.shared > _SHARED_BY_DEFAULT:
            cuda.cuFuncSetAttribute(function, _DYNAMIC_SHARED, kernel.shared)
        if kernel.ctas > _CLUSTER_BY_DEFAULT:
            cuda.cuFuncSetAttribute(function, _LARGE_CLUSTERS, 1)
        return function

    def _module(self, kernel: Kernel) -> int:
        """The module that holds the kernel; kernels of one cubin share it."""
        arch = self.archs[kernel]
        place = kernel.cubins[arch] if arch else kernel.ptx
        assert place is not None
        if place not in self._modules:
            offset, size = place
            if min(place) < 0 or offset + size > len(self._code):
                raise ArtifactError(f"the code of kernel {kernel.name} is not in the artifact")
            # PTX is a string of C.
            image = self._code[offset : offset + size] + b"\0"
            self._modules[place] = self._loaded(image, kernel)
        return self._modules[place]

    def _loaded(self, image: bytes, kernel: Kernel) -> int:
        cuda = self.device.cuda
        try:
            return cuda.handle(cuda.cuModuleLoadData, image)
        except DeviceError as error:
            raise DeviceError(
                f"the NVIDIA driver, which is for CUDA {cuda.version()}, refuses the code of "
                f"kernel {kernel.name} on {self.device} ({error}): update the driver, or compile "
                "the model with an older Triton",
                error.code,
            ) from None

    def _arch(self, kernel: Kernel) -> str:
        """For what the code is that fits the device best; empty of PTX."""
        fitting = [a for a in kernel.cubins if runs_on(a, self.device.arch)]
        if fitting:
            return max(fitting, key=_number)
        if kernel.ptx:
            return ""
        raise DeviceError(
            f"the model has code for {' and '.join(self._program.archs)}, and the GPU here is "
            f'{self.device}: compile the model with target="cuda:{self.device.arch}"'
        )


def runs_on(code: str, device: str) -> bool:
    """Whether machine code for one architecture runs on a device of another.

    >>> runs_on("sm_80", "sm_86"), runs_on("sm_86", "sm_80"), runs_on("sm_90", "sm_100")
    (True, False, False)
    """
    (major, minor), (here, revision) = divmod(_number(code), 10), divmod(_number(device), 10)
    if major != here:
        return False
    return minor == revision if major >= _EXACT_FROM else minor <= revision


def _number(arch: str) -> int:
    digits = re.search(r"\d+", arch)
    return int(digits[0]) if digits else 0
