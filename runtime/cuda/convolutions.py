"""Convolutions that cuDNN computes: what a manifest tells of one, and how the library is asked.

An entry of ``kernels`` with a ``library`` has no code:

    {"name": "cudnn", "type": "bf16", "compute": "f32", "kernel": [3, 3], "strides": [1, 1],
     "pads": [1, 1], "dilations": [1, 1], "groups": 1, "inputs": 64, "outputs": 32,
     "by_group": false, "scale": 1.0, "addend": true, "bias": true, "activation": "relu"}

Its arguments are the addresses of the images, the filters, the addend, the result, and of the bias
if there is one; then the number, the height and the width of the images, and the height and the
width of results. Filters lie [height, width, channel, filter], or by groups [height, width, group,
channel, filter]; the library is given a copy [group, filter, height, width, channel].
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from ..errors import DeviceError
from ..memory import address_of
from .cudnn import Cudnn, cudnn
from .device import Device, Memory, upload
from .vendor import Vendor

# cudnnDataType_t, and bytes
_TYPES = {"f32": 0, "f16": 2, "bf16": 9}
_BYTES = {"f32": 4, "f16": 2, "bf16": 2}
# cudnnMathType_t: with tf32, in 16 bits, exactly
_DEFAULT_MATH, _TENSOR_OP_MATH, _FMA_MATH = 0, 1, 3
# cudnnTensorFormat_t, cudnnConvolutionMode_t, cudnnNanPropagation_t
_CHANNELS_LAST, _CROSS_CORRELATION, _PROPAGATES = 1, 1, 1
# cudnnActivationMode_t
_ACTIVATIONS = {"": 5, "relu": 1}
# cudnnConvolutionFwdAlgo_t: the only one that adds a bias and does nothing else.
_PRECOMPUTED, _ALGORITHMS = 1, 8
_ARRAYS, _SIZES = 4, 5


class _Ranked(ctypes.Structure):
    """cudnnConvolutionFwdAlgoPerf_t."""

    _fields_ = (
        ("algorithm", ctypes.c_int),
        ("status", ctypes.c_int),
        ("time", ctypes.c_float),
        ("memory", ctypes.c_size_t),
        ("determinism", ctypes.c_int),
        ("math", ctypes.c_int),
        ("reserved", ctypes.c_int * 3),
    )


@dataclass(frozen=True)
class Convolution:
    """What does not change from run to run.

    Attributes:
        type: Of all arrays.
        compute: How is multiplied: ``f32`` or ``tf32``.
        kernel: Height and width of the window.
        strides: From one place to the next one, along both.
        pads: The zeros on either side.
        dilations: From one element of the window to the next one.
        groups: Parts of the channels that do not mix.
        inputs: Channels of a group.
        outputs: Filters of a group.
        by_group: Whether the filters of a group lie together.
        scale: What sums are multiplied by.
        addend: Whether an array is added.
        bias: Whether a bias is added.
        activation: What comes last.
        workspace: The bytes of memory that it may have besides.
    """

    type: str
    compute: str
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int
    inputs: int
    outputs: int
    by_group: bool
    scale: float
    addend: bool
    bias: bool
    activation: str
    workspace: int

    library = "cudnn"

    @staticmethod
    def from_manifest(entry: Mapping[str, Any]) -> Convolution:
        """Reads the entry of a kernel.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        told = entry["library"]
        numbers = (tuple(map(int, told[n])) for n in ("kernel", "strides", "pads", "dilations"))
        made = Convolution(
            str(told["type"]),
            str(told["compute"]),
            *numbers,
            *(int(told[n]) for n in ("groups", "inputs", "outputs")),
            bool(told["by_group"]),
            float(told["scale"]),
            bool(told["addend"]),
            bool(told["bias"]),
            str(told["activation"]),
            int(entry["global_scratch_size"]),
        )
        known = made.type in _TYPES and made.activation in _ACTIVATIONS
        known &= made.bias or not (made.addend or made.activation)
        if not known or len(entry["parameters"]) != _ARRAYS + made.bias + _SIZES:
            raise ValueError(f"no convolution is {dict(told)}")
        return made

    @property
    def result(self) -> str:
        """The type of the result."""
        return self.type

    @property
    def kinds(self) -> tuple[str, ...]:
        """The types that tell how exact the result is."""
        return self.compute, self.type

    @property
    def math(self) -> int:
        """The library's number for how is multiplied."""
        if self.type != "f32":
            return _TENSOR_OP_MATH
        return _FMA_MATH if self.compute == "f32" else _DEFAULT_MATH

    def taken_apart(self, cells: Sequence[int]) -> tuple[list[int], list[int], int]:
        """Arguments as addresses, sizes, and the address of the workspace."""
        count = _ARRAYS + self.bias
        values = list(map(int, cells))
        return values[:count], values[count : count + _SIZES], values[count + _SIZES]

    def region(self, cells: Sequence[int]) -> tuple[int, int]:
        """The address of the result, and its bytes."""
        addresses, (count, _, _, *places), _ = self.taken_apart(cells)
        channels = self.groups * self.outputs
        return addresses[_ARRAYS - 1], count * prod(places) * channels * _BYTES[self.type]

    @property
    def filter_bytes(self) -> int:
        """What all filters take."""
        return prod((*self.kernel, self.groups, self.inputs, self.outputs)) * _BYTES[self.type]

    def turned(self, filters: np.ndarray) -> np.ndarray:
        """Filters as the library wants them, from the bytes of them as they lie."""
        words = filters.view(f"u{_BYTES[self.type]}")
        if self.by_group:
            shape = (*self.kernel, self.groups, self.inputs, self.outputs)
            return np.ascontiguousarray(words.reshape(shape).transpose(2, 4, 0, 1, 3))
        shape = (*self.kernel, self.inputs, self.groups, self.outputs)
        return np.ascontiguousarray(words.reshape(shape).transpose(3, 4, 0, 1, 2))


