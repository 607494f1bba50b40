"""Control flow: ops that run graphs of their own, as the data decide.

The graphs are blocks that end in ``mlc.return``, like the model's. A block reads its arguments and
its own constants, and nothing around it: what it needs is captured, an operand of the op that
becomes an argument. So passes may look at every block by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import Block, BlockArgument, Operation, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    operand_def,
    region_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.traits import IsolatedFromAbove, IsTerminator

from ..dims import Dim, dim_max, symbol, symbols_of
from ..late import late_bounds, upper_bound
from ..op import GraphOp, graph_op, param
from ..structure import Control
from ..symbols import known_shape, known_symbols
from ..types import BOOL, I64, TensorType, tensor, type_of
from .select import LateOp
from .shape import param_dims

FOREVER = int(np.iinfo(np.int64).max)
_TRIPS, _CONDITION = tensor((), I64), tensor((), BOOL)


@irdl_op_definition
class ReturnOp(IRDLOperation):
    """Ends a graph and names its results, in order."""

    name = "mlc.return"
    values = var_operand_def(TensorType)
    traits = traits_def(IsTerminator())


class RegionOp(LateOp):
    """Base: the op runs graphs of its own."""

    traits = traits_def(IsolatedFromAbove())

    @property
    def blocks(self) -> list[Block]:
        """The graphs."""
        return [region.block for region in self.regions]

    def given(self, argument: BlockArgument) -> SSAValue | None:
        """The operand that an argument of a block stands for; None where the op makes it."""
        raise NotImplementedError(self.name)

    def structure(self) -> Control:
        """Control flow."""
        return Control()


@graph_op
class IfOp(RegionOp):
    """The results of the first graph where the condition (a bool) holds, else of the second.

    Both take the ``captured`` values and give results of the same dtypes and ranks. Where two sizes
    differ, the result's is a symbol, the next of ``counts``; the same symbol for the same two.

        %r = "mlc.if"(%c, %x) ({
        ^then(%a):
          …
          "mlc.return"(%b)
        }, {
        ^otherwise(%a):
          "mlc.return"(%a)
        })
    """

    name = "mlc.if"
    condition = operand_def(TensorType)
    captured = var_operand_def(TensorType)
    counts = param(())
    outputs = var_result_def(TensorType)
    then = region_def("single_block")
    otherwise = region_def("single_block")

    def infer(self) -> Sequence[TensorType]:
        """The types that both sides give."""
        if self.operand_type(0) != _CONDITION:
            raise self.fail("the condition must be one bool")
        types = [type_of(v) for v in self.operands[1:]]
        for block in self.blocks:
            if [a.type for a in block.args] != types:
                raise self.fail("a side does not take the captured values")
        pairs = differences(*self.blocks)
        if pairs is None or len(pairs) != len(self.counts):
            raise self.fail(f"the sides give {_listed(self.blocks)}")
        sizes = dict(zip(pairs, map(symbol, self.counts), strict=True))
        return [
            a.with_shape(sizes.get((d, e), d) for d, e in zip(a.shape, b.shape, strict=True))
            for a, b in zip(*map(returned_types, self.blocks), strict=True)
        ]

    def found(self) -> dict[str, Dim]:
        """The larger of the two sizes."""
        bounds = [late_bounds(block.walk()) for block in self.blocks]
        pairs = differences(*self.blocks) or []
        largest = (dim_max(*map(upper_bound, pair, bounds)) for pair in pairs)
        return dict(zip(self.counts, largest, strict=True))

    def given(self, argument: BlockArgument) -> SSAValue:
        """Each is captured."""
        return self.operands[1 + argument.index]

    def reference(self, condition: np.ndarray, *captured: np.ndarray) -> tuple[np.ndarray, ...]:
        """Runs one side."""
        from ..interpreter import run_block  # which knows this op

        return tuple(run_block(self.blocks[0 if condition else 1], captured))


@graph_op
class LoopOp(RegionOp):
    """Runs a graph again and again, ``trips`` times at most, as long as a condition holds.

    The graph takes the ``carried`` values, which are the first of ``values``, and those captured.
    It gives the condition for the next iteration, the carried values for it, and rows. In it
    ``index`` is a symbol for the number of the iteration. Results are what is carried in the end,
    and for each row a stack of all iterations' along a new first dim. Its size is ``length`` (an
    int or the text of a dim) where that is known before; else ``count`` is a symbol for it, at most
    ``limit`` if that is given.

        %c, %rows = "mlc.loop"(%trips, %condition, %first, %x) <{carried = 1, count = "K", …}> ({
        ^body(%c, %x):
          …
          "mlc.return"(%again, %next, %row)
        })
    """

    name = "mlc.loop"
    trips = operand_def(TensorType)
    condition = operand_def(TensorType)
    values = var_operand_def(TensorType)
    carried = param(0)
    length = param()
    count = param()
    limit = param()
    index = param()
    outputs = var_result_def(TensorType)
    body = region_def("single_block")

    @property
    def block(self) -> Block:
        """The body."""
        return self.body.block

    @property
    def size(self) -> Dim | None:
        """The number of iterations as a dim, where rows are stacked."""
        if self.count is not None:
            return symbol(self.count)
        return None if self.length is None else param_dims((self.length,))[0]

    def infer(self) -> Sequence[TensorType]:
        """What is carried keeps its type; stacks have a dim more than rows."""
        if [self.operand_type(0), self.operand_type(1)] != [_TRIPS, _CONDITION]:
            raise self.fail("trips must be one i64, the condition one bool")
        values = [type_of(v) for v in self.operands[2:]]
        block = self.regions[0].block
        if [a.type for a in block.args] != values:
            raise self.fail("the body does not take the values")
        types = returned_types(block)
        state, rows = types[1 : 1 + self.carried], types[1 + self.carried :]
        if types[:1] != [_CONDITION] or state != values[: self.carried]:
            raise self.fail(f"the body gives {_listed([block])}")
        late = {*late_bounds(block.walk()), self.index}
        return [*state, *(self._stacked(row, late) for row in rows)]

    def _stacked(self, row: TensorType, late: set[str]) -> TensorType:
        if self.size is None:
            raise self.fail("rows are stacked, but neither length nor count is given")
        if not late.isdisjoint(s for d in row.shape for s in symbols_of(d)):
            raise self.fail(f"rows of [{row}] have sizes that differ between iterations")
        return row.with_shape((self.size, *row.shape))

    def found(self) -> dict[str, Dim]:
        """Not more than ``limit``; the index stays below it."""
        limits = [n for n in (self.length, self.limit) if n is not None]
        limit = param_dims(limits)[0] if limits else None
        found: dict[str, Dim] = {}
        if self.count is not None:
            found[self.count] = symbol(self.count) if limit is None else limit
        if self.index is not None:
            found[self.index] = symbol(self.index) if limit is None else limit - 1
        return found

    def given(self, argument: BlockArgument) -> SSAValue | None:
        """Captured values follow those carried."""
        return self.operands[2 + argument.index] if argument.index >= self.carried else None

    def reference(
        self, trips: np.ndarray, condition: np.ndarray, *values: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Runs the body in a Python loop."""
        from ..interpreter import run_block  # which knows this op

        state, captured = list(values[: self.carried]), values[self.carried :]
        rows: list[list[np.ndarray]] = []
        while condition and len(rows) < trips:
            with known_symbols({self.index: len(rows)} if self.index else {}):
                condition, *results = run_block(self.block, [*state, *captured])
            state = results[: self.carried]
            rows.append(results[self.carried :])
        types = returned_types(self.block)[1 + self.carried :]
        stacks = [
            np.stack([row[k] for row in rows])
            if rows
            else np.zeros((0, *known_shape(type.shape)), type.dtype)
            for k, type in enumerate(types)
        ]
        return (*state, *stacks)


