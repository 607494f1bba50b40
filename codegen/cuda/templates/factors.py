"""A reduction seen as a matrix product: which axes are rows, columns, batch and depth.

An axis of the result that occurs in the left factor alone is one of rows, in the right one alone of
columns; what occurs in both, or in neither, is one of the batch. Factors may be any expressions, so
that what comes before a product is computed where it is read. Convolution is such a product.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ....ir.scalar import Scalar, nodes_of
from ....ir.types import DTYPE_NAMES, DTYPES, F32, I32, bit_width, is_float, is_signed
from ..target import CudaTarget
from .rooted import Rooted

_FLOAT8 = DTYPES["f8E4M3FN"]
_TENSOR_CORES = frozenset(["f16", "bf16", "f32"])


@dataclass(frozen=True)
class Factor:
    """One factor of a product.

    Attributes:
        node: Its element, before it is widened for the sum.
        dtype: The type in which it is multiplied.
        flipped: Whether it holds bytes without sign, less 128, since products are of signed ones.
    """

    node: Scalar
    dtype: np.dtype
    flipped: bool = False

    @property
    def axes(self) -> set[int]:
        """The axes it depends on."""
        return {n.attr for n in nodes_of(self.node) if n.op == "axis"}


@dataclass(frozen=True)
class Product:
    """A sum of products: its factors, and which axes are which."""

    left: Factor
    right: Factor
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    batch: tuple[int, ...]
    depth: tuple[int, ...]

    @property
    def integer(self) -> bool:
        """Whether sums are exact, in i32."""
        return not is_float(self.left.dtype)


def product_of(kernel: Rooted, target: CudaTarget) -> Product | None:
    """The reduction as a matrix product; None where it is none that has an instruction.

    Factors of f32 are rounded where the target is to store them in 16 bits.
    """
    body = kernel.body
    if kernel.structure.combine != "add" or body.op != "mul":
        return None
    factors = [_factor(a) for a in body.args]
    left, right = factors
    if left is None or right is None or left.dtype != right.dtype:
        return None
    if kernel.frame.target.fp8 and left.node.dtype == right.node.dtype == _FLOAT8:
        left, right = (replace(f, dtype=_FLOAT8) for f in (left, right))
    if left.dtype == F32 and target.narrow:
        left, right = (replace(f, dtype=target.narrow) for f in (left, right))
    last = _last(kernel)
    if last is None:
        return None
    if last in left.axes:
        left, right = right, left
    if last in left.axes or last not in right.axes:
        return None
    rank = len(kernel.indices)
    own = [a for a in range(rank) if kernel.space.extents[a] != 1]
    rows = tuple(a for a in own if a in left.axes and a not in right.axes)
    columns = tuple(a for a in own if a in right.axes and a not in left.axes)
    batch = tuple(a for a in own if a not in rows and a not in columns)
    depth = tuple(range(rank, len(kernel.space.extents)))
    return Product(left, right, rows, columns, batch, depth)


def precision_of(dtype: np.dtype, target: CudaTarget) -> str:
    """What tells a product how to sum: factors of f32 stay as they are, or round to tf32.

    Tensor cores drop bits of long sums of floats of 8 bits: each step is added in f32.
    """
    if dtype == _FLOAT8:
        return ", max_num_imprecise_acc=DEPTH"
    if dtype != F32:
        return ""
    return f', input_precision="{"ieee" if target.precision == "f32" else "tf32"}"'


def _last(kernel: Rooted) -> int | None:
    """The innermost axis of the result."""
    own = [a for a in range(len(kernel.indices)) if kernel.space.extents[a] != 1]
    return own[-1] if own else None


def _factor(node: Scalar) -> Factor | None:
    inner = node.args[0] if node.op == "cast" else node
    if is_float(node.dtype):
        return _float_factor(node, inner)
    if node.dtype != I32 or is_float(inner.dtype) or bit_width(inner.dtype) > 8:
        return None
    flipped = not is_signed(inner.dtype) and bit_width(inner.dtype) == 8
    return Factor(inner, np.dtype(np.int8), flipped)


def _float_factor(node: Scalar, inner: Scalar) -> Factor | None:
    if DTYPE_NAMES[node.dtype] not in _TENSOR_CORES:
        return None
    if is_float(inner.dtype) and bit_width(inner.dtype) < 16:
        return Factor(inner, np.dtype(np.float16))
    narrow = is_float(inner.dtype) and bit_width(inner.dtype) == 16
    return Factor(inner, inner.dtype) if narrow else Factor(node, node.dtype)
