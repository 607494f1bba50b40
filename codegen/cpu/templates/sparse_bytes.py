"""The sparse template on bytes: its elements are words of four neighbours of the depth.

A word of weights is skipped where all four are zero. What is turned is words of activations; a
word of weights is repeated for the rows in the lanes of a sum of products of bytes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from xdsl.dialects import arith
from xdsl.dialects.builtin import i32
from xdsl.ir import Attribute, SSAValue

from ....ir import loop
from ....ir.affine import Affine
from ....ir.dims import Dim
from ....ir.kernel import KernelOp
from ....ir.types import DTYPES
from ..target import CpuTarget
from .frame import Code, Frame
from .products import Depth, Factor, Product
from .rooted import Rooted
from .sparse import SparseProduct
from .sparse_blocking import right_matrix, sparse_product

_WORD = 4
_BYTES = DTYPES["ui8"], DTYPES["i8"]


def sparse_kernel(kernel: KernelOp, name: str, target: CpuTarget, height: int) -> Code:
    """Code for a product of floats or bytes with many zeros, by blocks of ``height`` columns."""
    rooted = Rooted(Frame(kernel, name, target))
    product = sparse_product(rooted)
    if product is not None:
        return SparseProduct(rooted, product, height).build()
    product = words_product(rooted)
    assert product is not None, "zeros are skipped in products with constant matrices"
    return _SparseBytes(rooted, product, height).build()


def words_product(rooted: Rooted) -> Product | None:
    """A product of bytes that may be computed sparsely, its depth in words; None for another."""
    frame = rooted.frame
    product = sparse_product(rooted, _BYTES)
    if product is None or not frame.target.dot4.get(frame.target.lanes(32)):
        return None
    form, deepest = product.left.form, product.depths[-1]
    steps = [form.constant, *(d.left for d in product.depths[:-1]), deepest.extent]
    steps += [c for axis, c in form.coefficients.items() if axis != deepest.axis]
    if not all(_words(s) * _WORD == s for s in steps):
        return None
    return _in_words(product)


def words_matrix(array: np.ndarray, rooted: Rooted, product: Product) -> np.ndarray:
    """The right factor of a product of words as ``[depth, columns]`` words."""
    matrix = right_matrix(array, rooted, product)
    depth, columns = matrix.shape
    words = matrix.reshape(depth // _WORD, _WORD, columns).transpose(0, 2, 1)
    return np.ascontiguousarray(words).view(np.int32)[..., 0]


def _in_words(product: Product) -> Product:
    *outer, deepest = product.depths
    depths = [replace(d, left=_words(d.left)) for d in outer]
    form = product.left.form
    coefficients: dict[int, Dim] = {
        axis: 1 if axis == deepest.axis else _words(c) for axis, c in form.coefficients.items()
    }
    left = Factor(product.left.number, Affine(coefficients, _words(form.constant)))
    inner = Depth(deepest.axis, _words(deepest.extent), 1, deepest.right)
    return replace(product, left=left, depths=(*depths, inner))


def _words(size: Dim) -> Dim:
    return size // _WORD


class _SparseBytes(SparseProduct):
    element: ClassVar[Attribute] = i32

    def _elements(self, memory: SSAValue) -> SSAValue:
        return self.b.op(loop.RecastOp, [memory], loop.buffer(i32))

    def _product(self, w: SSAValue, x: SSAValue, total: SSAValue) -> SSAValue:
        return self.b.add(loop.DotWordsOp(x, w, total, _WORD)).results[0]

    def _plus(self, a: SSAValue, b: SSAValue) -> SSAValue:
        return self.b.op(arith.AddiOp, [a, b], a.type)

    def _matrix(self, array: np.ndarray) -> np.ndarray:
        return words_matrix(array, self.rooted, self.product)
