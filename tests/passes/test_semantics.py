"""Every pass keeps its promise on every module of a corpus, and does what its name says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from mlc.ir.errors import PassError
from mlc.ir.levels import Level
from mlc.ir.ops.elementwise import AbsOp, NegOp
from mlc.ir.text import parse_module, print_module
from mlc.passes.canonicalize import Canonicalize
from mlc.passes.contract import Pass, Promise
from mlc.passes.dead_code import EliminateDeadCode
from mlc.passes.form_kernels import FormKernels
from mlc.passes.manager import Options, difference, run_passes
from mlc.passes.pipeline import SIMPLIFY, all_passes
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

X = "!mlc.tensor<[2, 3] f32>"
XT = "!mlc.tensor<[3, 2] f32>"
ROW, NUMBER, TRUTH = "!mlc.tensor<[3] f32>", "!mlc.tensor<[] i64>", "!mlc.tensor<[] i1>"
TRANSPOSE = '"mlc.transpose"(%{}) <{{perm = #mlc.param<[1, 0]>}}> : ({}) -> {}'


def module(body: str, result: str, type: str = X) -> str:
    return (
        f"builtin.module {{\n  func.func @main(%x : {X}) -> {type} {{\n{body}\n"
        f'    "mlc.return"(%{result}) : ({type}) -> ()\n  }}\n}}\n'
    )


CORPUS = {
    "transposes": module(
        f"%a = {TRANSPOSE.format('x', X, XT)}\n%b = {TRANSPOSE.format('a', XT, X)}\n"
        f'%c = "mlc.exp"(%b) : ({X}) -> {X}',
        "c",
    ),
    "constants": module(
        '%a = "mlc.constant"() <{value = #mlc.data<[3] f32 [1.0, 2.0, 3.0]>}> '
        ": () -> !mlc.tensor<[3] f32>\n"
        '%b = "mlc.add"(%a, %a) : (!mlc.tensor<[3] f32>, !mlc.tensor<[3] f32>) '
        "-> !mlc.tensor<[3] f32>\n"
        f'%c = "mlc.mul"(%x, %b) : ({X}, !mlc.tensor<[3] f32>) -> {X}',
        "c",
    ),
    "repeats": module(
        f'%a = "mlc.exp"(%x) : ({X}) -> {X}\n%b = "mlc.exp"(%x) : ({X}) -> {X}\n'
        f'%unused = "mlc.neg"(%b) : ({X}) -> {X}\n'
        f'%c = "mlc.add"(%a, %b) : ({X}, {X}) -> {X}',
        "c",
    ),
    "nothing to do": module(f'%a = "mlc.gelu"(%x) : ({X}) -> {X}', "a"),
    "regions": module(
        f"""%n = "mlc.constant"() <{{value = #mlc.data<[] i64 [3]>}}> : () -> {NUMBER}
        %t = "mlc.constant"() <{{value = #mlc.data<[] i1 [1]>}}> : () -> {TRUTH}
        %w = "mlc.constant"() <{{value = #mlc.data<[3] f32 [1.0, 2.0, 3.0]>}}> : () -> {ROW}
        %e = "mlc.exp"(%w) : ({ROW}) -> {ROW}
        %c, %rows = "mlc.loop"(%n, %t, %x, %e) <{{carried = #mlc.param<1>,
          length = #mlc.param<3>, index = #mlc.param<"I">}}> ({{
        ^bb0(%h : {X}, %v : {ROW}):
          %a = {TRANSPOSE.format("h", X, XT)}
          %b = {TRANSPOSE.format("a", XT, X)}
          %again = "mlc.exp"(%v) : ({ROW}) -> {ROW}
          %twice = "mlc.exp"(%v) : ({ROW}) -> {ROW}
          %i = "mlc.dims"() <{{elements = #mlc.param<["I"]>, shape = #mlc.param<[]>,
            dtype = #mlc.param<f32>}}> : () -> !mlc.tensor<[] f32>
          %m = "mlc.mul"(%b, %again) : ({X}, {ROW}) -> {X}
          %p = "mlc.add"(%m, %i) : ({X}, !mlc.tensor<[] f32>) -> {X}
          %go = "mlc.constant"() <{{value = #mlc.data<[] i1 [1]>}}> : () -> {TRUTH}
          %total = "mlc.reduce_max"(%p) <{{axes = #mlc.param<[0, 1]>}}>
            : ({X}) -> !mlc.tensor<[] f32>
          %less = "mlc.lt"(%total, %i) : (!mlc.tensor<[] f32>, !mlc.tensor<[] f32>) -> {TRUTH}
          %next = "mlc.if"(%less, %p, %twice) <{{counts = #mlc.param<[]>}}> ({{
          ^bb1(%q : {X}, %u : {ROW}):
            %r = "mlc.add"(%q, %u) : ({X}, {ROW}) -> {X}
            "mlc.return"(%r) : ({X}) -> ()
          }}, {{
          ^bb2(%q : {X}, %u : {ROW}):
            "mlc.return"(%q) : ({X}) -> ()
          }}) : ({TRUTH}, {X}, {ROW}) -> {X}
          "mlc.return"(%go, %next, %twice) : ({TRUTH}, {X}, {ROW}) -> ()
        }}) : ({NUMBER}, {TRUTH}, {X}, {ROW}) -> ({X}, !mlc.tensor<[3, 3] f32>)
        %total = "mlc.reduce_sum"(%rows) <{{axes = #mlc.param<[0]>}}>
          : (!mlc.tensor<[3, 3] f32>) -> {ROW}
        %d = "mlc.add"(%c, %total) : ({X}, {ROW}) -> {X}""",
        "d",
    ),
}
SAMPLES = [np.array([[0.5, -1, 2], [np.inf, 0, -3]], np.float32)]


def at_level(level: Level, text: str) -> ModuleOp:
    result = parse_module(text)
    if level is Level.KERNEL:
        FormKernels().apply(result)
    return result


def names(text: ModuleOp) -> list[str]:
    return [op.name for op in text.walk() if op.name.startswith("mlc.")][:-1]


def strangers(text: ModuleOp) -> list[Operation]:
    """Ops that read a value of the module and are not in it."""
    uses = (use for op in text.walk() for value in op.results for use in value.uses)
    return [use.operation for use in uses if use.operation.parent is None]


@pytest.mark.parametrize("text", CORPUS.values(), ids=list(CORPUS))
@pytest.mark.parametrize("step", all_passes().values(), ids=list(all_passes()))
def test_every_pass_keeps_its_promise(step: Pass, text: str):
    result = at_level(step.takes, text)
    run_passes(result, [step], Options(samples=SAMPLES))
    assert not strangers(result)


TWICE = [step for step in all_passes().values() if step.takes is step.gives]


@pytest.mark.parametrize("text", CORPUS.values(), ids=list(CORPUS))
@pytest.mark.parametrize("step", TWICE, ids=lambda step: step.name)
def test_a_second_run_changes_nothing(step: Pass, text: str):
    graph = step.takes is Level.GRAPH
    once, steps = at_level(step.takes, text), [step, EliminateDeadCode()] if graph else [step]
    run_passes(once, [Canonicalize(), *steps] if graph else steps)
    again = print_module(once)
    run_passes(once, steps)
    assert print_module(once) == again


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("transposes", ["mlc.exp"]),
        ("constants", ["mlc.constant", "mlc.mul"]),
        ("repeats", ["mlc.exp", "mlc.add"]),
        ("nothing to do", ["mlc.gelu"]),
    ],
)
def test_what_simplification_leaves(text: str, left: list[str]):
    result = parse_module(CORPUS[text])
    timing = run_passes(result, SIMPLIFY, Options(samples=SAMPLES))
    assert names(result) == left
    assert [name for name, _ in timing.seconds] == [step.name for step in SIMPLIFY]


class Wrong(Pass):
    """Replaces neg by abs: no promise but LOSSY covers that."""

    name = "wrong"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        for op in list(module.walk()):
            if isinstance(op, NegOp) and op.parent:
                swapped = AbsOp(op.x)
                op.parent.insert_op_before(swapped, op)
                op.result.replace_all_uses_with(swapped.results[0])


def test_a_broken_promise_is_named():
    text = module(f'%a = "mlc.neg"(%x) : ({X}) -> {X}', "a")
    with pytest.raises(PassError, match="wrong promises ROUNDING"):
        run_passes(parse_module(text), [Wrong()], Options(samples=[np.ones((2, 3), np.float32)]))


def test_print_and_stop(capsys: pytest.CaptureFixture[str]):
    result = parse_module(CORPUS["repeats"])
    first = SIMPLIFY[0].name
    timing = run_passes(result, SIMPLIFY, Options(print_after="all", stop_after=first))
    assert len(timing.seconds) == 1
    assert f"// after {first}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("a", "b", "wanted"), [([1, np.nan], [1, np.nan], 0), ([1, 2], [1, np.nan], np.inf)]
)
def test_difference(a: list[float], b: list[float], wanted: float):
    check: Callable[..., float] = difference
    assert check(np.array(a), np.array(b)) == wanted
