"""The generic kernel: any Map or Reduce as a nest of scalar loops.

Every op has at least this kernel. The leading dims of the result, flattened, are the parallel
space; the innermost dim is the loop inside.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith, func
from xdsl.dialects.builtin import FunctionType, IndexType
from xdsl.ir import Block, Region, SSAValue

from ...ir import loop, scalar
from ...ir.dims import Dim, Shape, symbols_of
from ...ir.errors import TargetError
from ...ir.op import GraphOp
from ...ir.scalar import Scalar
from ...ir.structure import Map, Reduce, neutral
from ...ir.types import type_of
from .builder import LoopBuilder
from .expression import ExpressionLowering, compute_type, storage_type, to_memory


def generic_kernel(op: GraphOp, name: str) -> func.FuncOp:
    """``@name(operands…, result, symbols…, begin, end)`` that computes a part of ``op``'s result.

    The part is rows ``begin`` to ``end`` of the result seen as ``[rows, innermost dim]``.

    Raises:
        TargetError: The op is neither a Map nor a Reduce, or has a dtype without CPU code.
    """
    structure = op.structure()
    if not isinstance(structure, Map | Reduce):
        raise TargetError(f"{op.name} has no kernel yet")
    types = [type_of(v) for v in (*op.operands, *op.results)]
    names = symbol_names([d for t in types for d in t.shape])
    buffers = [loop.buffer(storage_type(t.dtype)) for t in types]
    arguments = [*buffers, *[IndexType()] * (len(names) + 2)]
    block = Block(arg_types=arguments)
    b = LoopBuilder(block)
    *values, begin, end = block.args
    sizes = dict(zip(names, values[len(types) :], strict=True))
    lowering = ExpressionLowering(b, (), values[: len(types)], [t.shape for t in types], sizes)
    _rows(b, lowering, structure, begin, end)
    b.add(func.ReturnOp())
    return func.FuncOp(name, FunctionType.from_lists(arguments, []), Region(block))


def symbol_names(dims: Sequence[Dim]) -> list[str]:
    """The symbols in ``dims``, each once, in the order in which a kernel takes them."""
    return list(dict.fromkeys(s for d in dims for s in symbols_of(d)))


def row_count(shape: Shape) -> Dim:
    """The size of the generic kernel's parallel space."""
    rows: Dim = 1
    for dim in shape[:-1]:
        rows = rows * dim
    return rows


def _rows(
    b: LoopBuilder,
    outer: ExpressionLowering,
    structure: Map | Reduce,
    begin: SSAValue,
    end: SSAValue,
) -> None:
    shape = outer.shapes[-1]
    innermost = outer.dim(shape[-1]) if shape else b.index(1)
    with b.loop(begin, end) as row, b.loop(b.index(0), innermost) as column:
        axes = [*_unflatten(b, outer, row, shape[:-1]), column] if shape else []
        inner = ExpressionLowering(b, axes, outer.buffers, outer.shapes, outer.symbols)
        indices = tuple(scalar.axis(k) for k in range(len(shape)))
        value, expression = _element(inner, structure, indices)
        stored = to_memory(b, value, expression.dtype)
        b.store(stored, outer.buffers[-1], inner.offset(axes, shape))


def _unflatten(
    b: LoopBuilder, lowering: ExpressionLowering, row: SSAValue, shape: Shape
) -> list[SSAValue]:
    axes: list[SSAValue] = []
    for dim in reversed(shape[1:]):
        size = lowering.dim(dim)
        axes.insert(0, b.op(arith.RemUIOp, [row, size], IndexType()))
        row = b.op(arith.DivUIOp, [row, size], IndexType())
    return [row, *axes] if shape else []


def _element(
    lowering: ExpressionLowering, structure: Map | Reduce, indices: tuple[Scalar, ...]
) -> tuple[SSAValue, Scalar]:
    if isinstance(structure, Map):
        body = structure.body(indices)
        return lowering.lower(body), body
    inner = tuple(scalar.axis(len(indices) + k) for k in range(len(structure.extents)))
    body = structure.body(indices, inner)
    start = neutral(structure.combine, body.dtype)
    first = lowering.b.constant(start, compute_type(body.dtype))
    total = _accumulate(lowering, structure, body, first, [])
    held = Scalar("load", (), body.dtype, -1)
    lowering.bind(held, total)
    result = structure.finish(held)
    return lowering.lower(result), result


def _accumulate(
    lowering: ExpressionLowering,
    structure: Reduce,
    body: Scalar,
    total: SSAValue,
    chosen: list[SSAValue],
) -> SSAValue:
    b = lowering.b
    if len(chosen) == len(structure.extents):
        inside = ExpressionLowering(
            b, [*lowering.axes, *chosen], lowering.buffers, lowering.shapes, lowering.symbols
        )
        held = Scalar("load", (), body.dtype, -1)
        inside.bind(held, total)
        return inside.lower(scalar.binary(structure.combine, held, body))

    def step(index: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
        return [_accumulate(lowering, structure, body, carried[0], [*chosen, index])]

    extent = lowering.dim(structure.extents[len(chosen)])
    return b.fold(b.index(0), extent, [total], step)[0]
