"""Products that NVIDIA's cuBLASLt can compute as well: what the runtime tells that library.

Its matrices lie column by column, ours row by row; so what it computes is the transposed product,
of the same memory, with the right factor on the left::

    result' = activation(scale * right' · left' + addend' + bias)

It is one more way to compute a kernel, without code, and is not taken unless it was measured to be
faster: what the library lacks, or does slowly, shows on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from xdsl.ir import SSAValue

from ...ir.affine import Affine
from ...ir.dims import Dim, dim_min
from ...ir.dims import product as dims_product
from ...ir.kernel import KernelOp
from ...ir.ops.constant import ConstantOp
from ...ir.ops.elementwise import CastOp, GeluOp, ReluOp
from ...ir.scalar import Scalar
from ...ir.types import DTYPE_NAMES, F32, is_float, tensor
from .frame import Code, Frame, Packing, laid_out
from .layout import Access, Group, access_of, groups_of, total
from .target import CudaTarget
from .templates.factors import Factor, Product, product_of
from .templates.matrices import along_depth
from .templates.rooted import Rooted

# What it writes, by the type of the factors.
_RESULTS = {
    "f32": ("f32",),
    "f16": ("f16", "f32"),
    "bf16": ("bf16", "f32"),
    "i8": ("i32",),
    "f8E4M3FN": ("f16", "bf16", "f32"),
}
# Factors of bytes lie along the depth, and their sizes are multiples of these.
_MULTIPLES = {"i8": 4, "f8E4M3FN": 16}


@dataclass(frozen=True)
class Matrix:
    """A matrix in memory.

    Attributes:
        operand: The number of the operand or result that it is.
        turned: Whether neighbours in memory are those of a column.
        stride: From one row, or column, to the next one, in elements.
        batch: From one matrix to the next one.
    """

    operand: int
    turned: bool
    stride: Dim
    batch: Dim


@dataclass(frozen=True)
class Types:
    """Names: what factors are, what the result is, and how is multiplied: f32, tf32, or i32."""

    factors: str
    result: str
    compute: str


@dataclass(frozen=True)
class Epilogue:
    """What becomes of the sums.

    Attributes:
        scale: What they are multiplied by.
        addend: A matrix that is added.
        bias: The number of the operand that is added to every row.
        rounded: That operand in the type of the result, where it has another one.
        activation: What comes last: ``relu``, ``gelu`` (by tanh), or nothing.
    """

    scale: float = 1.0
    addend: Matrix | None = None
    bias: int | None = None
    rounded: Packing | None = None
    activation: str = ""


@dataclass(frozen=True)
class LibraryProduct:
    """A product as the library is told of it; ``sizes`` are rows, columns, depth and batch."""

    sizes: tuple[Dim, ...]
    types: Types
    left: Matrix
    right: Matrix
    result: Matrix
    epilogue: Epilogue

    @property
    def matrices(self) -> list[Matrix]:
        """In the order in which the library is given them."""
        return [self.right, self.left, self.epilogue.addend or self.result, self.result]

    @property
    def operands(self) -> list[tuple[int, Packing | None]]:
        """The numbers of the matrices' operands, and of the bias, which may be another array."""
        found: list[tuple[int, Packing | None]] = [(m.operand, None) for m in self.matrices]
        bias = self.epilogue.bias
        return found if bias is None else [*found, (bias, self.epilogue.rounded)]

    @property
    def numbers(self) -> list[Dim]:
        """The sizes, then the stride of each matrix and that of the batch."""
        return [*self.sizes, *(n for m in self.matrices for n in (m.stride, m.batch))]

    @property
    def told(self) -> dict[str, Any]:
        """What does not depend on sizes, for the manifest."""
        return {
            **vars(self.types),
            "turned": [self.right.turned, self.left.turned],
            "addend": self.epilogue.addend is not None,
            "bias": self.epilogue.bias is not None,
            "activation": self.epilogue.activation,
            "scale": self.epilogue.scale,
        }