class Convolutions(Vendor):
    """cuDNN on one device, and the filters that it was asked for."""

    def __init__(self, device: Device):
        super().__init__(device)
        self._algorithms: dict[tuple[Convolution, tuple[int, ...]], tuple[int, int]] = {}
        self._filters: dict[tuple[Convolution, int], Memory] = {}

    @cached_property
    def _library(self) -> Cudnn:
        return cudnn()

    def _open(self) -> int:
        return self._library.handle(self._library.Create)

    def _close(self, handle: int) -> None:
        self._library.Destroy(handle)

    def _prepared(
        self, stack: ExitStack, call: Convolution, cells: Sequence[int]
    ) -> Callable[[int], None]:
        asked = _Asked(self._library, stack, call, cells)
        found = self._algorithm(asked)
        filters = self._turned(call, asked.filters)
        return lambda stream: asked.launch(self._handle, found, filters, stream)

    def _algorithm(self, asked: _Asked) -> tuple[int, int]:
        """The one that the library expects to be fastest: always the same for the same sizes."""
        key = asked.call, tuple(asked.sizes)
        if key not in self._algorithms:
            self._algorithms[key] = asked.algorithm(self._handle)
        return self._algorithms[key]

    def _turned(self, call: Convolution, address: int) -> int:
        """Where a copy of filters lies that the library reads; weights stay where they are."""
        if (call, address) not in self._filters:
            there = np.empty(call.filter_bytes, np.uint8)
            self._cuda.cuMemcpyDtoH(address_of(there), address, there.nbytes)
            self._filters[call, address] = upload(self._device, call.turned(there))
        return self._filters[call, address].address


