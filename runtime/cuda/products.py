"""Products that cuBLASLt computes: what a manifest tells of one, and its work as nodes of a graph.

An entry of ``kernels`` with a ``library`` has no code:

    {"name": "cublaslt", "factors": "bf16", "result": "bf16", "compute": "f32",
     "turned": [false, false], "addend": true, "bias": true, "activation": "relu", "scale": 1.0}

Its arguments are the addresses of the right factor, the left factor, the addend, the result, and of
the bias if there is one; then rows, columns, depth and batch; then for each matrix the stride, and
that of the batch, in elements. The library's matrices lie column by column, so that it is told the
transposed product (see codegen/cuda/cublas.py).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import DeviceError
from .cublas import CublasLt, cublaslt
from .device import Device
from .vendor import Vendor

# cudaDataType_t, and bytes; cublasComputeType_t
_TYPES = {"f32": 0, "f16": 2, "i8": 3, "i32": 10, "bf16": 14, "f8E4M3FN": 28}
_BYTES = {"f32": 4, "f16": 2, "i8": 1, "i32": 4, "bf16": 2, "f8E4M3FN": 1}
_COMPUTE = {"f32": 68, "tf32": 77, "i32": 72}
# cublasLtMatmulDescAttributes_t, cublasLtMatrixLayoutAttribute_t
_TRANSPOSE_A, _TRANSPOSE_B, _EPILOGUE, _BIAS_POINTER, _BIAS_TYPE = 3, 4, 7, 8, 26
_BATCH_COUNT, _BATCH_STRIDE = 5, 6
# cublasLtMatmulPreferenceAttributes_t; parts of a sum may meet in the type that it is computed in.
_MOST_WORKSPACE, _REDUCTIONS, _ALIGNMENT_A = 1, 3, 5
_IN_COMPUTE_TYPE = 2
# cublasLtEpilogue_t
_PLAIN, _BIAS = 1, 4
_ACTIVATIONS = {"": 0, "relu": 2, "gelu": 32}
_MATRICES, _SIZES = 4, 12
_DIVISOR = 16


class _Found(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace", ctypes.c_size_t),
        ("status", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


@dataclass(frozen=True)
class Product:
    """What does not change from run to run.

    Attributes:
        factors: Their type.
        result: The type of the result, of what is added to it, and of the bias.
        compute: How is multiplied: ``f32``, ``tf32`` or ``i32``.
        turned: Whether the right and the left factor are to be transposed.
        addend: Whether a matrix is added.
        bias: Whether a bias is added.
        activation: What comes last.
        scale: What sums are multiplied by.
        alignments: Of what the addresses of the matrices and the bias are multiples.
        workspace: The bytes of memory that it may have besides.
    """

    factors: str
    result: str
    compute: str
    turned: tuple[bool, ...]
    addend: bool
    bias: bool
    activation: str
    scale: float
    alignments: tuple[int, ...]
    workspace: int

    library = "cublaslt"

    @staticmethod
    def from_manifest(entry: Mapping[str, Any]) -> Product:
        """Reads the entry of a kernel.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        told, divisible = entry["library"], set(entry["divisible"])
        factors, result, bias = str(told["factors"]), str(told["result"]), bool(told["bias"])
        kinds = [factors] * 2 + [result] * (2 + bias)
        right, left = told["turned"]
        made = Product(
            factors,
            result,
            str(told["compute"]),
            (bool(right), bool(left)),
            bool(told["addend"]),
            bias,
            str(told["activation"]),
            float(told["scale"]),
            tuple(_DIVISOR if n in divisible else _BYTES[k] for n, k in enumerate(kinds)),
            int(entry["global_scratch_size"]),
        )
        known = made.compute in _COMPUTE and made.activation in _ACTIVATIONS
        if not known or len(entry["parameters"]) != len(kinds) + _SIZES:
            raise ValueError(f"no product is {dict(told)}")
        return made

    @property
    def kinds(self) -> tuple[str, ...]:
        """The types that tell how exact the result is."""
        return self.compute, self.result, self.factors

    @property
    def epilogue(self) -> int:
        """The library's number for what becomes of the sums."""
        return _ACTIVATIONS[self.activation] | _BIAS * self.bias or _PLAIN

    def taken_apart(self, cells: Sequence[int]) -> tuple[list[int], list[int], int]:
        """Arguments as addresses, numbers, and the address of the workspace."""
        count = _MATRICES + self.bias
        values = list(map(int, cells))
        return values[:count], values[count : count + _SIZES], values[count + _SIZES]

    def region(self, cells: Sequence[int]) -> tuple[int, int]:
        """The address of the result, and its bytes."""
        addresses, (rows, columns, _, batch, *_), _ = self.taken_apart(cells)
        return addresses[_MATRICES - 1], rows * columns * batch * _BYTES[self.result]


