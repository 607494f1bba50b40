"""A contraction seen as a matrix product: which axes are rows, columns, batch and depth.

The two factors of the summed product are loads whose positions are linear in the axes; an axis
that moves the left factor alone is a row, one that moves the right factor alone a column, one that
moves both a batch. Convolution is a matrix product with other strides.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.ir import SSAValue

from ....ir.affine import Affine
from ....ir.dims import Dim
from ....ir.ops.constant import ConstantOp
from ....ir.scalar import Scalar
from ....ir.types import DTYPES, F32, is_integer
from .access import load_forms
from .frame import static
from .rooted import Rooted

_HALVES = (DTYPES["f16"], DTYPES["bf16"])


@dataclass(frozen=True)
class Factor:
    """One factor: the buffer it is loaded from, and its position."""

    number: int
    form: Affine

    def stride(self, axis: int) -> Dim:
        """How far an axis moves it."""
        return self.form.coefficient(axis)


@dataclass(frozen=True)
class Depth:
    """Summed axes that both factors walk through as one: how many, and how far a step is."""

    axis: int
    extent: Dim
    left: Dim
    right: Dim


@dataclass(frozen=True)
class Product:
    """A contraction as a matrix product.

    Attributes:
        left: The factor whose elements are repeated along a tile's columns.
        right: The factor whose rows are read as vectors.
        column: The axis of the columns, the last of the result.
        row: The axis along which a tile extends downwards; None when there is one row only.
        rows: The size of that axis, with the axes merged into it.
        outer: The other axes of the result.
        summed: The summed axes, outermost first.
        depths: The same, those merged that both factors walk through as one.
        packed: Whether the right factor is a constant, to be laid out by panels.
    """

    left: Factor
    right: Factor
    column: int
    row: int | None
    rows: Dim
    outer: tuple[int, ...]
    summed: tuple[int, ...]
    depths: tuple[Depth, ...]
    packed: bool


def product_of(
    kernel: Rooted,
    dtype: np.dtype = F32,
    by_sample: bool = False,
    strided: bool = False,
    isolated: bool = False,
) -> Product | None:
    """The contraction, summed in ``dtype``, as a matrix product, or None where it is none.

    With ``by_sample`` rows of several samples are not merged where a sample has more data than the
    right factor: what it is computed from and what for is near then; with ``isolated`` they never
    are. With ``strided`` columns of a right factor that is no weight need not be neighbours.
    """
    factors = _factors(kernel, dtype)
    column = len(kernel.indices) - 1
    if factors is None or column < 0:
        return None
    left, right = factors
    if left.stride(column) != 0:
        left, right = right, left
    if left.stride(column) != 0 or right.stride(column) == 0:
        return None
    packed = _is_weight(kernel, right)
    if not packed and not strided and right.stride(column) != 1:
        return None
    summed = _summed(kernel, left, packed)
    depths = _depths(kernel, summed, left, right, packed)
    apart = isolated or (by_sample and packed and _is_large_sample(kernel, left, right))
    row, rows, outer = _rows(kernel, left, right, column, apart)
    return Product(left, right, column, row, rows, outer, summed, depths, packed)


def _factors(kernel: Rooted, dtype: np.dtype) -> tuple[Factor, Factor] | None:
    body = kernel.body
    if kernel.structure.combine != "add" or body.op != "mul" or body.dtype != dtype:
        return None
    factors = [_factor(kernel, a) for a in body.args]
    a, b = factors
    return (a, b) if a and b else None


def _factor(kernel: Rooted, node: Scalar) -> Factor | None:
    if node.op == "cast" and _widens(node.args[0].dtype, node.dtype):
        (node,) = node.args
    if node.op != "load" or node.attr not in kernel.frame.buffers:
        return None
    form = kernel.space.position(node.args, kernel.frame.buffers[node.attr].shape)
    return None if form.rest else Factor(node.attr, form)


def _widens(source: np.dtype, target: np.dtype) -> bool:
    """Whether a cast changes no value, and is done where the element is read."""
    return (is_integer(source) and is_integer(target)) or (source in _HALVES and target == F32)


def _is_weight(kernel: Rooted, factor: Factor) -> bool:
    source: SSAValue = kernel.frame.kernel.inputs[factor.number]
    static = all(isinstance(c, int) for c in factor.form.coefficients.values())
    return isinstance(source.owner, ConstantOp) and static


def _summed(kernel: Rooted, left: Factor, packed: bool) -> tuple[int, ...]:
    """The summed axes in order; where weights may lie in any, the left factor's neighbours last."""
    first = len(kernel.indices)
    axes = [first + n for n in range(len(kernel.structure.extents))]
    deep = [a for a in axes if kernel.structure.extents[a - first] != 1]
    near = [a for a in deep if left.stride(a) == 1]
    if packed and near and near[-1] != deep[-1]:
        axes.remove(near[-1])
        axes.append(near[-1])
    return tuple(axes)