class _Unlike(Exception):
    """The library does not compute this."""


def library_code(kernel: KernelOp, name: str, target: CudaTarget, first: Code) -> Code | None:
    """The library's way to compute what ``first`` does, on the same memory; None if it has none."""
    rooted = Rooted(Frame(kernel, name, target))
    product = product_of(rooted, target)
    if product is None or not product.rows:
        return None
    product = along_depth(rooted, product)
    if laid_out(rooted.frame.packed) != laid_out(first.packed):
        return None
    try:
        found = _Matcher(rooted, product).match()
    except _Unlike:
        return None
    any_at_all = dims_product(dim_min(1, size) for size in found.sizes)
    same = {"packed": first.packed, "subject": first.subject}
    return Code(f"{name}_cublaslt", "", first.signature, (), any_at_all, product=found, **same)


class _Matcher:
    """Finds how the library is told of a product; all raise ``_Unlike`` where it cannot be."""

    def __init__(self, rooted: Rooted, product: Product):
        self.rooted, self.product = rooted, product
        self.frame, self.space = rooted.frame, rooted.space
        own = self.space.position(rooted.indices, rooted.type.shape)
        access = access_of([rooted.body, *rooted.results], self.space, self.frame.buffers)
        access = Access((*access.forms, own), access.values)
        axes = product.rows, product.columns, product.depth, product.batch
        groups = [groups_of(a, self.space.extents, access) for a in axes]
        self.own = own
        self.sizes = tuple(map(total, groups))
        self.rows, self.columns, self.depth, self.batch = map(_only, groups)

    def match(self) -> LibraryProduct:
        """The whole product."""
        kernel = self.frame.kernel
        _must(len(kernel.yielded) == 1 and isinstance(self.sizes[2], int) and self.sizes[2] > 0)
        types = self._types()
        left = self._factor(self.product.left, self.rows, self.depth)
        right = self._factor(self.product.right, self.depth, self.columns)
        result = self._matrix(len(kernel.inputs), self.own, self.rows, self.columns)
        _must(not result.turned)
        self._check_bytes(types.factors, left, right)
        epilogue = self._epilogue(types)
        _must(types.factors != "i8" or epilogue == Epilogue())
        return LibraryProduct(self.sizes, types, left, right, result, epilogue)

    def _types(self) -> Types:
        left, right = self.product.left, self.product.right
        _must(left.dtype == right.dtype and not left.flipped and not right.flipped)
        types = DTYPE_NAMES[left.dtype], DTYPE_NAMES[self._result_type()]
        _must(types[1] in _RESULTS.get(types[0], ()))
        if not is_float(left.dtype):
            return Types(*types, "i32")
        rounds = left.dtype == F32 and self.frame.target.precision == "tf32"
        return Types(*types, "tf32" if rounds else "f32")

    def _result_type(self) -> np.dtype:
        return self.frame.buffers[len(self.frame.kernel.inputs)].dtype

    def _check_bytes(self, factors: str, left: Matrix, right: Matrix) -> None:
        multiple = _MULTIPLES.get(factors)
        if multiple is None:
            return
        _must(right.turned and not left.turned)
        _must(all(isinstance(n, int) and n % multiple == 0 for n in self.sizes[1:3]))

    def _factor(self, factor: Factor, rows: Group | None, columns: Group | None) -> Matrix:
        """A factor that lies in memory as it is multiplied."""
        node = factor.node
        _must(node.op == "load" and node.dtype == factor.dtype)
        return self._matrix(node.attr, self._position(node), rows, columns)

    def _position(self, node: Scalar) -> Affine:
        """Where a load reads, from the start of its memory on."""
        _must(node.op == "load" and node.attr in self.frame.buffers)
        form = self.space.position(node.args, self.frame.buffers[node.attr].shape)
        _must(not form.rest and form.constant == 0)
        return form

    def _matrix(
        self, operand: int, form: Affine, rows: Group | None, columns: Group | None
    ) -> Matrix:
        walked = [g for g in (rows, columns, self.batch) if g]
        _must(rows is not None and columns is not None)
        _must(set(form.coefficients) == {axis for g in walked for axis in g.axes})
        down, across, *batch = (form.coefficient(g.inner) for g in walked)
        _must(1 in (down, across))
        turned = across != 1
        return Matrix(operand, turned, across if turned else down, batch[0] if batch else 0)

    def _epilogue(self, types: Types) -> Epilogue:
        value, activation = _activated(self.frame.kernel.yielded[0])
        terms = list(_terms(self.frame.fused.element(value, self.rooted.indices)))
        held = self.frame.fused.stored[self.rooted.root.results[0]]
        scales = [scale for node, scale in terms if node.attr == held]
        others = [node for node, scale in terms if node.attr != held]
        _must(len(scales) == 1 and all(n.attr == held or scale == 1 for n, scale in terms))
        biases = [n for n in others if self._is_bias(n)]
        addends = [n for n in others if not self._is_bias(n)]
        _must(max(len(biases), len(addends)) <= 1)
        bias = biases[0].attr if biases else None
        rounded = None if bias is None else self._rounded(bias, types)
        addend = self._addend(addends[0]) if addends else None
        return Epilogue(scales[0], addend, bias, rounded, activation)

    def _is_bias(self, node: Scalar) -> bool:
        assert self.columns is not None
        form = self._position(node)
        along = set(form.coefficients) == set(self.columns.axes)
        return along and form.coefficient(self.columns.inner) == 1

    def _addend(self, node: Scalar) -> Matrix:
        matrix = self._matrix(node.attr, self._position(node), self.rows, self.columns)
        _must(not matrix.turned and node.dtype == self._result_type())
        return matrix

    def _rounded(self, bias: int, types: Types) -> Packing | None:
        """A bias in the type that the library wants; None where it is that already."""
        _must(types.factors != "f8E4M3FN" or types.result != "f32")
        buffer, wanted, inputs = self.frame.buffers[bias], self._result_type(), self.frame.kernel
        if buffer.dtype == wanted:
            return None
        _must(isinstance(inputs.inputs[bias].owner, ConstantOp))
        return Packing(
            ("rounded", types.result), tensor(buffer.shape, wanted), partial(_as, wanted)
        )


