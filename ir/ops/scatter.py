"""Ops that write elements by index."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from xdsl.irdl import operand_def, result_def

from ..op import GraphOp, graph_op, param
from ..structure import Special
from ..types import TensorType, is_integer

_REDUCTIONS: dict[str, np.ufunc] = {
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


class ScatterOp(GraphOp):
    """Base: x with ``updates`` written, or combined by ``reduction``, at ``indices``.

    Negative indices count from the end; those out of range are an error. Where an index repeats,
    the last update is the one that is written. The order of updates is row-major.
    """

    x = operand_def(TensorType)
    indices = operand_def(TensorType)
    updates = operand_def(TensorType)
    reduction = param("none")
    result = result_def(TensorType)
    ALGORITHM: ClassVar[str]

    def check(self) -> None:
        """What holds for both."""
        x, indices, updates = (self.operand_type(k) for k in range(3))
        if self.reduction not in ("none", *_REDUCTIONS):
            known = ", ".join(("none", *_REDUCTIONS))
            raise self.fail(f"reduction '{self.reduction}' is none of {known}")
        if not is_integer(indices.dtype):
            raise self.fail("indices must be integers")
        if updates.dtype != x.dtype:
            raise self.fail("x and updates must have the same dtype")

    def write(self, x: np.ndarray, where: tuple[np.ndarray, ...], updates: np.ndarray) -> None:
        """Writes or combines."""
        if self.reduction == "none":
            x[where] = updates
        else:
            _REDUCTIONS[self.reduction].at(x, where, updates)

    def structure(self) -> Special:
        """An algorithm of its own: updates may meet in one element."""
        return Special(self.ALGORITHM)


@graph_op
class ScatterElementsOp(ScatterOp):
    """``result[…, indices[…, i, …], …] = updates[…, i, …]``, the index being along ``axis``.

    ``%r = "mlc.scatter_elements"(%x, %indices, %updates) <{axis = #mlc.param<1>, …}> : …``
    """

    name = "mlc.scatter_elements"
    axis = param(0)
    ALGORITHM: ClassVar[str] = "scatter_elements"

    def infer(self) -> TensorType:
        """The type of x."""
        self.check()
        x, indices, updates = (self.operand_type(k) for k in range(3))
        if not 0 <= self.axis < x.rank:
            raise self.fail(f"axis {self.axis} does not exist in rank {x.rank}")
        if indices.rank != x.rank or indices.shape != updates.shape:
            raise self.fail("indices and updates must have the same shape, of the rank of x")
        for k, (a, b) in enumerate(zip(indices.shape, x.shape, strict=True)):
            if k != self.axis and isinstance(a, int) and isinstance(b, int) and a > b:
                raise self.fail(f"indices have {a} entries along dim {k}, x has {b}")
        return x

    def reference(self, x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        """Numpy's writing by arrays of indices."""
        where = list(np.indices(indices.shape))
        where[self.axis] = indices.astype(np.int64)
        result = x.copy()
        self.write(result, tuple(where), updates)
        return result


@graph_op
class ScatterNdOp(ScatterOp):
    """``result[indices[i…, :]…, c…] = updates[i…, c…]``: slices of x by vectors of indices."""

    name = "mlc.scatter_nd"
    ALGORITHM: ClassVar[str] = "scatter_nd"

    def infer(self) -> TensorType:
        """The type of x."""
        self.check()
        x, indices, updates = (self.operand_type(k) for k in range(3))
        depth = indices.shape[-1] if indices.rank else None
        if not isinstance(depth, int) or depth > x.rank:
            raise self.fail(f"the last dim of the indices must be known and at most {x.rank}")
        wanted = x.with_shape((*indices.shape[:-1], *x.shape[depth:]))
        if updates != wanted:
            raise self.fail(f"updates must be {wanted}")
        return x

    def reference(self, x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        """One slice after another."""
        result = x.copy()
        combine: Callable[..., np.ndarray] | None = _REDUCTIONS.get(self.reduction)
        for i in np.ndindex(*indices.shape[:-1]):
            where = tuple(indices[i].astype(np.int64))
            result[where] = combine(result[where], updates[i]) if combine else updates[i]
        return result
