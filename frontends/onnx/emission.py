"""Where imported ops go: into the model's graph, or for a while into a graph inside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from xdsl.ir import Block, SSAValue

from ...ir.data import DataAttr
from ...ir.dims import symbols_of
from ...ir.op import GraphOp, copy_source
from ...ir.ops.constant import ConstantOp
from ...ir.ops.control import ReturnOp
from ...ir.ops.select import LateOp
from ...ir.types import TensorType, tensor, type_of
from .fold import folded


class Emission:
    """Places ops.

    Attributes:
        main: The model's graph.
        block: The graph that ops go to now.
    """

    def __init__(self) -> None:
        self.block = self.main = Block()
        self._counter = itertools.count()

    def emit(self, op: GraphOp) -> Sequence[SSAValue]:
        """Places an op, or what its results are known to be."""
        known = folded(op)
        if known is None:
            self.block.add_op(op)
            return op.results
        op.drop_all_references()
        for constant in known:
            copy_source(op, constant)
        self.block.add_ops(known)
        return [constant.results[0] for constant in known]

    def constant(self, array: np.ndarray) -> SSAValue:
        """A constant; what lies unaligned in a file is copied when it is first read."""
        if array.flags.aligned:
            return self.emit(ConstantOp.of(array))[0]
        data = DataAttr.lazy(tensor(array.shape, array.dtype), array.copy)
        return self.emit(ConstantOp(value=data))[0]

    def late_symbol(self, stem: str = "count") -> str:
        """A new name for a size that only the run tells."""
        taken = {s for a in self.main.args for d in type_of(a).shape for s in symbols_of(d)}
        names = (f"{stem}_{k}" for k in self._counter)
        return next(name for name in names if name not in taken)

    @contextmanager
    def inside(self, types: Sequence[TensorType]) -> Iterator[Block]:
        """While active, ops go to a new graph, of which nothing is left where its import fails."""
        outer, self.block = self.block, Block(arg_types=types)
        try:
            yield self.block
            drop_unused(self.block)
        except BaseException:
            self.block.erase()
            raise
        finally:
            self.block = outer


def drop_unused(block: Block) -> None:
    """Removes ops without a use; those that find out a size may have one in some shape."""
    for op in reversed(list(block.ops)):
        kept = isinstance(op, ReturnOp) or (isinstance(op, LateOp) and op.found())
        if not kept and not any(r.uses for r in op.results):
            op.detach()
            op.erase()