def _depths(
    kernel: Rooted, summed: Sequence[int], left: Factor, right: Factor, packed: bool
) -> tuple[Depth, ...]:
    """The summed axes, neighbours merged where both factors walk through them as one."""
    first = len(kernel.indices)
    depths: list[Depth] = []
    for axis in summed:
        extent = kernel.structure.extents[axis - first]
        step = Depth(axis, extent, left.stride(axis), right.stride(axis))
        last = depths[-1] if depths else None
        if last and (last.extent == 1 or _follows(last, step, packed)):
            step = Depth(axis, last.extent * extent, step.left, step.right)
            depths.pop()
        elif extent == 1 and last:
            continue
        depths.append(step)
    return tuple(depths)


def _follows(outer: Depth, inner: Depth, packed: bool) -> bool:
    straight = packed or outer.right == inner.right * inner.extent
    return outer.left == inner.left * inner.extent and straight


def _rows(
    kernel: Rooted, left: Factor, right: Factor, column: int, apart: bool
) -> tuple[int | None, Dim, tuple[int, ...]]:
    """The axis of a tile's rows, its size, and the axes outside; with ``apart`` the first is."""
    shape = kernel.type.shape
    rows = [a for a in range(column) if left.stride(a) != 0 and right.stride(a) == 0]
    if not rows:
        return None, 1, tuple(a for a in range(column) if shape[a] != 1)
    inner, size = rows[-1], shape[rows[-1]]
    forms = _walks(kernel, left)
    outer = [a for a in range(column) if a != inner and shape[a] != 1]
    while forms is not None and outer and outer[-1] in rows:
        axis = outer[-1]
        if apart and axis == 0:
            break
        if any(f.coefficient(axis) != f.coefficient(inner) * size for f in forms):
            break
        size = size * shape[axis]
        outer.pop()
    return inner, size, tuple(outer)


def _is_large_sample(kernel: Rooted, left: Factor, right: Factor) -> bool:
    """Whether what is read and written for one sample outweighs the right factor."""
    shapes = [kernel.frame.buffers[n].shape for n in (left.number, right.number)]
    read, weights = static(shapes[0][1:]), static(shapes[1])
    return len(kernel.type.shape) > 2 and read + static(kernel.type.shape[1:]) >= weights


def _walks(kernel: Rooted, left: Factor) -> list[Affine] | None:
    """The positions that must agree for rows to merge."""
    forms = [left.form, kernel.space.position(kernel.indices, kernel.type.shape)]
    for _, expression in kernel.epilogue:
        found = load_forms(expression, kernel.space, kernel.frame.buffers)
        if found is None:
            return None
        forms += found
    return forms


def pack(array: np.ndarray, product: Product, extents: Sequence[int], panel: int) -> np.ndarray:
    """The right factor as ``[outer axes it depends on…, panels, depth, panel]``, zeros at the end.

    ``extents`` are the sizes of all axes.
    """
    outer = batch_axes(product)
    axes = [*outer, *product.summed, product.column]
    flat = np.ascontiguousarray(array).reshape(-1)[int(product.right.form.constant) :]
    view = np.lib.stride_tricks.as_strided(
        flat,
        [extents[a] for a in axes],
        [int(product.right.stride(a)) * flat.itemsize for a in axes],
    )
    batch, columns = [extents[a] for a in outer], extents[product.column]
    depth = int(np.prod([extents[a] for a in axes[len(outer) : -1]]))
    panels = -(-columns // panel)
    packed = np.zeros([*batch, panels, depth, panel], array.dtype)
    for number in range(panels):
        part = view[..., number * panel :][..., :panel]
        width = part.shape[-1]
        packed[..., number, :, :width] = part.reshape([*batch, depth, width])
    return packed


def layout_key(product: Product, extents: Sequence[int]) -> Hashable:
    """What a packing of the right factor depends on, besides its panels."""
    strides = tuple(product.right.stride(a) for a in range(len(extents)))
    return strides, tuple(extents), product.summed, product.right.form.constant


def batch_axes(product: Product) -> list[int]:
    """The outer axes that move the right factor."""
    return [a for a in product.outer if product.right.stride(a) != 0]
