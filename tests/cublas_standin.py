"""A stand-in for cuBLASLt, for machines without a GPU: it computes in numpy what it is told.

It has the C interface of the real one, keeps descriptors as that does, attribute by attribute, and
refuses what NVIDIA's documentation says is not supported. Matrices lie column by column; where they
lie, what is transposed and how far apart they are is taken from the descriptors alone.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from cuda_machine import Refusal
from cuda_standin import StandIn
from mlc.runtime.cuda.cublas import PROTOTYPES
from numpy.lib.stride_tricks import as_strided
from vendor_standin import VendorStandIn

NAME = "cublasLtMatmul"
STATUS = {
    1: "CUBLAS_STATUS_NOT_INITIALIZED",
    7: "CUBLAS_STATUS_INVALID_VALUE",
    13: "CUBLAS_STATUS_EXECUTION_FAILED",
    14: "CUBLAS_STATUS_INTERNAL_ERROR",
    15: "CUBLAS_STATUS_NOT_SUPPORTED",
}
TEXTS = {status: ctypes.create_string_buffer(name.encode()) for status, name in STATUS.items()}
INVALID, NOT_SUPPORTED = 7, 15
BF16, F8 = (np.dtype(t) for t in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn))
DTYPES = {
    0: np.dtype(np.float32),
    2: np.dtype(np.float16),
    3: np.dtype(np.int8),
    10: np.dtype(np.int32),
    14: BF16,
    28: F8,
}
F32, F16, I8, I32, B16, E4M3 = DTYPES
# By compute type and scale type: factors, and the results that go with them.
SUPPORTED = {
    (68, F32): {F32: {F32}, F16: {F16, F32}, B16: {B16, F32}, E4M3: {F16, B16, F32}},
    (77, F32): {F32: {F32}},
    (72, I32): {I8: {I32}},
}
# Bytes of the attributes, and what they are by default.
OPERATION = {3: (4, 0), 4: (4, 0), 7: (4, 1), 8: (8, 0), 26: (4, -1)}
LAYOUT = {5: (4, 1), 6: (8, 0)}
WISHES = {1: (8, 0), 3: (4, 7), 5: (4, 256), 6: (4, 256), 7: (4, 256), 8: (4, 256)}
PLAIN, RELU, BIAS, GELU = 1, 2, 4, 32
ALGORITHM = 0xA160
WORKSPACE = 4096


@dataclass
class Described:
    """A descriptor: what it was made of, and its attributes."""

    made: tuple[int, ...]
    sizes: dict[int, tuple[int, int]]
    values: dict[int, int] = field(default_factory=dict)

    def __getitem__(self, attribute: int) -> int:
        return self.values.get(attribute, self.sizes[attribute][1])

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for descriptors that say the same, wherever the bias is."""
        return self.made, *(self[a] for a in self.sizes if self.sizes is not OPERATION or a != 8)


class Operation(Described):
    """cublasLtMatmulDesc_t, made of the compute type and the scale type."""


class Layout(Described):
    """cublasLtMatrixLayout_t, made of type, rows, columns and leading dimension."""

    type = property(lambda self: self.made[0])
    rows = property(lambda self: self.made[1])
    columns = property(lambda self: self.made[2])
    stride = property(lambda self: self.made[3])

    def array(self, gpu: StandIn, address: int) -> np.ndarray:
        """The matrices where they lie: [batch, rows, columns]."""
        dtype, count, apart = DTYPES[self.type], self[5], self[6]
        last = (count - 1) * apart + (self.columns - 1) * self.stride + self.rows
        flat = gpu.memory.view(address, last * dtype.itemsize).view(dtype)
        strides = (apart * dtype.itemsize, dtype.itemsize, self.stride * dtype.itemsize)
        return as_strided(flat, (count, self.rows, self.columns), strides)


class Wishes(Described):
    """cublasLtMatmulPreference_t."""