class _Asked:
    """One call of the library, as long as ``stack`` is open."""

    def __init__(self, library: Cudnn, stack: ExitStack, call: Convolution, cells: Sequence[int]):
        self.call = call
        self._library, self._stack = library, stack
        self._addresses, self.sizes, self._workspace = call.taken_apart(cells)
        count, height, width, *places = self.sizes
        self._images = self._tensor(count, call.groups * call.inputs, height, width)
        self._window = self._filter()
        self._moves = self._described()
        self._result = self._tensor(count, call.groups * call.outputs, *places)

    @property
    def filters(self) -> int:
        """Where they lie among the weights."""
        return self._addresses[1]

    def algorithm(self, handle: int) -> tuple[int, int]:
        """The number of an algorithm that has memory enough, and the bytes that it takes."""
        if self.call.bias and not self.call.activation:
            ranked = [_PRECOMPUTED]
        else:
            ranked = self._ranked(handle)
        for number in ranked:
            size = self._needs(handle, number)
            if size is not None and size <= self.call.workspace:
                return number, size
        raise DeviceError(f"cuDNN has no algorithm for this convolution of {self.call.type}")

    def launch(self, handle: int, found: tuple[int, int], filters: int, stream: int) -> None:
        """Puts the convolution on a stream."""
        call, library, (algorithm, size) = self.call, self._library, found
        images, _, addend, result, *bias = self._addresses
        library.SetStream(handle, stream)
        scale, keep = ctypes.c_float(call.scale), ctypes.c_float(call.addend)
        told = (
            handle, ctypes.byref(scale), self._images, images, self._window, filters, self._moves,
            algorithm, self._workspace, size, ctypes.byref(keep),
        )  # fmt: skip
        if not bias:
            library.ConvolutionForward(*told, self._result, result)
            return
        added = self._tensor(1, call.groups * call.outputs, 1, 1)
        library.ConvolutionBiasActivationForward(
            *told, self._result, addend, added, bias[0], self._activation(), self._result, result
        )

    def _ranked(self, handle: int) -> list[int]:
        """The algorithms that the library would take, the fastest first."""
        found, count = (_Ranked * _ALGORITHMS)(), ctypes.c_int()
        self._library.GetConvolutionForwardAlgorithm_v7(
            handle, self._images, self._window, self._moves, self._result,
            _ALGORITHMS, ctypes.byref(count), found,
        )  # fmt: skip
        return [one.algorithm for one in found[: count.value] if not one.status]

    def _needs(self, handle: int, algorithm: int) -> int | None:
        """The bytes of workspace; None where the library does not support that."""
        size = ctypes.c_size_t()
        try:
            self._library.GetConvolutionForwardWorkspaceSize(
                handle, self._images, self._window, self._moves, self._result,
                algorithm, ctypes.byref(size),
            )  # fmt: skip
        except DeviceError:
            return None
        return size.value

    def _tensor(self, count: int, channels: int, height: int, width: int) -> int:
        library = self._library
        made = self._made(library.CreateTensorDescriptor, library.DestroyTensorDescriptor)
        row = width * channels
        sizes, steps = (count, channels, height, width), (height * row, 1, row, channels)
        kind = _TYPES[self.call.type]
        library.SetTensorNdDescriptor(made, kind, len(sizes), _ints(sizes), _ints(steps))
        return made

    def _filter(self) -> int:
        library, call = self._library, self.call
        made = self._made(library.CreateFilterDescriptor, library.DestroyFilterDescriptor)
        sizes = (call.groups * call.outputs, call.inputs, *call.kernel)
        kind = _TYPES[call.type]
        library.SetFilterNdDescriptor(made, kind, _CHANNELS_LAST, len(sizes), _ints(sizes))
        return made

    def _described(self) -> int:
        library, call = self._library, self.call
        made = self._made(library.CreateConvolutionDescriptor, library.DestroyConvolutionDescriptor)
        moves = map(_ints, (call.pads, call.strides, call.dilations))
        library.SetConvolutionNdDescriptor(
            made, len(call.pads), *moves, _CROSS_CORRELATION, _TYPES["f32"]
        )
        library.SetConvolutionGroupCount(made, call.groups)
        library.SetConvolutionMathType(made, call.math)
        return made

    def _activation(self) -> int:
        library = self._library
        made = self._made(library.CreateActivationDescriptor, library.DestroyActivationDescriptor)
        library.SetActivationDescriptor(made, _ACTIVATIONS[self.call.activation], _PROPAGATES, 0.0)
        return made

    def _made(self, create: Callable[..., Any], destroy: Callable[..., Any]) -> int:
        handle = self._library.handle(create)
        self._stack.callback(destroy, handle)
        return handle


def _ints(values: Sequence[int]) -> Any:
    return (ctypes.c_int * len(values))(*values)
