"""Matrix products."""

from __future__ import annotations

import numpy as np
from xdsl.irdl import operand_def, result_def

from .. import scalar as s
from ..op import GraphOp, graph_op, param
from ..structure import Contraction, Indices
from ..types import I32, TensorType, is_float, is_integer, tensor
from .elementwise import broadcast_dims


@graph_op
class MatmulOp(GraphOp):
    """Batched matrix product ``result[…, m, n] = sum over k of x[…, m, k] * y[…, k, n]``.

    Leading dims broadcast as in numpy; both ranks are at least 2. Floats narrower than f32 are
    summed in f32, integers in i32 or wider.

    With ``to``, a dtype of at least 32 bits, the operands may be different narrower integers, or
    floats, and the sum is the result as it is: ``ui8`` times ``i8`` to ``i32``.
    """

    name = "mlc.matmul"
    x = operand_def(TensorType)
    y = operand_def(TensorType)
    to = param()
    result = result_def(TensorType)

    def infer(self) -> TensorType:
        """``[broadcast of the leading dims, M, N]``."""
        x, y = self.operand_type(0), self.operand_type(1)
        if min(x.rank, y.rank) < 2:
            raise self.fail("both operands need at least two dims")
        dtype = product_dtype(self, x.dtype, y.dtype, self.to)
        if x.shape[-1] != y.shape[-2]:
            raise self.fail(f"inner sizes {x.shape[-1]} and {y.shape[-2]} differ")
        batch = broadcast_dims(self, x.shape[:-2], y.shape[:-2])
        return tensor((*batch, x.shape[-2], y.shape[-1]), dtype)

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Numpy's product in the dtype of the sum."""
        wide = self.to or sum_dtype(x.dtype)
        return np.matmul(x.astype(wide), y.astype(wide)).astype(self.to or x.dtype)

    def structure(self) -> Contraction:
        """A sum of products over k."""
        x, y = self.operand_type(0), self.operand_type(1)
        wide = self.to or sum_dtype(x.dtype)

        def body(i: Indices, r: Indices) -> s.Scalar:
            left = s.load(0, (*self._batch(x, i), i[-2], r[0]), x.dtype)
            right = s.load(1, (*self._batch(y, i), r[0], i[-1]), y.dtype)
            return s.cast(left, wide) * s.cast(right, wide)

        return Contraction(
            (x.shape[-1],), "add", body, lambda total: s.cast(total, self.to or x.dtype)
        )

    def _batch(self, operand: TensorType, indices: Indices) -> list[s.Scalar | int]:
        batch = indices[:-2][len(indices) - operand.rank :]
        return [0 if d == 1 else i for d, i in zip(operand.shape[:-2], batch, strict=True)]


def product_dtype(op: GraphOp, x: np.dtype, y: np.dtype, to: np.dtype | None) -> np.dtype:
    """The dtype of a product's result, which is ``to`` where that is given.

    Raises:
        InferenceError: The operands do not go together.
    """
    if to is None:
        if x != y:
            raise op.fail("operands must have the same dtype")
        return x
    kind = is_float if is_float(to) else is_integer
    if not all(kind(d) and d.itemsize < to.itemsize for d in (x, y)):
        raise op.fail(f"operands of a product to {to} must be narrower ones of its kind")
    if sum_dtype(to) != to:
        raise op.fail(f"products are summed in 32 bits or wider, not {to}")
    return to


def sum_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype in which products of ``dtype`` are summed."""
    if is_float(dtype):
        return dtype if dtype.itemsize >= 4 else np.dtype(np.float32)
    return dtype if dtype.itemsize >= 4 else I32
