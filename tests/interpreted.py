"""Runs generated Triton source on numpy arrays: Triton's interpreter, with what it lacks.

Right arithmetic of bf16, factors of tf32 products rounded, numpy in the place of libdevice and of
the library functions that only compiled code can call. Every lane of a load or a store must lie in
a buffer that the launch was given. Results are labelled "interpreted": no GPU ran anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import triton.language as tl
from triton.runtime import interpreter as ti

_FLOATS = {
    tl.bfloat16: np.dtype(ml_dtypes.bfloat16),
    tl.float8e4nv: np.dtype(ml_dtypes.float8_e4m3fn),
    tl.float8e5: np.dtype(ml_dtypes.float8_e5m2),
}


@dataclass
class Memory:
    """The buffers that may be touched: first and last address of each."""

    ranges: list[tuple[int, int]] = field(default_factory=list)

    def add(self, array: np.ndarray) -> int:
        """Allows an array; gives its address."""
        start = array.ctypes.data
        self.ranges.append((start, start + array.nbytes))
        return start

    def check(self, addresses: np.ndarray, mask: np.ndarray, size: int) -> None:
        wanted = addresses[np.broadcast_to(mask, addresses.shape)].astype(np.int64)
        inside = np.zeros(wanted.shape, bool)
        for low, high in self.ranges:
            inside |= (wanted >= low) & (wanted + size <= high)
        assert inside.all(), f"{(~inside).sum()} of {wanted.size} lanes are out of bounds"


class Interpreted:
    """The kernels of a source, to be launched on memory of this process."""

    def __init__(self, source: str, memory: Memory):
        self.memory = memory
        names: dict[str, Any] = {"__name__": "interpreted", "tl": _LANGUAGE, "libdevice": _DEVICE}
        body = source.replace("@triton.jit\n", "")
        lines = [x for x in body.splitlines() if not x.startswith(("import ", "from "))]
        exec("\n".join(lines), names)
        self.names = names

    def launch(self, name: str, grid: Sequence[int], types: Sequence[str], values: Sequence[Any]):
        """Runs all programs of a kernel; ``values`` are addresses and numbers.

        That of a descriptor is the tensor's address, its sizes and its strides.
        """
        arguments = [_argument(t, v) for t, v in zip(types, values, strict=True)]
        with _patched(self.memory), np.errstate(all="ignore"):
            ti.interpreter_builder.set_grid_dim(*grid)
            for place in np.ndindex(*grid):
                ti.interpreter_builder.set_grid_idx(*place)
                self.names[name](*arguments)


def _argument(type: str, value: Any) -> Any:
    if type.startswith("tensordesc"):
        return _descriptor(type, *value)
    kind: Any = tl.str_to_ty(type.removeprefix("*"), None)
    if type.startswith("*"):
        pointer = tl.pointer_type(kind)
        return tl.tensor(ti.TensorHandle(np.array([value], np.uint64), pointer), pointer)
    return tl.tensor(ti.TensorHandle(np.array([value], ti._get_np_dtype(kind)), kind), kind)


def _descriptor(type: str, address: int, sizes: Sequence[int], strides: Sequence[int]) -> Any:
    """A tensor of which tiles are copied; its last dim has neighbours."""
    element, *tile = re.findall(r"\w+", type.removeprefix("tensordesc"))
    assert strides[-1] == 1
    return ti.interpreter_semantic.make_tensor_descriptor(
        _argument(f"*{element}", address),
        [_argument("i32", n) for n in sizes],
        [*(_argument("i64", n) for n in strides[:-1]), tl.constexpr(1)],
        [tl.constexpr(int(n)) for n in tile],
        "zero",
    )


def _real(handle: ti.TensorHandle) -> np.ndarray:
    """The numbers of a handle; Triton's interpreter keeps bits where numpy has no type."""
    kind = handle.dtype.scalar
    return handle.data.view(_FLOATS[kind]) if kind in _FLOATS else handle.data


def _bits(values: np.ndarray, kind: tl.dtype) -> ti.TensorHandle:
    wanted = _FLOATS.get(kind, ti._get_np_dtype(kind))
    made = values.astype(wanted)
    return ti.TensorHandle(made.view(ti._get_np_dtype(kind)), kind)


def _cast(self: object, src: ti.TensorHandle, dst_type: tl.dtype, *_: object) -> ti.TensorHandle:
    values, kind = _real(src), dst_type.scalar
    if values.dtype in _FLOATS.values() or kind in _FLOATS:
        values = values.astype(np.float32)
    with np.errstate(all="ignore"):
        return _bits(values, kind)


def _dot(
    self: object,
    a: ti.TensorHandle,
    b: ti.TensorHandle,
    d: ti.TensorHandle,
    precision: object,
    *_: object,
) -> ti.TensorHandle:
    wide = d.data.dtype
    left, right = (_real(x).astype(wide) for x in (a, b))
    if a.dtype == tl.float32 and str(precision).rpartition(".")[2] == "TF32":
        left, right = _tf32(left), _tf32(right)
    return ti.TensorHandle(np.matmul(left, right) + d.data, d.dtype.scalar)


def _tf32(x: np.ndarray) -> np.ndarray:
    """Rounded to ten bits of mantissa, ties to even."""
    bits = x.view(np.uint32)
    rounded = (bits + 0xFFF + (bits >> 13 & 1)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(x), rounded.view(np.float32), x)


