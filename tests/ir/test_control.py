"""Ops with regions: what they mean, what they refuse, how they print; native code does the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from control_models import MODELS, Body, branch, loop, sample, truth
from graphs import Graph
from mlc.ir.errors import InferenceError
from mlc.ir.interpreter import interpret
from mlc.ir.ops.elementwise import NegOp
from mlc.ir.ops.shape import ReshapeOp
from mlc.ir.text import parse_module, print_module
from mlc.ir.types import BOOL, I64
from mlc.passes.manager import Options, run_passes
from mlc.passes.pipeline import PIPELINE
from native import Native
from xdsl.dialects.builtin import ModuleOp

F32 = np.dtype(np.float32)


@pytest.mark.parametrize("model", MODELS)
def test_native_code_does_what_the_interpreter_does(model: Callable[[], ModuleOp]):
    simplified = model()
    run_passes(simplified, PIPELINE, Options(samples=sample(simplified, 3)))
    compiled = Native(model()), Native(simplified)
    for rows, sign in itertools.product((0, 1, 5), (-1, 1)):
        arrays = [sign * a for a in sample(model(), rows)]
        wanted = interpret(model(), arrays)
        for native, threads in itertools.product(compiled, (1, 2)):
            for a, b in zip(native.run(arrays, threads), wanted, strict=True):
                assert a.shape == b.shape
                np.testing.assert_allclose(a, b, 1e-4, 1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_text_round_trip(model: Callable[[], ModuleOp]):
    text = print_module(model())
    assert print_module(parse_module(text)) == text


def test_a_loop_may_run_no_times():
    g = Graph((2, 3))
    body = Body(g.inputs[0])
    new = body(NegOp, body.block.args[0])
    rows = body.close(truth(body), new, new)
    op = loop(g, rows, g.value(np.asarray(0)), truth(g), [g.inputs[0]], count="K", limit=0)
    module = g.module(*op.results)
    x = np.ones((2, 3), np.float32)
    for got in (interpret(module, [x]), Native(module).run([x])):
        np.testing.assert_array_equal(got[0], x)
        assert got[1].shape == (0, 2, 3)


def test_what_is_carried_keeps_its_type():
    g = Graph((2, 3))
    body = Body(g.inputs[0])
    turned = body.add(ReshapeOp.to(body.block.args[0], (3, 2)))
    block = body.close(truth(body), turned)
    with pytest.raises(InferenceError, match=r"the body gives \[\[\] i1\], \[\[3, 2\] f32\]"):
        loop(g, block, g.value(np.asarray(2)), truth(g), [g.inputs[0]])


def test_sides_give_the_same_ranks():
    g = Graph((2, 3), (), dtypes=[F32, BOOL])
    then, other = Body(), Body()
    flat = then.add(ReshapeOp.to(g.inputs[0], (6,)))
    with pytest.raises(InferenceError, match=r"the sides give \[\[6\] f32\] and \[\[2, 3\] f32\]"):
        branch(g, g.inputs[1], then.close(flat), other.close(g.inputs[0]))


@pytest.mark.parametrize(
    ("limit", "bound"), [({"limit": 5}, "5"), ({"limit": "N"}, "N"), ({}, "K")]
)
def test_how_often_a_loop_runs_may_have_a_limit(limit: dict[str, int | str], bound: str):
    g = Graph((2, 3), (), dtypes=[F32, I64])
    body = Body(g.inputs[0])
    new = body(NegOp, body.block.args[0])
    rows = body.close(truth(body), new, new)
    op = loop(g, rows, g.inputs[1], truth(g), [g.inputs[0]], count="K", **limit)
    assert str(op.found()["K"]) == bound