def blocks_of(op: Operation) -> list[Block]:
    """The graphs of an op and of those inside it, inner ones behind those around them."""
    regions = [part for part in op.walk() if part is op or isinstance(part, RegionOp)]
    return [region.block for part in regions for region in part.regions]


def returned_types(block: Block) -> list[TensorType]:
    """The types of a graph's results."""
    return [type_of(v) for v in block.last_op.operands] if block.last_op else []


def differences(a: Block, b: Block) -> list[tuple[Dim, Dim]] | None:
    """The different pairs of sizes in the results of two graphs; None where more is different."""
    types = returned_types(a), returned_types(b)
    if [(t.rank, t.dtype) for t in types[0]] != [(t.rank, t.dtype) for t in types[1]]:
        return None
    shapes = ([d for t in side for d in t.shape] for side in types)
    return list(dict.fromkeys(pair for pair in zip(*shapes, strict=True) if pair[0] != pair[1]))


def enclose(*blocks: Block) -> list[SSAValue]:
    """Makes what graphs read from around them their last arguments; gives those values.

    What needs no operands, such as a constant, is copied into the graphs.
    """
    outside: dict[SSAValue, None] = {}
    for block in blocks:
        _copy_sources(block)
        outside.update((v, None) for op in block.ops for v in op.operands if _around(v, block))
    for block in blocks:
        inside = {v: block.insert_arg(v.type, len(block.args)) for v in outside}
        for op in block.ops:
            for n, value in enumerate(op.operands):
                if value in inside:
                    op.operands[n] = inside[value]
    return list(outside)


def _copy_sources(block: Block) -> None:
    copies: dict[Operation, Operation] = {}
    for op in list(block.ops):
        for n, value in enumerate(op.operands):
            source = value.owner
            if not isinstance(source, GraphOp) or source.operands or not _around(value, block):
                continue
            if source not in copies:
                copies[source] = source.clone()
                first = block.first_op
                assert first is not None
                block.insert_op_before(copies[source], first)
            op.operands[n] = copies[source].results[0]


def _around(value: SSAValue, block: Block) -> bool:
    """Whether a value is made neither by a graph nor by its arguments."""
    owner = value.owner
    return owner is not block and not (isinstance(owner, Operation) and owner.parent is block)


def _listed(blocks: Sequence[Block]) -> str:
    sides = (", ".join(f"[{t}]" for t in returned_types(block)) for block in blocks)
    return " and ".join(sides)
