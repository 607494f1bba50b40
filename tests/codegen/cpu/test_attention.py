"""Fused attention over blocks of queries and keys, against the interpreter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graphs import Graph
from mlc.codegen.cpu.target import host
from mlc.ir.dims import substitute, symbol
from mlc.ir.interpreter import interpret
from mlc.ir.module import model_module
from mlc.ir.ops.attention import AttentionOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.shape import TransposeOp
from mlc.ir.types import DTYPES, tensor
from native import Native
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

S, T = symbol("S"), symbol("T")


def attention(
    shape: tuple, keys: tuple, mask: tuple = (), *, turned: bool = False, causal: bool = False
) -> ModuleOp:
    """Attention of q ``shape`` to k and v ``keys``; ``turned``: heads and positions exchanged."""
    types = [tensor(d, np.float32) for d in (shape, keys, keys, *([mask] if mask else []))]
    if turned:
        types[:3] = [tensor((b, s, h, d), np.float32) for b, h, s, d in (shape, keys, keys)]
    block = Block(arg_types=types)
    operands: list[SSAValue] = list(block.args)
    if turned:
        moves = [TransposeOp(a, perm=(0, 2, 1, 3)) for a in operands[:3]]
        block.add_ops(moves)
        operands[:3] = [m.result for m in moves]
    op = AttentionOp(*operands, scale=0.3, causal=causal)
    block.add_op(op)
    last = op
    if turned:
        last = TransposeOp(op, perm=(0, 2, 1, 3))
        block.add_op(last)
    block.add_op(ReturnOp(operands=[list(last.results)]))
    return model_module(block, [f"x{k}" for k in range(len(types))], ["y"])


def check(module: ModuleOp, shapes: list[tuple[int, ...]], wanted_inputs: list | None = None):
    rng = np.random.default_rng(3)
    arrays = wanted_inputs or [rng.standard_normal(s).astype(np.float32) for s in shapes]
    (wanted,) = interpret(module, arrays)
    rounded = Native(module.clone(), replace(host(), narrow=True))
    np.testing.assert_allclose(rounded.run(arrays)[0], wanted, 2e-2, 2e-2)
    native = Native(module)
    assert any(s["algorithm"] == "attention" for s in native.build.sites)
    np.testing.assert_allclose(native.run(arrays)[0], wanted, 1e-5, 1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("queries", "keys"), [(2, 1), (16, 7), (64, 128), (65, 129), (197, 300)])
def test_blocks_of_queries_and_keys(queries: int, keys: int, turned: bool, causal: bool):
    q, k = (2, 3, queries, 20), (2, 3, keys, 20)
    shapes = [tuple(s[n] for n in (0, 2, 1, 3)) if turned else s for s in (q, k, k)]
    module = attention(q, k, turned=turned, causal=causal)
    check(module, shapes)


@pytest.mark.parametrize("name", ["f16", "bf16"])
@pytest.mark.parametrize("masked", [False, True])
def test_narrow_floats(masked: bool, name: str):
    shapes = [(2, 2, 21, 20), (2, 2, 35, 20), (2, 2, 35, 20), (21, 35)][: 4 if masked else 3]
    block = Block(arg_types=[tensor(d, DTYPES[name]) for d in shapes])
    op = AttentionOp(*block.args, scale=0.3)
    block.add_ops([op, ReturnOp(operands=[list(op.results)])])
    module = model_module(block, [f"x{k}" for k in range(len(shapes))], ["y"])
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(d).astype(DTYPES[name]) for d in shapes]
    (wanted,) = interpret(module, arrays)
    native = Native(module)
    assert [site["algorithm"] for site in native.build.sites] == ["attention"]
    got = native.run(arrays)[0].astype(np.float32)
    np.testing.assert_allclose(got, wanted.astype(np.float32), 1e-2, 1e-2)


@pytest.mark.parametrize("mask", [(1, 1, 1, T), (2, 1, S, T), (4, S, T), (1, T)])
def test_masks_of_every_shape(mask: tuple):
    module = attention((2, 4, S, 16), (2, 2, T, 16), mask)
    dims = [(2, 4, 70, 16), (2, 2, 131, 16), (2, 2, 131, 16)]
    check(module, [*dims, tuple(int(str(substitute(d, {"S": 70, "T": 131}))) for d in mask)])


def test_queries_that_see_no_key_give_zero():
    module = attention((1, 1, 3, 8), (1, 1, 5, 8), (3, 5))
    rng = np.random.default_rng(0)
    arrays = [
        rng.standard_normal(s).astype(np.float32) for s in ((1, 1, 3, 8), *2 * [(1, 1, 5, 8)])
    ]
    mask = np.zeros((3, 5), np.float32)
    mask[1] = -np.inf
    check(module, [], [*arrays, mask])


@pytest.mark.parametrize("queries", [2, 49, 70])
@pytest.mark.parametrize("heads", [(), (1,), (4,), (1, 1), (1, 4), (2, 1), (2, 4)])
def test_constant_masks_lie_by_queries(heads: tuple[int, ...], queries: int):
    graph = Graph((2, 4, queries, 16), (2, 2, 51, 16), (2, 2, 51, 16))
    mask = np.random.default_rng(1).standard_normal((*heads, queries, 51)).astype(np.float32)
    module = graph.module(graph(AttentionOp, *graph.inputs, mask, scale=0.3, causal=False))
    check(module, [(2, 4, queries, 16), (2, 2, 51, 16), (2, 2, 51, 16)])


def test_masks_that_are_equal_are_stored_once():
    graph = Graph(*3 * [(8, 3, 49, 16)])
    masks = np.random.default_rng(1).standard_normal((2, 3, 49, 49)).astype(np.float32)
    mask = masks[[0, 0, 1, 0, 0, 0, 1, 1]]
    module = graph.module(graph(AttentionOp, *graph.inputs, mask, scale=0.3, causal=False))
    assert Native(module.clone()).build.weights_size < 2 * masks.nbytes
    check(module, 3 * [(8, 3, 49, 16)])


def test_a_transposed_mask_is_laid_out_as_it_is_read():
    graph = Graph((1, 2, 18, 16), (1, 2, 9, 16), (1, 2, 9, 16))
    mask = np.random.default_rng(1).standard_normal((9, 18)).astype(np.float32)
    turned = graph(TransposeOp, graph.value(mask), perm=(1, 0))
    module = graph.module(graph(AttentionOp, *graph.inputs, turned, scale=0.3, causal=False))
    check(module, [(1, 2, 18, 16), (1, 2, 9, 16), (1, 2, 9, 16)])