class CublasStandIn(VendorStandIn):
    """The library, on a GPU that is stood in for.

    Attributes:
        knows: Whether it finds an algorithm.
        wrong: What is added to all results.
        idle: Whether it writes nothing.
        asked: How often an algorithm was asked for.
        problems: What was computed: sizes and epilogue.
    """

    prefix, invalid, failed = "cublasLt", INVALID, 14

    if TYPE_CHECKING:
        cublasLtMatmul: Any
        cublasLtMatmulAlgoGetHeuristic: Any

    def __init__(self, gpu: StandIn, version: int = 120903):
        super().__init__(gpu, "cuBLASLt", PROTOTYPES)
        self.knows, self.wrong, self.idle, self.asked = True, 0.0, False, 0
        self.problems: list[dict[str, Any]] = []
        self.cublasLtGetVersion = ctypes.CFUNCTYPE(ctypes.c_size_t)(lambda: version)
        status_name = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int)
        self.cublasLtGetStatusName = status_name(lambda status: ctypes.addressof(TEXTS[status]))

    def _set(self, handle: int, kind: type, attribute: int, place: int, size: int) -> None:
        described = self._get(handle, kind)
        if described.sizes.get(attribute, (0, 0))[0] != size:
            raise Refusal(INVALID, f"attribute {attribute} does not have {size} bytes")
        data = ctypes.string_at(place, size)
        described.values[attribute] = int.from_bytes(data, "little", signed=True)

    # The interface

    def Create(self, place: int) -> None:
        if not self.gpu._current():
            raise Refusal(1, "no context")
        self._made(place, "handle")

    def MatmulDescCreate(self, place: int, compute: int, scale: int) -> None:
        self._made(place, Operation((compute, scale), OPERATION))

    def MatrixLayoutCreate(self, place: int, kind: int, rows: int, columns: int, ld: int) -> None:
        if kind not in DTYPES or min(rows, columns) < 1:
            raise Refusal(INVALID, "no matrix")
        self._made(place, Layout((kind, rows, columns, ld), LAYOUT))

    def MatmulPreferenceCreate(self, place: int) -> None:
        self._made(place, Wishes((), WISHES))

    Destroy = MatmulDescDestroy = MatrixLayoutDestroy = MatmulPreferenceDestroy = (
        VendorStandIn._drop
    )

    def MatmulDescSetAttribute(self, handle: int, attribute: int, place: int, size: int) -> None:
        self._set(handle, Operation, attribute, place, size)

    def MatrixLayoutSetAttribute(self, handle: int, attribute: int, place: int, size: int) -> None:
        self._set(handle, Layout, attribute, place, size)

    def MatmulPreferenceSetAttribute(
        self, handle: int, attribute: int, place: int, size: int
    ) -> None:
        self._set(handle, Wishes, attribute, place, size)

    def MatmulAlgoGetHeuristic(self, handle: int, operation: int, *told: int) -> None:
        self._get(handle, str)
        *layouts, wishes, wanted, place, count = told
        problem = self._problem(operation, layouts)
        hopes: Wishes = self._get(wishes, Wishes)
        if wanted < 1:
            raise Refusal(INVALID, "no algorithm wanted")
        self.asked += 1
        ctypes.c_int.from_address(count).value = int(self.knows)
        workspace = WORKSPACE if hopes[3] & 2 and hopes[1] >= WORKSPACE else 0
        words = ALGORITHM, hash(problem.key) & 0xFFFFFFFF, *(hopes[a] for a in range(5, 9))
        ctypes.memset(place, 0, 96)
        (ctypes.c_uint64 * 6).from_address(place)[:] = words
        ctypes.c_size_t.from_address(place + 64).value = workspace

    def Matmul(
        self, handle: int, operation: int, alpha: int, a: int, a_layout: int, b: int, b_layout: int,
        beta: int, c: int, c_layout: int, d: int, d_layout: int, algorithm: int, workspace: int,
        size: int, stream: int,
    ) -> None:  # fmt: skip
        self._get(handle, str)
        problem = self._problem(operation, (a_layout, b_layout, c_layout, d_layout))
        magic, key, *alignments = (ctypes.c_uint64 * 6).from_address(algorithm)
        if magic != ALGORITHM or key != hash(problem.key) & 0xFFFFFFFF:
            raise Refusal(INVALID, "an algorithm for something else")
        addresses = a, b, c, d
        if any(x % n for x, n in zip(addresses, alignments, strict=True)):
            raise Refusal(INVALID, f"{addresses} are no multiples of {alignments}")
        if size != WORKSPACE or workspace % 256 or self.gpu.memory.room(workspace) < size:
            raise Refusal(INVALID, f"{size} bytes at {workspace:#x} are no workspace")
        number = ctypes.c_int32 if problem.operation.made[1] == I32 else ctypes.c_float
        factors = number.from_address(alpha).value, number.from_address(beta).value
        self.gpu.work(stream, NAME, lambda: self._compute(problem, addresses, factors))

    def _problem(self, operation: int, layouts: Any) -> Problem:
        found = Problem(self._get(operation, Operation), *(self._get(n, Layout) for n in layouts))
        found.check()
        return found

    def _compute(self, problem: Problem, addresses: Any, factors: tuple[float, float]) -> None:
        a, b, c, d = (
            layout.array(self.gpu, address)
            for layout, address in zip(problem.layouts, addresses, strict=True)
        )
        bias = problem.bias(self.gpu)
        if not self.idle:
            d[:] = problem.result(a, b, c, bias, *factors) + self.wrong
        rows, columns, depth = problem.sizes
        self.problems.append({
            "sizes": (rows, columns, depth, problem.d[5]),
            "epilogue": problem.operation[7],
            "beta": factors[1],
            "turned": (problem.operation[3], problem.operation[4]),
        })  # fmt: skip


