"""The counts of arithmetic operations."""

from __future__ import annotations

import pytest
from build import build
from cases import CASES, Case
from mlc.ir.cost import operations
from mlc.ir.dims import substitute, symbol, symbols_of
from mlc.ir.op import GraphOp
from mlc.ir.ops.attention import AttentionOp
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, GeluOp, ReluOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.reduce import ReduceSumOp
from mlc.ir.ops.shape import PadOp, TransposeOp
from mlc.ir.types import F32, tensor
from xdsl.ir import Block

N = symbol("N")


def op_of(kind: type[GraphOp], *shapes, **params) -> GraphOp:
    block = Block(arg_types=[tensor(shape, F32) for shape in shapes])
    return kind(*block.args, **params)


@pytest.mark.parametrize(
    ("kind", "shapes", "params", "wanted"),
    [
        (MatmulOp, [(N, 4), (4, 3)], {}, 2 * 12 * N),
        (MatmulOp, [(5, N, 4), (5, 4, 3)], {}, 2 * 60 * N),
        (
            ConvOp,
            [(1, 8, 8, 6), (3, 3, 3, 4)],
            {"groups": 2, "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)},
            2 * 6 * 6 * 4 * 27,
        ),
        (ReduceSumOp, [(N, 4)], {"axes": (1,)}, 4 * N),
        (AddOp, [(N, 4), (N, 4)], {}, 4 * N),
        (TransposeOp, [(N, 4)], {"perm": (1, 0)}, 0),
        (PadOp, [(N, 4), ()], {"pads": (0, 1, 0, 1)}, 0),
        (ReluOp, [(N, 4)], {}, 4 * N),
    ],
)
def test_known_counts(kind: type[GraphOp], shapes, params: dict, wanted):
    assert operations(op_of(kind, *shapes, **params)) == wanted


def test_an_expression_counts_all_it_does():
    assert operations(op_of(GeluOp, (10,))) in range(40, 120)


def test_a_composite_op_counts_its_parts_and_leaves_no_trace():
    op = op_of(AttentionOp, (2, 3, 5, 7), (2, 3, 5, 7), (2, 3, 5, 7), scale=1.0)
    products = 2 * 2 * (2 * 3) * 5 * 5 * 7
    assert operations(op) in range(products, 2 * products)
    assert all(len(list(o.uses)) == 1 for o in op.operands)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_op_has_a_count(case: Case):
    count = operations(build(case))
    known = substitute(count, dict.fromkeys(symbols_of(count), 3))
    assert isinstance(known, int)
    assert known >= 0
