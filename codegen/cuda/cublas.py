"""Products that NVIDIA's cuBLASLt can compute as well: what the runtime tells that library.

Its matrices lie column by column, ours row by row; so what it computes is the transposed product,
of the same memory, with the right factor on the left::

    result' = activation(scale * right' · left' + addend' + bias)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...ir.affine import Affine
from ...ir.dims import Dim
from ...ir.kernel import KernelOp
from ...ir.scalar import Scalar
from ...ir.types import DTYPE_NAMES, F32, is_float
from .frame import Code, Frame, Packing, laid_out
from .layout import Access, Group, access_of, groups_of, total
from .target import CudaTarget
from .templates.factors import Factor, Product, product_of
from .templates.matrices import along_depth
from .templates.rooted import Rooted
from .vendor import Unlike, following, must, position, result_type, rounded

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

    library = "cublaslt"
    why = "cuBLASLt computes it"

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


def product_call(kernel: KernelOp, name: str, target: CudaTarget, first: Code) -> LibraryProduct:
    """The product that ``first`` computes, on the same memory.

    Raises:
        Unlike: The library does not compute it.
    """
    must(kernel.algorithm.data == "contraction")
    rooted = Rooted(Frame(kernel, name, target))
    product = product_of(rooted, target)
    if product is None or not product.rows:
        raise Unlike
    product = along_depth(rooted, product)
    must(laid_out(rooted.frame.packed) == laid_out(first.packed))
    return _Matcher(rooted, product).match()


class _Matcher:
    """Finds how the library is told of a product; all raise ``Unlike`` where it cannot be."""

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
        must(isinstance(self.sizes[2], int) and self.sizes[2] > 0)
        types = self._types()
        left = self._factor(self.product.left, self.rows, self.depth)
        right = self._factor(self.product.right, self.depth, self.columns)
        result = self._matrix(len(kernel.inputs), self.own, self.rows, self.columns)
        must(not result.turned)
        self._check_bytes(types.factors, left, right)
        epilogue = self._epilogue(types)
        must(types.factors != "i8" or epilogue == Epilogue())
        return LibraryProduct(self.sizes, types, left, right, result, epilogue)

    def _types(self) -> Types:
        left, right = self.product.left, self.product.right
        must(left.dtype == right.dtype and not left.flipped and not right.flipped)
        types = DTYPE_NAMES[left.dtype], DTYPE_NAMES[result_type(self.rooted)]
        must(types[1] in _RESULTS.get(types[0], ()))
        if not is_float(left.dtype):
            return Types(*types, "i32")
        rounds = left.dtype == F32 and self.frame.target.precision == "tf32"
        return Types(*types, "tf32" if rounds else "f32")

    def _check_bytes(self, factors: str, left: Matrix, right: Matrix) -> None:
        multiple = _MULTIPLES.get(factors)
        if multiple is None:
            return
        must(right.turned and not left.turned)
        must(all(isinstance(n, int) and n % multiple == 0 for n in self.sizes[1:3]))

    def _factor(self, factor: Factor, rows: Group | None, columns: Group | None) -> Matrix:
        """A factor that lies in memory as it is multiplied."""
        node = factor.node
        must(node.op == "load" and node.dtype == factor.dtype)
        return self._matrix(node.attr, position(self.rooted, node), rows, columns)

    def _matrix(
        self, operand: int, form: Affine, rows: Group | None, columns: Group | None
    ) -> Matrix:
        walked = [g for g in (rows, columns, self.batch) if g]
        must(rows is not None and columns is not None)
        must(set(form.coefficients) == {axis for g in walked for axis in g.axes})
        down, across, *batch = (form.coefficient(g.inner) for g in walked)
        must(1 in (down, across))
        turned = across != 1
        return Matrix(operand, turned, across if turned else down, batch[0] if batch else 0)

    def _epilogue(self, types: Types) -> Epilogue:
        follows = following(self.rooted)
        others = follows.terms
        biases = [n for n in others if self._is_bias(n)]
        addends = [n for n in others if not self._is_bias(n)]
        must(max(len(biases), len(addends)) <= 1)
        bias = biases[0].attr if biases else None
        must(bias is None or types.factors != "f8E4M3FN" or types.result != "f32")
        narrow = None if bias is None else rounded(self.rooted, bias)
        addend = self._addend(addends[0]) if addends else None
        return Epilogue(follows.scale, addend, bias, narrow, follows.activation)

    def _is_bias(self, node: Scalar) -> bool:
        assert self.columns is not None
        form = position(self.rooted, node)
        along = set(form.coefficients) == set(self.columns.axes)
        return along and form.coefficient(self.columns.inner) == 1

    def _addend(self, node: Scalar) -> Matrix:
        matrix = self._matrix(node.attr, position(self.rooted, node), self.rows, self.columns)
        must(not matrix.turned and node.dtype == result_type(self.rooted))
        return matrix


def _only(groups: Sequence[Group]) -> Group | None:
    """The group, where there is one; None of none."""
    must(len(groups) <= 1)
    return groups[0] if groups else None
