"""Which weights stay codes, and what is told of the others."""

from __future__ import annotations

import numpy as np
from graphs import Graph, array, counts
from mlc.ir.interpreter import interpret
from mlc.ir.ops.elementwise import AddOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.passes.decode_weights import DecodeWeights, note_of
from xdsl.dialects.builtin import ModuleOp

X = array(2, 64)


def two_readers() -> ModuleOp:
    """A weight that a product and a sum read."""
    graph = Graph((2, 64))
    codes = np.random.default_rng(0).integers(-8, 8, (64, 64)).astype(np.int8)
    weight = graph(DequantizeOp, codes, array(1, 64, seed=1))
    product = graph(MatmulOp, graph.inputs[0], weight)
    return graph.module(product, graph(AddOp, weight, graph(MatmulOp, array(64, 2), product)))


def decoded(*, taken: bool) -> ModuleOp:
    """With the decoding left to the first product, if that is wanted."""

    def choose(op: DequantizeOp) -> tuple[bool, str]:
        (use,) = op.result.uses
        here = taken and isinstance(use.operation, MatmulOp)
        return here, "read as codes" if here else "nobody reads codes"

    module = two_readers()
    DecodeWeights(choose).apply(module)
    return module


def notes(module: ModuleOp) -> list[str]:
    return [note_of([op]) for op in module.walk() if isinstance(op, MatmulOp | AddOp)]


def test_weights_that_nobody_reads_as_codes_are_decoded():
    module = decoded(taken=False)
    assert counts(module)["dequantize"] == 0
    assert notes(module) == ["nobody reads codes", "", "nobody reads codes"]


def test_who_reads_codes_has_a_decoding_of_its_own():
    module = decoded(taken=True)
    (decode,) = (op for op in module.walk() if isinstance(op, DequantizeOp))
    (use,) = decode.result.uses
    assert isinstance(use.operation, MatmulOp)
    assert notes(module) == ["read as codes", "", "nobody reads codes"]


def test_the_meaning_stays():
    for taken in (False, True):
        for wanted, got in zip(
            interpret(two_readers(), [X]), interpret(decoded(taken=taken), [X]), strict=True
        ):
            np.testing.assert_array_equal(got, wanted)