class Products(Vendor):
    """cuBLASLt on one device."""

    def __init__(self, device: Device):
        super().__init__(device)
        self._algorithms: dict[tuple[Product, tuple[int, ...]], _Found] = {}

    @cached_property
    def _library(self) -> CublasLt:
        return cublaslt()

    def _open(self) -> int:
        return self._library.handle(self._library.Create)

    def _close(self, handle: int) -> None:
        self._library.Destroy(handle)

    def _prepared(
        self, stack: ExitStack, call: Product, cells: Sequence[int]
    ) -> Callable[[int], None]:
        described = _Call(self._library, stack, call, cells)
        found = self._algorithm(described)
        return lambda stream: described.launch(self._handle, found, stream)

    def _algorithm(self, call: _Call) -> _Found:
        """The one that the library expects to be fastest: always the same for the same sizes."""
        key = call.product, tuple(call.numbers)
        if key not in self._algorithms:
            self._algorithms[key] = call.algorithm(self._handle)
        return self._algorithms[key]


class _Call:
    """One call of the library, as long as ``stack`` is open."""

    def __init__(self, library: CublasLt, stack: ExitStack, product: Product, cells: Sequence[int]):
        self.product = product
        self._library, self._stack = library, stack
        self._addresses, self.numbers, self._workspace = product.taken_apart(cells)
        self._operation = self._described()
        self._layouts = [self._layout(n) for n in range(_MATRICES)]

    def algorithm(self, handle: int) -> _Found:
        """What the library would take for any addresses of the promised alignment."""
        library, found, count = self._library, _Found(), ctypes.c_int()
        alignments = self.product.alignments
        wishes = self._made(library.MatmulPreferenceCreate, library.MatmulPreferenceDestroy)
        wanted = {
            _MOST_WORKSPACE: ctypes.c_uint64(self.product.workspace),
            _REDUCTIONS: ctypes.c_uint32(_IN_COMPUTE_TYPE),
            **{_ALIGNMENT_A + n: ctypes.c_uint32(alignments[n]) for n in range(_MATRICES)},
        }
        for attribute, value in wanted.items():
            library.set(library.MatmulPreferenceSetAttribute, wishes, attribute, value)
        if self.product.bias:  # the address is not read, but its alignment is
            self._set(_BIAS_POINTER, ctypes.c_uint64(alignments[_MATRICES]))
        library.MatmulAlgoGetHeuristic(
            handle, self._operation, *self._layouts, wishes, 1,
            ctypes.byref(found), ctypes.byref(count),
        )  # fmt: skip
        if count.value == 0 or found.status:
            raise DeviceError(f"cuBLASLt has no algorithm for products of {self.product.factors}")
        return found

    def launch(self, handle: int, found: _Found, stream: int) -> None:
        """Puts the product on a stream."""
        right, left, addend, result, *bias = self._addresses
        layouts = self._layouts
        if bias:
            self._set(_BIAS_POINTER, ctypes.c_uint64(bias[0]))
        scale, keep = ctypes.c_float(self.product.scale), ctypes.c_float(self.product.addend)
        if self.product.compute == "i32":
            scale, keep = ctypes.c_int32(1), ctypes.c_int32(0)
        self._library.Matmul(
            handle, self._operation, ctypes.byref(scale), right, layouts[0], left, layouts[1],
            ctypes.byref(keep), addend, layouts[2], result, layouts[3],
            ctypes.byref(found), self._workspace, found.workspace, stream,
        )  # fmt: skip

    def _described(self) -> int:
        library, product = self._library, self.product
        scale = _TYPES["i32" if product.compute == "i32" else "f32"]
        create, destroy = library.MatmulDescCreate, library.MatmulDescDestroy
        self._operation = self._made(create, destroy, _COMPUTE[product.compute], scale)
        for attribute, turned in zip((_TRANSPOSE_A, _TRANSPOSE_B), product.turned, strict=True):
            self._set(attribute, ctypes.c_int32(turned))
        self._set(_EPILOGUE, ctypes.c_uint32(product.epilogue))
        if product.bias:
            self._set(_BIAS_TYPE, ctypes.c_int32(_TYPES[product.result]))
        return self._operation

    def _layout(self, number: int) -> int:
        """How one of the four matrices lies, column by column."""
        library, product = self._library, self.product
        rows, columns, depth, batch, *strides = self.numbers
        size = ((columns, depth), (depth, rows), (columns, rows), (columns, rows))[number]
        if number < len(product.turned) and product.turned[number]:
            size = size[::-1]
        kind = _TYPES[product.factors if number < len(product.turned) else product.result]
        stride, apart = strides[2 * number : 2 * number + 2]
        create, destroy = library.MatrixLayoutCreate, library.MatrixLayoutDestroy
        layout = self._made(create, destroy, kind, *size, stride)
        if batch != 1:
            change = library.MatrixLayoutSetAttribute
            library.set(change, layout, _BATCH_COUNT, ctypes.c_int32(batch))
            library.set(change, layout, _BATCH_STRIDE, ctypes.c_int64(apart))
        return layout

    def _made(self, create: Any, destroy: Any, *arguments: int) -> int:
        handle = self._library.handle(create, *arguments)
        self._stack.callback(destroy, handle)
        return handle

    def _set(self, attribute: int, value: Any) -> None:
        self._library.set(self._library.MatmulDescSetAttribute, self._operation, attribute, value)
