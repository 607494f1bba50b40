"""Branches and loops that the data decide: interpreter and native code against ONNX Runtime."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence

import mlc
import numpy as np
import onnx
import onnx_models
import onnxruntime
import pytest
from mlc.frontends.onnx.graph import load_onnx
from mlc.ir.errors import UnsupportedError
from mlc.ir.ops.control import IfOp, LoopOp
from onnx_models import Of

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
    with tempfile.TemporaryDirectory() as folder:
        ours += [mlc.compile(proto, threads=threads, cache=folder) for threads in (1, 2)]
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


def test_sizes_that_a_side_or_a_body_finds_out():
    text = """
    g (float[N, 4] x, bool c, int64 trips)
      => (int64[2, M] places, float[2, M] sizes, float[K] sums) {
      yes = Constant <value = bool {1}> ()
      places = If (c) <
        then_branch = a () => (int64[2, P] p) { p = NonZero (x) },
        else_branch = b () => (int64[2, Q] q) { r = Relu (x)  q = NonZero (r) }
      >
      sizes = Cast <to = 1> (places)
      last, sums = Loop (trips, yes, x) <body = d (int64 i, bool e, float[N, 4] h)
        => (bool f, float[N, 4] n, float s) {
        f = Identity (e)
        h1 = Relu (h)
        at = NonZero (h1)
        turned = Transpose (at)
        found = GatherND (h1, turned)
        s = ReduceSum <keepdims = 0> (found)
        n = Sub (h, s)
      }>
    }
    """
    cases = itertools.product((1, 5), (False, True), (1, 3))
    check(model(text), *([values(n, 4), np.array(c), np.array(t)] for n, c, t in cases))


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


LIMITS = [f"limit = Constant <value = int64 {{{n}}}> ()" for n in (30, 1 << 40)]


@pytest.mark.parametrize("limit", [*LIMITS, ""])
def test_greedy_search_ends_when_it_ends(limit: str):
    text = GREEDY.replace("LIMIT", limit)
    proto = model(text if limit else text.replace("Loop (limit", "Loop ("))
    rng = np.random.default_rng(5)
    table, out = rng.normal(size=(20, 16)).astype(F32), rng.normal(size=(16, 20)).astype(F32)
    check(proto, *([np.array([k]), table, out] for k in range(6)))


def test_a_branch_in_a_loop_in_a_loop():
    text = """
    g (float[N, 4] x, int64 outer, int64 inner) => (float[N, 4] y, float[A, N, 4] rows) {
      yes = Constant <value = bool {1}> ()
      zero = Constant <value = int64[1] {0}> ()
      limit = Constant <value = float {4}> ()
      half = Constant <value = float {0.5}> ()
      y, rows = Loop (outer, yes, x) <body = b (int64 i, bool c, float[N, 4] h)
        => (bool d, float[N, 4] h2, float[N, 4] total) {
        d = Identity (c)
        h1, r = Loop (inner, c, h) <body = b2 (int64 j, bool e, float[N, 4] g1)
          => (bool go, float[N, 4] g2, float[N, 4] row) {
          big = ReduceMax <keepdims = 0> (g1)
          small = Less (big, limit)
          step = Cast <to = 1> (j)
          g2 = If (small) <
            then_branch = t () => (float[N, 4] u) {
              s = Softmax <axis = 1> (g1)
              u1 = Add (g1, s)
              u = Add (u1, step)
            },
            else_branch = f () => (float[N, 4] v) {
              v1 = Mul (g1, half)
              v = Softmax <axis = 0> (v1)
            }
          >
          row = Add (g2, x)
          go = Identity (e)
        }>
        h2 = Mul (h1, half)
        total = ReduceSum <keepdims = 0> (r, zero)
      }>
    }
    """
    proto = model(text)
    assert regions(proto) == [LoopOp, LoopOp, IfOp]
    for a, b in ((1, 1), (3, 4), (0, 2)):
        check(proto, *([values(n, 4), np.array(a), np.array(b)] for n in (1, 3)))


SCAN = """
g (float[STEPS, N] x, float[N, STEPS] z, float[N] h0, float[N, N] w)
  => (float[N] h, float[N, S] y, float[S, N] r) {
  h, y, r = Scan <num_scan_inputs = 2, scan_input_axes = [0, 1], scan_input_directions = [0, 1],
    scan_output_axes = [1, 0], scan_output_directions = [1, 0],
    body = b (float[N] s, float[N] a, float[N] c) => (float[N] s2, float[N] o, float[N] p) {
      m = MatMul (s, w)
      t = Add (m, a)
      s2 = Tanh (t)
      o = Mul (s2, c)
      p = Identity (c)
    }> (h0, x, z)
}
"""


def test_scans_of_any_length():
    proto = model(SCAN.replace("N", "5"))
    assert regions(proto) == [LoopOp]
    w = values(5, 5, seed=3)
    check(proto, *([values(t, 5), values(5, t, seed=t), values(5), w] for t in (1, 2, 9)))


def test_a_long_scan_is_a_loop_and_a_short_one_is_not():
    assert regions(model(SCAN.replace("N", "5").replace("STEPS", "400"))) == [LoopOp]
    assert regions(model(SCAN.replace("N", "5").replace("STEPS", "4"))) == []


def test_slices_by_the_index():
    text = """
    g (float[N, 4] x, int64 trips) => (float[1, 4] y, float[K, 1, 4] rows) {
      yes = Constant <value = bool {1}> ()
      one = Constant <value = int64[1] {1}> ()
      flat = Constant <value = int64[1] {0}> ()
      first = Slice (x, flat, one, flat)
      y, rows = Loop (trips, yes, first) <body = b (int64 i, bool c, float[1, 4] h)
        => (bool d, float[1, 4] n, float[1, 4] row) {
        d = Identity (c)
        at = Unsqueeze (i, flat)
        row = Gather (x, at)
        m = Add (h, row)
        n = Sin (m)
      }>
    }
    """
    check(model(text), *([values(5, 4), np.array(t)] for t in (0, 3, 5)))


def test_memory_grows_with_rows_that_nothing_limits():
    text = """
    g (float[N] x, int64 trips) => (float total, float[K, N] all) {
      yes = Constant <value = bool {1}> ()
      last, rows = Loop (trips, yes, x) <body = b (int64 i, bool c, float[N] h)
        => (bool d, float[N] n, float[N] row) {
        d = Identity (c)
        n = Sin (h)
        row = Exp (n)
      }>
      all = Sqrt (rows)
      total = ReduceSum <keepdims = 0> (all)
    }
    """
    proto = model(text)
    check(proto, *([values(n), np.array(t)] for n in (1, 700) for t in (1, 2, 3, 65, 1000)))


def test_what_changes_its_shape_is_written_out_or_refused():
    text = """
    g (float[2] x, int64 trips) => (float[K] y) {
      yes = Constant <value = bool {1}> ()
      TRIPS
      y = Loop (n, yes, x) <body = b (int64 i, bool c, float[A] h) => (bool d, float[B] r) {
        d = Identity (c)
        r = Concat <axis = 0> (h, h)
      }>
    }
    """
    known = model(text.replace("TRIPS", "n = Constant <value = int64 {3}> ()"))
    assert regions(known) == []
    (y,) = mlc.compile(known, target="reference", cache=False).run(values(2), np.array(0)).values()
    assert y.shape == (16,)
    with pytest.raises(
        UnsupportedError, match=r"carried value h is \[\[2\] f32\] and becomes \[\[4\]"
    ):
        load_onnx(model(text.replace("TRIPS", "n = Identity (trips)")))


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_networks_over_any_length(kind: str, gates: int):
    rng = np.random.default_rng(4)
    weights = [rng.normal(0, 0.4, s).astype(F32) for s in ((2, gates * 6, 5), (2, gates * 6, 6))]
    bias = rng.normal(0, 0.4, (2, 2 * gates * 6)).astype(F32)
    node = onnx.helper.make_node(
        kind, ["x", "w", "r", "b", "lengths"], ["y", "h"], direction="bidirectional", hidden_size=6
    )
    kinds = {"x": Of(F32, ("T", "N", 5)), "lengths": Of(np.int32, ("N",))}
    names = dict(zip("wrb", [*weights, bias], strict=True))
    proto = onnx_models.model([node], kinds, names, outputs=("y", "h"))
    assert regions(proto) == [LoopOp, LoopOp]
    runs = [(t, n) for t in (1, 4, 9) for n in (1, 3)]
    check(
        proto,
        *([values(t, n, 5), rng.integers(1, t + 1, n).astype(np.int32)] for t, n in runs),
    )


def test_a_loop_without_an_end_is_refused():
    text = """
    g (float[2] x) => (float[2] y) {
      yes = Constant <value = bool {1}> ()
      y = Loop (, yes, x) <body = b (int64 i, bool c, float[2] h) => (bool d, float[2] r) {
        d = Identity (c)
        r = Sin (h)
      }>
    }
    """
    with pytest.raises(UnsupportedError, match="never ends"):
        load_onnx(model(text))
