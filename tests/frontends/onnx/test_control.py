"""Branches and loops that the data decide: interpreter and native code against ONNX Runtime."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import mlc
import numpy as np
import onnx
import onnxruntime
import pytest
from mlc.frontends.onnx.graph import load_onnx
from mlc.ir.ops.control import IfOp, LoopOp

F32, I64 = np.float32, np.int64


def model(text: str) -> onnx.ModelProto:
    """A model in ONNX's own text."""
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]>\n{text}')


def regions(proto: onnx.ModelProto) -> list[type]:
    """The branches and loops that are left after the import."""
    return [type(op) for op in load_onnx(proto).walk() if isinstance(op, IfOp | LoopOp)]


def check(proto: onnx.ModelProto, *runs: Sequence[np.ndarray]) -> None:
    """Compares all outputs on some inputs, on one thread and two."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    peer = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    names = [i.name for i in proto.graph.input]
    ours = [mlc.compile(proto, target="reference", cache=False)]
    ours += [mlc.compile(proto, threads=threads, cache=False) for threads in (1, 2)]
    for arrays, compiled in itertools.product(runs, ours):
        feeds = dict(zip(names, arrays, strict=True))
        wanted = [np.asarray(a) for a in peer.run(None, feeds)]
        for got, want in zip(compiled.run(feeds).values(), wanted, strict=True):
            if want.size == 0:  # ONNX Runtime gives any shape to rows of which there are none
                assert (got.size, got.ndim) == (0, want.ndim)
                continue
            assert (got.dtype, got.shape) == (want.dtype, want.shape)
            np.testing.assert_allclose(got, want, 1e-4, 1e-5)


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(F32)


SIDES = """
g (float[N, 8] x, float[8, 8] w) => (float[N, 8] y, float z) {
  zero = Constant <value = float {0}> ()
  total = ReduceSum <keepdims = 0> (x)
  positive = Greater (total, zero)
  y, z = If (positive) <
    then_branch = a () => (float[N, 8] p, float s) {
      q = MatMul (x, w)
      r = MatMul (q, w)
      p = Softmax (r)
      s = Identity (total)
    },
    else_branch = b () => (float[N, 8] p2, float s2) {
      p2 = Neg (x)
      s2 = ReduceMax <keepdims = 0> (x)
    }
  >
}
"""


def test_sides_of_different_cost():
    proto = model(SIDES)
    assert regions(proto) == [IfOp]
    w = values(8, 8, seed=1)
    check(proto, *([s + values(n, 8), w] for n in (1, 5) for s in (F32(0.8), F32(-0.8))))


def test_little_arithmetic_is_a_choice():
    text = """
    g (float[N] x, bool c) => (float[N] y) {
      y = If (c) <then_branch = a () => (float[N] p) { p = Neg (x) },
                  else_branch = b () => (float[N] q) { e = Exp (x)  q = Add (e, x) }>
    }
    """
    proto = model(text)
    assert regions(proto) == []
    check(proto, *([values(4), np.array(c)] for c in (True, False)))


def test_sides_of_different_sizes():
    text = """
    g (float[N, 4] x, bool c) => (float[M, 4] y, float[M, 4] z) {
      y = If (c) <
        then_branch = a () => (float[P, 4] p) { p = Concat <axis = 0> (x, x) },
        else_branch = b () => (float[Q, 4] q) {
          keep = Cast <to = 9> (flags)
          q = Compress <axis = 0> (x, keep)
        }
      >
      z = Exp (y)
    }
    """.replace("Cast <to = 9> (flags)", "Constant <value = bool[3] {1, 0, 1}> ()")
    check(model(text), *([values(3, 4), np.array(c)] for c in (True, False)))


def test_trips_that_the_data_tell():
    text = """
    g (float[N, 4] x, float[4, 4] w, int64 trips) => (float[N, 4] y, float[K, N, 4] rows) {
      yes = Constant <value = bool {1}> ()
      y, rows = Loop (trips, yes, x) <body = b (int64 i, bool c, float[N, 4] h)
        => (bool d, float[N, 4] n, float[N, 4] row) {
        d = Identity (c)
        m = MatMul (h, w)
        n = Tanh (m)
        f = Cast <to = 1> (i)
        row = Add (n, f)
      }>
    }
    """
    proto = model(text)
    assert regions(proto) == [LoopOp]
    w = values(4, 4, seed=2)
    check(proto, *([values(n, 4), w, np.array(t)] for n in (1, 3) for t in (0, 1, 7)))


GREEDY = """
g (int64[1] start, float[20, 16] table, float[16, 20] out) => (int64[T] tokens, int64 steps) {
  yes = Constant <value = bool {1}> ()
  one = Constant <value = int64 {1}> ()
  zero = Constant <value = int64 {0}> ()
  forty = Constant <value = int64 {40}> ()
  state = Constant <value = float[1] {0}> ()
  shape = Constant <value = int64[2] {1, 16}> ()
  first = Expand (state, shape)
  LIMIT
  last, h, steps, tokens = Loop (limit, yes, start, first, zero) <body = b
    (int64 i, bool c, int64[1] token, float[1, 16] h0, int64 n0)
    => (bool go, int64[1] next, float[1, 16] h1, int64 n1, int64 t) {
    e = Gather (table, token)
    s = Add (e, h0)
    h1 = Tanh (s)
    logits = MatMul (h1, out)
    next = ArgMax <axis = 1, keepdims = 0> (logits)
    flat = Constant <value = int64[1] {0}> ()
    t = Squeeze (next, flat)
    n = Add (n0, one)
    n1 = Add (n, t)
    go = Less (n1, forty)
  }>
}
"""


@pytest.mark.parametrize("limit", ["limit = Constant <value = int64 {30}> ()", ""])
def test_greedy_search_ends_when_it_ends(limit: str):
    text = GREEDY.replace("LIMIT", limit)
    proto = model(text if limit else text.replace("Loop (limit", "Loop ("))
    rng = np.random.default_rng(5)
    table, out = rng.normal(size=(20, 16)).astype(F32), rng.normal(size=(16, 20)).astype(F32)
    check(proto, *([np.array([k]), table, out] for k in range(6)))