@dataclass
class Problem:
    """What is to be computed."""

    operation: Operation
    a: Layout
    b: Layout
    c: Layout
    d: Layout

    def __post_init__(self) -> None:
        # The pointer may be another one by the time that the work is done.
        self.address = self.operation[8]

    @property
    def layouts(self) -> tuple[Layout, ...]:
        return self.a, self.b, self.c, self.d

    @property
    def key(self) -> tuple[object, ...]:
        return tuple(x.key for x in (self.operation, *self.layouts))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Rows and columns of the result, and the depth, as the library sees them."""
        return self.d.rows, self.d.columns, self._shape(self.a, 3)[1]

    def _shape(self, layout: Layout, transposed: int) -> tuple[int, int]:
        shape = layout.rows, layout.columns
        return shape[::-1] if self.operation[transposed] else shape

    def check(self) -> None:
        """Refuses what does not fit, or is not supported."""
        (m, depth), (k, n) = self._shape(self.a, 3), self._shape(self.b, 4)
        shapes = [(x.rows, x.columns) for x in (self.c, self.d)]
        if depth != k or shapes != [(m, n)] * 2:
            raise Refusal(INVALID, f"{m}x{depth} times {k}x{n} gives no {shapes}")
        for layout in self.layouts:
            if layout.stride < layout.rows or layout[5] != self.d[5]:
                raise Refusal(INVALID, f"columns overlap, or batches differ: {layout}")
        if self.d[5] > 1 and self.d[6] < (n - 1) * self.d.stride + m:
            raise Refusal(INVALID, "results overlap")
        self._check_types()

    def _check_types(self) -> None:
        epilogue, types = self.operation[7], [x.type for x in self.layouts]
        compute, scale = self.operation.made
        results = SUPPORTED.get((compute, scale), {}).get(types[0], set())
        if types[1] != types[0] or types[2] != types[3] or types[3] not in results:
            raise Refusal(NOT_SUPPORTED)
        if epilogue not in (PLAIN, RELU, BIAS, RELU | BIAS, GELU, GELU | BIAS):
            raise Refusal(NOT_SUPPORTED, f"epilogue {epilogue}")
        if epilogue & BIAS and self.operation[26] not in (-1, types[3]):
            raise Refusal(NOT_SUPPORTED, "a bias of another type")
        if types[0] in (I8, E4M3):
            self._check_bytes(types[0], epilogue)

    def _check_bytes(self, kind: int, epilogue: int) -> None:
        if (self.operation[3], self.operation[4]) != (1, 0):
            raise Refusal(NOT_SUPPORTED, "factors of bytes that do not lie along the depth")
        even = 4 if kind == I8 else 16
        m, _, k = self.sizes
        if (m % even, k % even) != (0, 0) or (kind == I8 and epilogue != PLAIN):
            raise Refusal(NOT_SUPPORTED, f"{m} and {k} are no multiples of {even}")
        if kind == E4M3 and self.d.type == F32 and epilogue & BIAS:
            raise Refusal(NOT_SUPPORTED, "a bias of f32")

    def bias(self, gpu: StandIn) -> np.ndarray | None:
        """What is added to each column."""
        if not self.operation[7] & BIAS:
            return None
        dtype = DTYPES[self.d.type]
        return gpu.memory.view(self.address, self.d.rows * dtype.itemsize).view(dtype)

    def result(
        self, a: np.ndarray, b: np.ndarray, c: np.ndarray, bias: np.ndarray | None,
        alpha: float, beta: float,
    ) -> np.ndarray:  # fmt: skip
        """In the type that it is computed in."""
        wide = np.dtype(np.int32) if self.operation.made[1] == I32 else np.dtype(np.float32)
        a, b = (x.astype(wide) for x in (a, b))
        if self.operation.made[0] == 77:
            a, b = (rounded_to_tf32(x) for x in (a, b))
        a = a.swapaxes(1, 2) if self.operation[3] else a
        b = b.swapaxes(1, 2) if self.operation[4] else b
        out = wide.type(alpha) * np.matmul(a, b)
        if beta:
            out = out + wide.type(beta) * c.astype(wide)
        if bias is not None:
            out = out + bias.astype(wide)[:, None]
        if self.operation[7] & RELU:
            return np.maximum(out, 0)
        return gelu(out) if self.operation[7] & GELU else out


def gelu(x: np.ndarray) -> np.ndarray:
    """By tanh, as the library has it."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def rounded_to_tf32(x: np.ndarray) -> np.ndarray:
    """Ten bits of mantissa, ties to even."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + 0xFFF + (bits >> 13 & 1)) & np.uint32(0xFFFFE000)).view(np.float32)
