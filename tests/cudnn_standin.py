"""A stand-in for cuDNN, for machines without a GPU: it computes in numpy what it is told.

It has the C interface of the real one, and refuses what NVIDIA's documentation says is not
supported. Where images, filters and results lie is taken from the descriptors alone.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from cublas_standin import rounded_to_tf32
from cuda_machine import Refusal
from cuda_standin import StandIn
from mlc.runtime.cuda.cudnn import PROTOTYPES
from numpy.lib.stride_tricks import as_strided
from vendor_standin import VendorStandIn

CONVOLUTION, FUSED = "cudnnConvolutionForward", "cudnnConvolutionBiasActivationForward"
STATUS = {
    1001: "CUDNN_STATUS_NOT_INITIALIZED",
    2000: "CUDNN_STATUS_BAD_PARAM",
    3000: "CUDNN_STATUS_NOT_SUPPORTED",
    4000: "CUDNN_STATUS_INTERNAL_ERROR",
    5000: "CUDNN_STATUS_EXECUTION_FAILED",
}
TEXTS = {status: ctypes.create_string_buffer(name.encode()) for status, name in STATUS.items()}
INVALID, NOT_SUPPORTED = 2000, 3000
DTYPES = {
    0: np.dtype(np.float32),
    2: np.dtype(np.float16),
    9: np.dtype(ml_dtypes.bfloat16),
}
F32 = 0
DEFAULT_MATH, TENSOR_OP_MATH, FMA_MATH = 0, 1, 3
RELU, IDENTITY = 1, 5
PRECOMPUTED, WINOGRAD = 1, 6
# The bytes of workspace by algorithm; others are not supported.
WORKSPACES = {WINOGRAD: 1 << 40, 0: 0, PRECOMPUTED: 4096}


@dataclass
class Tensor:
    """cudnnTensorDescriptor_t."""

    type: int = -1
    sizes: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()

    def array(self, gpu: StandIn, address: int) -> np.ndarray:
        """Where it lies: [images, channels, height, width]."""
        dtype = DTYPES[self.type]
        last = sum((n - 1) * step for n, step in zip(self.sizes, self.steps, strict=True)) + 1
        flat = gpu.memory.view(address, last * dtype.itemsize).view(dtype)
        return as_strided(flat, self.sizes, [step * dtype.itemsize for step in self.steps])


@dataclass
class Filter:
    """cudnnFilterDescriptor_t."""

    type: int = -1
    sizes: tuple[int, ...] = ()

    def array(self, gpu: StandIn, address: int) -> np.ndarray:
        """[filters, channels, height, width], which lie channels last."""
        dtype, (filters, channels, *window) = DTYPES[self.type], self.sizes
        flat = gpu.memory.view(address, prod(self.sizes) * dtype.itemsize).view(dtype)
        return np.moveaxis(flat.reshape(filters, *window, channels), -1, 1)


@dataclass
class Moves:
    """cudnnConvolutionDescriptor_t."""

    pads: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    groups: int = 1
    math: int = DEFAULT_MATH


@dataclass
class Activation:
    """cudnnActivationDescriptor_t."""

    mode: int = -1
    nan: int = -1


class CudnnStandIn(VendorStandIn):
    """The library.

    Attributes:
        works: Whether it can be used on the GPU.
        knows: Whether it finds an algorithm.
        wrong: What is added to all results.
        asked: How often algorithms were asked for.
        problems: What was computed.
    """

    prefix, invalid, failed = "cudnn", INVALID, 4000

    if TYPE_CHECKING:
        cudnnConvolutionForward: Any
        cudnnGetConvolutionForwardAlgorithm_v7: Any

    def __init__(self, gpu: StandIn, version: int = 90100):
        super().__init__(gpu, "cuDNN", PROTOTYPES)
        self.works, self.knows, self.wrong, self.asked = True, True, 0.0, 0
        self.problems: list[dict[str, Any]] = []
        self._streams: dict[int, int] = {}
        self.cudnnGetVersion = ctypes.CFUNCTYPE(ctypes.c_size_t)(lambda: version)
        text = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int)
        self.cudnnGetErrorString = text(lambda status: ctypes.addressof(TEXTS[status]))

    def Create(self, place: int) -> None:
        if not self.works:
            raise Refusal(1001)
        if not self.gpu._current():
            raise Refusal(1001, "no context")
        self._made(place, "handle")

    def SetStream(self, handle: int, stream: int) -> None:
        self._get(handle, str)
        self._streams[handle] = stream

    def CreateTensorDescriptor(self, place: int) -> None:
        self._made(place, Tensor())

    def CreateFilterDescriptor(self, place: int) -> None:
        self._made(place, Filter())

    def CreateConvolutionDescriptor(self, place: int) -> None:
        self._made(place, Moves())

    def CreateActivationDescriptor(self, place: int) -> None:
        self._made(place, Activation())

    Destroy = DestroyTensorDescriptor = DestroyFilterDescriptor = VendorStandIn._drop
    DestroyConvolutionDescriptor = DestroyActivationDescriptor = VendorStandIn._drop

    def SetTensorNdDescriptor(
        self, handle: int, kind: int, rank: int, sizes: int, steps: int
    ) -> None:
        told: Tensor = self._get(handle, Tensor)
        told.type, told.sizes, told.steps = kind, _ints(sizes, rank), _ints(steps, rank)
        if kind not in DTYPES or rank != 4 or min(told.sizes) < 1:
            raise Refusal(INVALID, f"no tensor: {told}")

    def SetFilterNdDescriptor(
        self, handle: int, kind: int, form: int, rank: int, sizes: int
    ) -> None:
        told: Filter = self._get(handle, Filter)
        told.type, told.sizes = kind, _ints(sizes, rank)
        if kind not in DTYPES or rank != 4 or form != 1 or min(told.sizes) < 1:
            raise Refusal(INVALID, f"no filter: {told}")

    def SetConvolutionNdDescriptor(
        self, handle: int, sides: int, pads: int, strides: int, dilations: int, mode: int, kind: int
    ) -> None:
        told: Moves = self._get(handle, Moves)
        if (sides, mode, kind) != (2, 1, F32):
            raise Refusal(INVALID, "no cross-correlation of images in f32")
        told.pads, told.strides, told.dilations = (
            _ints(place, sides) for place in (pads, strides, dilations)
        )

    def SetConvolutionGroupCount(self, handle: int, groups: int) -> None:
        self._get(handle, Moves).groups = groups

    def SetConvolutionMathType(self, handle: int, math: int) -> None:
        self._get(handle, Moves).math = math

    def SetActivationDescriptor(self, handle: int, mode: int, nan: int, _limit: float) -> None:
        told: Activation = self._get(handle, Activation)
        if mode not in (RELU, IDENTITY) or nan not in (0, 1):
            raise Refusal(INVALID, f"activation {mode}")
        told.mode, told.nan = mode, nan

    def GetConvolutionForwardAlgorithm_v7(self, handle: int, *told: int) -> None:
        self._get(handle, str)
        x, w, moves, y, most, count, place = told
        self._problem(x, w, moves, y)
        self.asked += 1
        found = list(WORKSPACES)[:most] if self.knows else []
        ctypes.c_int.from_address(count).value = len(found)
        for n, algorithm in enumerate(found):
            ctypes.c_int.from_address(place + 48 * n).value = algorithm
            ctypes.c_int.from_address(place + 48 * n + 4).value = 0

    def GetConvolutionForwardWorkspaceSize(self, handle: int, *told: int) -> None:
        self._get(handle, str)
        *descriptors, algorithm, place = told
        self._problem(*descriptors)
        if algorithm not in WORKSPACES or not self.knows:
            raise Refusal(NOT_SUPPORTED)
        ctypes.c_size_t.from_address(place).value = WORKSPACES[algorithm]

    def ConvolutionForward(
        self, handle: int, alpha: int, x: int, images: int, w: int, filters: int, moves: int,
        algorithm: int, workspace: int, size: int, beta: int, y: int, result: int,
    ) -> None:  # fmt: skip
        if ctypes.c_float.from_address(beta).value:
            raise Refusal(INVALID, "what is added is not there yet")
        problem = self._problem(x, w, moves, y)
        self._check(problem, algorithm, workspace, size)
        scale = ctypes.c_float.from_address(alpha).value
        self._put(handle, CONVOLUTION, problem, (images, filters, result), scale, algorithm)

    def ConvolutionBiasActivationForward(
        self, handle: int, alpha: int, x: int, images: int, w: int, filters: int, moves: int,
        algorithm: int, workspace: int, size: int, keep: int, z: int, addend: int,
        b: int, bias: int, activation: int, y: int, result: int,
    ) -> None:  # fmt: skip
        problem = self._problem(x, w, moves, y)
        self._check(problem, algorithm, workspace, size)
        told: Tensor = self._get(b, Tensor)
        mode = self._get(activation, Activation)
        added = self._get(z, Tensor)
        if told.type != problem.y.type or told.sizes != (1, problem.y.sizes[1], 1, 1):
            raise Refusal(INVALID, f"no bias: {told}")
        if mode.mode == IDENTITY and algorithm != PRECOMPUTED:
            raise Refusal(NOT_SUPPORTED, f"algorithm {algorithm} without activation")
        if added != problem.y:
            raise Refusal(INVALID, f"{added} is added to {problem.y}")
        problem.bias, problem.mode = (told.sizes[1], bias), mode
        if ctypes.c_float.from_address(keep).value:
            problem.addend = ctypes.c_float.from_address(keep).value, addend
        scale = ctypes.c_float.from_address(alpha).value
        self._put(handle, FUSED, problem, (images, filters, result), scale, algorithm)

    def _problem(self, x: int, w: int, moves: int, y: int) -> Problem:
        kinds = (x, Tensor), (w, Filter), (moves, Moves), (y, Tensor)
        found = Problem(*(self._get(handle, kind) for handle, kind in kinds))
        found.check()
        return found

    def _check(self, problem: Problem, algorithm: int, workspace: int, size: int) -> None:
        if WORKSPACES.get(algorithm) != size:
            raise Refusal(INVALID, f"{size} bytes for algorithm {algorithm}")
        if workspace % 256 or self.gpu.memory.room(workspace) < size:
            raise Refusal(INVALID, f"{size} bytes at {workspace:#x} are no workspace")

    def _put(
        self, handle: int, name: str, problem: Problem, addresses: tuple[int, int, int],
        scale: float, algorithm: int,
    ) -> None:  # fmt: skip
        self._get(handle, str)
        if any(a % 16 for a in addresses):
            raise Refusal(INVALID, f"{addresses} are no multiples of 16")

        def compute() -> None:
            problem.y.array(self.gpu, addresses[2])[:] = (
                problem.result(self.gpu, *addresses[:2], scale) + self.wrong
            )
            self.problems.append({
                "sizes": (*problem.x.sizes, *problem.y.sizes[1:]),
                "groups": problem.moves.groups,
                "math": problem.moves.math,
                "activation": problem.mode and problem.mode.mode,
                "addend": problem.addend is not None,
                "algorithm": algorithm,
            })  # fmt: skip

        self.gpu.work(self._streams[handle], name, compute)


@dataclass
class Problem:
    """What is to be computed."""

    x: Tensor
    w: Filter
    moves: Moves
    y: Tensor
    bias: tuple[int, int] | None = None
    addend: tuple[float, int] | None = None
    mode: Activation | None = None

    def check(self) -> None:
        """Refuses what does not fit, or is not supported."""
        count, channels, *sides = self.x.sizes
        filters, inputs, *window = self.w.sizes
        moves = self.moves
        places = [
            (n + 2 * pad - (k - 1) * dilation - 1) // stride + 1
            for n, pad, k, dilation, stride in zip(
                sides, moves.pads, window, moves.dilations, moves.strides, strict=True
            )
        ]
        if inputs * moves.groups != channels or filters % moves.groups:
            raise Refusal(INVALID, f"{channels} channels, {self.w.sizes}, {moves.groups} groups")
        if self.y.sizes != (count, filters, *places):
            raise Refusal(INVALID, f"the result is {(count, filters, *places)}, not {self.y.sizes}")
        if not self.x.type == self.w.type == self.y.type:
            raise Refusal(NOT_SUPPORTED, "types that differ")
        if moves.math not in (
            (DEFAULT_MATH, FMA_MATH) if self.x.type == F32 else (TENSOR_OP_MATH,)
        ):
            raise Refusal(NOT_SUPPORTED, f"math {moves.math}")

    def result(self, gpu: StandIn, images: int, filters: int, scale: float) -> np.ndarray:
        """In f32."""
        wide = [
            a.astype(np.float32) for a in (self.x.array(gpu, images), self.w.array(gpu, filters))
        ]
        if self.x.type == F32 and self.moves.math == DEFAULT_MATH:
            wide = [rounded_to_tf32(a) for a in wide]
        out = np.float32(scale) * self._convolved(*wide)
        if self.addend:
            out = out + self.addend[0] * self.y.array(gpu, self.addend[1]).astype(np.float32)
        if self.bias:
            size, address = self.bias
            dtype = DTYPES[self.y.type]
            added = gpu.memory.view(address, size * dtype.itemsize).view(dtype)
            out = out + added.astype(np.float32)[:, None, None]
        return np.maximum(out, 0) if self.mode and self.mode.mode == RELU else out

    def _convolved(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """One product for each group and each element of the window."""
        moves, (_, _, *places) = self.moves, self.y.sizes
        x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in moves.pads)))
        out = np.zeros(self.y.sizes, np.float32)
        xs, ws, outs = (np.split(a, moves.groups, axis) for a, axis in ((x, 1), (w, 0), (out, 1)))
        for k in np.ndindex(*w.shape[2:]):
            where = tuple(
                slice(i * d, i * d + (n - 1) * stride + 1, stride)
                for i, d, n, stride in zip(k, moves.dilations, places, moves.strides, strict=True)
            )
            for a, b, part in zip(xs, ws, outs, strict=True):
                part += np.einsum("nchw,oc->nohw", a[:, :, *where], b[:, :, *k])
        return out


def _ints(place: int, count: int) -> tuple[int, ...]:
    return tuple((ctypes.c_int * count).from_address(place))
