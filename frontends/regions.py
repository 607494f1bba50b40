"""What importers of branches and loops have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.ir import Block, Region, SSAValue

from ..ir.op import GraphOp
from ..ir.ops.constant import ConstantOp, DimsOp
from ..ir.ops.control import IfOp, ReturnOp, differences, enclose
from ..ir.ops.elementwise import ElementwiseOp, SelectOp
from ..ir.structure import View

_CHEAP = 16

Place = Callable[[GraphOp], Sequence[SSAValue]]


def chosen(
    condition: SSAValue,
    then: Block,
    other: Block,
    here: Block,
    place: Place,
    late_symbol: Callable[[], str],
) -> Sequence[SSAValue] | None:
    """The results of one of two graphs, whose branch is placed by ``place``.

    A little arithmetic is moved ``here``, and what it gives is selected, so that it can be computed
    together with what is around it. None where ranks or dtypes of the results differ.
    """
    pairs = differences(then, other)
    if pairs is None:
        return None
    if not pairs and _is_cheap(then) and _is_cheap(other):
        both = zip(_moved(then, here), _moved(other, here), strict=True)
        return [a if a is b else place(SelectOp(condition, a, b))[0] for a, b in both]
    counts = tuple(late_symbol() for _ in pairs)
    captured = enclose(then, other)
    return place(IfOp(condition, *captured, counts=counts, regions=[Region(then), Region(other)]))


def _is_cheap(side: Block) -> bool:
    """Whether a graph is so little arithmetic that it is not worth a branch."""
    ops = [op for op in side.ops if isinstance(op, GraphOp)]
    work = [op for op in ops if not isinstance(op, ConstantOp | DimsOp)]
    return len(work) <= _CHEAP and all(
        isinstance(op, ElementwiseOp) or isinstance(op.structure(), View) for op in work
    )


def _moved(side: Block, here: Block) -> Sequence[SSAValue]:
    """The results of a graph whose ops become those of another."""
    last = side.last_op
    assert isinstance(last, ReturnOp)
    results = list(last.values)
    last.detach()
    last.erase()
    for op in list(side.ops):
        op.detach()
        here.add_op(op)
    return results