def _binary(
    self: ti.InterpreterBuilder, lhs: ti.TensorHandle, rhs: ti.TensorHandle, op: object
) -> ti.TensorHandle:
    """As it is, but comparisons give bools."""
    made = _binary_as_is(self, lhs, rhs, op)
    is_bool = made.data.dtype == np.bool_
    return ti.TensorHandle(made.data, tl.int1) if is_bool else made


_binary_as_is = ti.InterpreterBuilder.binary_op
_UFUNCS = {
    "_add": np.add,
    "_mul": np.multiply,
    "_max": np.maximum,
    "_min": np.minimum,
    "_and": np.bitwise_and,
    "_or": np.bitwise_or,
    "_xor": np.bitwise_xor,
}


def _ufunc(combine: Callable[..., Any]) -> np.ufunc:
    return _UFUNCS[combine.__name__.removesuffix("_integer")]


def _tensor(values: np.ndarray, kind: tl.dtype) -> tl.tensor:
    shaped = tl.block_type(kind, list(values.shape)) if values.shape else kind
    return tl.tensor(ti.TensorHandle(np.atleast_1d(values), kind), shaped)


def _reduce(x: tl.tensor, axis: int, combine: Callable[..., Any], **_: object) -> tl.tensor:
    data = x.handle.data
    return _tensor(_ufunc(combine).reduce(data, axis=axis, dtype=data.dtype), x.dtype.scalar)


def _scan(x: tl.tensor, axis: int, combine: Callable[..., Any], reverse: bool = False) -> tl.tensor:
    data = np.flip(x.handle.data, axis) if reverse else x.handle.data
    total = _ufunc(combine).accumulate(data, axis=axis, dtype=data.dtype)
    return _tensor(np.ascontiguousarray(np.flip(total, axis) if reverse else total), x.dtype.scalar)


def _sort(x: tl.tensor, dim: int = -1, descending: bool = False) -> tl.tensor:
    data = np.sort(x.handle.data, axis=dim)
    return _tensor(np.flip(data, dim) if descending else data, x.dtype.scalar)


def _elementwise(function: Callable[..., np.ndarray]) -> Callable[..., tl.tensor]:
    def apply(*operands: Any) -> tl.tensor:
        tensors = [o for o in operands if isinstance(o, tl.tensor)]
        arrays = [o.handle.data if isinstance(o, tl.tensor) else o for o in operands]
        kind = tensors[0].dtype.scalar
        with np.errstate(all="ignore"):
            values = np.asarray(function(*arrays)).astype(ti._get_np_dtype(kind))
        shape = np.broadcast_shapes(*(tuple(t.shape) for t in tensors))
        return _tensor(values.reshape(shape) if shape else values.reshape(()), kind)

    return apply


class _Language:
    """``triton.language``, with numpy for what its interpreter does slowly or not at all."""

    reduce = staticmethod(_reduce)
    associative_scan = staticmethod(_scan)
    sort = staticmethod(_sort)
    erf = staticmethod(_elementwise(np.vectorize(math.erf, otypes=[np.float64])))
    sigmoid = staticmethod(_elementwise(lambda x: 1 / (1 + np.exp(-x))))

    def __getattr__(self, name: str) -> Any:
        return getattr(tl, name)


_LANGUAGE = _Language()
_NUMPY = {
    **{n: getattr(np, n) for n in "rint fmod log1p expm1 tan sinh cosh tanh trunc".split()},
    **{n: getattr(np, f"arc{n[1:]}") for n in "asin acos atan asinh acosh atanh".split()},
    "pow": np.power,
    "atan2": np.arctan2,
}
_DEVICE = SimpleNamespace(**{n: _elementwise(f) for n, f in _NUMPY.items()})


def _loads(memory: Memory) -> Callable[..., ti.TensorHandle]:
    original = ti.InterpreterBuilder.create_masked_load

    def load(
        self: Any, ptrs: ti.TensorHandle, mask: ti.TensorHandle, *rest: Any, **named: Any
    ) -> Any:
        memory.check(ptrs.data, mask.data, _size(ptrs))
        return original(self, ptrs, mask, *rest, **named)

    return load


def _stores(memory: Memory) -> Callable[..., None]:
    original = ti.InterpreterBuilder.create_masked_store

    def store(self: Any, ptrs: ti.TensorHandle, value: Any, mask: ti.TensorHandle, *rest: Any):
        memory.check(ptrs.data, mask.data, _size(ptrs))
        original(self, ptrs, value, mask, *rest)

    return store


def _size(ptrs: ti.TensorHandle) -> int:
    return ti._get_np_dtype(ptrs.get_element_ty()).itemsize


@contextmanager
def _patched(memory: Memory) -> Iterator[None]:
    def anything() -> None:
        tl.program_id(0)

    replaced: Mapping[str, Any] = {
        "create_masked_load": _loads(memory),
        "create_masked_store": _stores(memory),
        "cast_impl": _cast,
        "create_fp_to_fp": _cast,
        "create_dot": _dot,
        "binary_op": _binary,
    }
    kept = {n: getattr(ti.InterpreterBuilder, n) for n in replaced}
    scope = ti._patch_lang(anything)
    # As Triton 3.6 has it, it fails with numpy 2.4.
    scope.set_attr(tl.tensor, "__index__", lambda self: self.handle.data.item())
    for name, method in replaced.items():
        setattr(ti.InterpreterBuilder, name, method)
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(ti.InterpreterBuilder, name, method)
        scope.restore()
