"""Attention of one query with keys and values that are appended, against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from mlc.codegen.cpu.target import CpuTarget, target_for
from mlc.ir.dims import Dim, symbol
from mlc.ir.interpreter import interpret
from mlc.ir.module import model_module
from mlc.ir.ops.attention import AttentionOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.shape import ConcatOp, TransposeOp
from mlc.ir.types import tensor
from native import Native
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block

P, B = symbol("P"), symbol("B")


def step(
    heads: int,
    groups: int,
    past: Dim = 0,
    new: int = 1,
    features: tuple[int, int] = (16, 16),
    *,
    batch: Dim = 1,
    mask: tuple = (),
    gives_all: bool = True,
) -> ModuleOp:
    """A decoder's: ``features`` of keys and of values; with ``gives_all``, both are results."""
    shapes = [(batch, heads, 1, features[0])]
    shapes += [(batch, groups, n, f) for f in features for n in (past, new)]
    block = Block(arg_types=[tensor(x, np.float32) for x in (*shapes, *([mask] if mask else []))])
    q, old_k, new_k, old_v, new_v, *masks = block.args
    k, v = ConcatOp([old_k, new_k], axis=2), ConcatOp([old_v, new_v], axis=2)
    attention = AttentionOp(q, k, v, *masks, scale=0.3)
    turned = TransposeOp(attention, perm=(0, 2, 1, 3))
    results = [turned.result, k.result, v.result]
    block.add_ops([k, v, attention, turned])
    block.add_op(ReturnOp(operands=[results[: 3 if gives_all else 1]]))
    names = ["y", "k", "v"][: 3 if gives_all else 1]
    return model_module(block, [f"x{n}" for n in range(len(block.args))], names)


def check(module: ModuleOp, shapes: list[tuple[int, ...]], target: CpuTarget | None = None) -> None:
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    wanted = interpret(module, arrays)
    native = Native(module, target)
    assert [s["algorithm"] for s in native.build.sites] == ["attention"]
    for threads in (1, 2):
        for got, right in zip(native.run(arrays, threads), wanted, strict=True):
            np.testing.assert_allclose(got, right, 1e-5, 1e-5)


def shapes_of(
    heads: int, groups: int, past: int, new: int, features: tuple[int, int], batch: int = 1
) -> list[tuple[int, ...]]:
    caches = [(batch, groups, n, f) for f in features for n in (past, new)]
    return [(batch, heads, 1, features[0]), *caches]


@pytest.mark.parametrize("target", ["cpu", "cpu:x86-64-v3"])
@pytest.mark.parametrize(
    ("heads", "groups", "past", "new", "features"),
    [
        (4, 4, 128, 1, (64, 64)),
        (4, 2, 17, 1, (16, 40)),
        (3, 1, 7, 2, (20, 5)),
        (6, 2, 300, 3, (32, 128)),
        (1, 1, 0, 1, (1, 1)),
        (19, 1, 33, 1, (48, 17)),
    ],
)
def test_appended_at_any_size(
    heads: int, groups: int, past: int, new: int, features: tuple[int, int], target: str
):
    module = step(heads, groups, past, new, features)
    check(module, shapes_of(heads, groups, past, new, features), target_for(target))


def test_on_neon():
    pytest.importorskip("unicorn", reason="the emulator is missing: pip install unicorn")
    from emulated import run_emulated

    module = step(4, 2, 13, features=(16, 24))
    rng = np.random.default_rng(3)
    shapes = shapes_of(4, 2, 13, 1, (16, 24))
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    wanted = interpret(module, arrays)
    for got, right in zip(run_emulated(module, arrays), wanted, strict=True):
        np.testing.assert_allclose(got, right, 1e-5, 1e-5)


@pytest.mark.parametrize("past", [0, 5, 128, 200])
def test_any_past_and_batch(past: int):
    module = step(4, 2, P, batch=B)
    check(module, shapes_of(4, 2, past, 1, (16, 16), batch=3))


def test_appended_keys_that_are_no_result():
    check(step(4, 2, 40, gives_all=False), shapes_of(4, 2, 40, 1, (16, 16)))


@pytest.mark.parametrize("mask", [(1, 1, 1, 41), (1, 4, 1, 1), (41,)])
def test_masks(mask: tuple[int, ...]):
    check(step(4, 2, 40, mask=mask), [*shapes_of(4, 2, 40, 1, (16, 16)), mask])


def test_results_large_enough_to_go_past_the_caches():
    check(step(4, 4, 600, features=(64, 64)), shapes_of(4, 4, 600, 1, (64, 64)))


def test_a_query_that_sees_no_key_gives_zero():
    module = step(2, 1, 20, mask=(1, 2, 1, 21))
    arrays = [np.ones(s, np.float32) for s in shapes_of(2, 1, 20, 1, (16, 16))]
    mask = np.zeros((1, 2, 1, 21), np.float32)
    mask[0, 1] = -np.inf
    got = Native(module).run([*arrays, mask])[0]
    np.testing.assert_array_equal(got[0, 0], [np.ones(16), np.zeros(16)])


def test_parts_of_unlike_sizes_are_appended_before():
    types = [(1, 2, 1, 16), (1, 2, 4, 16), (1, 2, 3, 16), (1, 2, 5, 16), (1, 2, 2, 16)]
    block = Block(arg_types=[tensor(t, np.float32) for t in types])
    q, *caches = block.args
    k, v = ConcatOp(caches[:2], axis=2), ConcatOp(caches[2:], axis=2)
    attention = AttentionOp(q, k, v)
    block.add_ops([k, v, attention, ReturnOp(operands=[[attention.result, k.result, v.result]])])
    module = model_module(block, ["q", "a", "b", "c", "d"], ["y", "k", "v"])
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(t).astype(np.float32) for t in types]
    wanted = interpret(module, arrays)
    for got, right in zip(Native(module).run(arrays), wanted, strict=True):
        np.testing.assert_allclose(got, right, 1e-5, 1e-5)


def test_keys_that_lie_by_features_keep_products():
    block = Block(arg_types=[tensor(t, np.float32) for t in ((1, 2, 1, 16), (1, 2, 16, 9))])
    turned = TransposeOp(block.args[1], perm=(0, 1, 3, 2))
    attention = AttentionOp(block.args[0], turned, turned)
    block.add_ops([turned, attention, ReturnOp(operands=[[attention.result]])])
    module = model_module(block, ["q", "kt"], ["y"])
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(t).astype(np.float32) for t in ((1, 2, 1, 16), (1, 2, 16, 9))]
    (wanted,) = interpret(module, arrays)
    native = Native(module)
    assert "attention" not in [s["algorithm"] for s in native.build.sites]
    np.testing.assert_allclose(native.run(arrays)[0], wanted, 1e-5, 1e-5)