def _as(dtype: np.dtype, array: np.ndarray) -> np.ndarray:
    return array.astype(dtype)


def _must(holds: bool) -> None:
    if not holds:
        raise _Unlike


def _only(groups: Sequence[Group]) -> Group | None:
    """The group, where there is one; None of none."""
    _must(len(groups) <= 1)
    return groups[0] if groups else None


def _activated(value: SSAValue) -> tuple[SSAValue, str]:
    """What the last function is applied to, and its name."""
    value = _uncast(value)
    op = value.owner
    if isinstance(op, ReluOp):
        return _uncast(op.operands[0]), "relu"
    if isinstance(op, GeluOp) and op.approximate:
        return _uncast(op.operands[0]), "gelu"
    return value, ""


def _uncast(value: SSAValue) -> SSAValue:
    while isinstance(value.owner, CastOp):
        value = value.owner.operands[0]
    return value


def _terms(node: Scalar) -> Iterator[tuple[Scalar, float]]:
    """What is added up, each with its factor."""
    if node.op == "cast" and is_float(node.dtype) and is_float(node.args[0].dtype):
        yield from _terms(node.args[0])
    elif node.op == "add":
        for part in node.args:
            yield from _terms(part)
    elif node.op == "mul" and "const" in (node.args[0].op, node.args[1].op):
        factor, rest = node.args if node.args[0].op == "const" else node.args[::-1]
        yield from ((n, scale * float(factor.attr)) for n, scale in _terms(rest))
    else:
        _must(node.op == "load")
        yield node, 1.0
