"""Modules of the graph level as torch modules: every op case, sizes, fusions, what numpy does."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from build import build
from cases import CASES, SIZES, Case
from mlc.frontends.torch.execute import BY_REFERENCE, torch_module
from mlc.frontends.torch.tensors import TORCH_DTYPES, numpy_view, torch_view
from mlc.ir.dims import symbol
from mlc.ir.errors import UnsupportedError
from mlc.ir.interpreter import interpret, run_op
from mlc.ir.module import model_module
from mlc.ir.op import GraphOp, set_source
from mlc.ir.ops import elementwise as e
from mlc.ir.ops.constant import ConstantOp, DimsOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.conv import ConvOp, ConvTransposeOp
from mlc.ir.ops.index import GatherOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp
from mlc.ir.ops.select import CompressOp, UniqueOp
from mlc.ir.ops.shape import BroadcastOp, ReshapeOp, SliceOp, TransposeOp
from mlc.ir.symbols import known_symbols
from mlc.ir.types import I64, TensorType, is_float, tensor, type_of
from torch import fx
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue


def of_case(case: Case) -> fx.GraphModule:
    """The torch module of one op."""
    op = build(case)
    block = op.parent_block()
    assert block is not None
    block.add_op(ReturnOp(operands=[list(op.results)]))
    inputs = [f"x{k}" for k in range(len(block.args))]
    return torch_module(model_module(block, inputs, ["y"] * len(op.results)))


def can_run(case: Case) -> bool:
    """Whether torch has the dtypes of a case, and operands tell its sizes."""
    op = build(case)
    dtypes = {type_of(v).dtype for v in (*op.operands, *op.results)}
    return dtypes <= set(TORCH_DTYPES) and (
        case.op is not DimsOp or "N" not in case.params["elements"]
    )


def close(got: np.ndarray, wanted: np.ndarray) -> None:
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    if not is_float(wanted.dtype):
        return np.testing.assert_array_equal(got, wanted)
    tolerance = 1e-5 if wanted.dtype.itemsize >= 4 else 2e-2
    np.testing.assert_allclose(got.astype(float), wanted.astype(float), tolerance, tolerance)


@pytest.mark.parametrize("case", [c for c in CASES if can_run(c)], ids=str)
def test_torch_computes_what_the_reference_does(case: Case):
    made, arrays = of_case(case), case.arrays()
    with known_symbols(SIZES):
        wanted = run_op(build(case), arrays)
        results = made(*map(torch_view, arrays))
    for got, want in zip(results, wanted, strict=True):
        close(numpy_view(got), want)


RNG = np.random.default_rng(3)


class Graph:
    """A module while it is written down."""

    def __init__(self, *types: TensorType):
        self.block = Block(arg_types=types)
        self.inputs = self.block.args

    def add(self, op: GraphOp) -> SSAValue:
        self.block.add_op(op)
        return op.results[0]

    def number(self, value: float) -> SSAValue:
        return self.add(ConstantOp.of(np.array(value, np.float32)))

    def random(self, *shape: int) -> SSAValue:
        return self.add(ConstantOp.of(RNG.standard_normal(shape).astype(np.float32)))

    def module(self, *results: SSAValue) -> ModuleOp:
        self.block.add_op(ReturnOp(operands=[results]))
        inputs = [f"in.{k}" for k in range(len(self.inputs))]
        return model_module(self.block, inputs, [f"out{k}" for k in range(len(results))])


def called(made: fx.GraphModule) -> list[str]:
    """The names of all functions and methods that a graph calls, in order."""
    calls = [n for n in made.graph.nodes if n.op.startswith("call")]
    return [n.target if isinstance(n.target, str) else n.target.__name__ for n in calls]


def check(module: ModuleOp, *arrays: np.ndarray) -> fx.GraphModule:
    """Compares torch with the interpreter."""
    made = torch_module(module)
    for got, wanted in zip(made(*map(torch_view, arrays)), interpret(module, arrays), strict=True):
        close(numpy_view(got), wanted)
    return made


def uniform(*shape: int) -> np.ndarray:
    return RNG.uniform(-5, 5, shape).astype(np.float32)


def test_a_layer_takes_its_bias_and_shares_its_weight():
    g = Graph(tensor((2, 5, 4), np.float32))
    weight, bias = g.random(4, 3), g.random(3)
    made = check(
        g.module(g.add(e.AddOp(bias, g.add(MatmulOp(g.inputs[0], weight))))), uniform(2, 5, 4)
    )
    assert called(made) == ["linear"]
    assert isinstance(weight.owner, ConstantOp)
    addresses = [b.data_ptr() for b in made.buffers()]
    assert weight.owner.value.array.ctypes.data in addresses


@pytest.mark.parametrize("pads", [(1, 0, 1, 0), (0, 1, 1, 0)])
def test_a_convolution_takes_its_bias_and_moves_no_memory(pads: tuple[int, ...]):
    g = Graph(tensor((2, 7, 5, 4), np.float32))
    kind = {"strides": (2, 1), "pads": pads, "dilations": (1, 1)}
    conv = g.add(ConvOp(g.inputs[0], g.random(3, 2, 4, 6), **kind))
    made = check(g.module(g.add(e.AddOp(conv, g.random(6)))), uniform(2, 7, 5, 4))
    padded = ["pad"] if pads[:2] != pads[2:] else []
    assert called(made) == ["permute", *padded, "conv2d", "permute"]
    assert made(torch.ones(2, 7, 5, 4))[0].is_contiguous()


@pytest.mark.parametrize("pads", [(1, 0, 1, 0), (0, 1, 1, 0)])
@pytest.mark.parametrize("extra", [(1, 0), (2, 1)])
def test_a_transposed_convolution_takes_its_bias(pads: tuple[int, ...], extra: tuple[int, ...]):
    g = Graph(tensor((2, 7, 5, 4), np.float32))
    kind = {"strides": (2, 1), "pads": pads, "dilations": (1, 1), "output_padding": extra}
    conv = g.add(ConvTransposeOp(g.inputs[0], g.random(3, 2, 4, 6), **kind))
    made = check(g.module(g.add(e.AddOp(conv, g.random(6)))), uniform(2, 7, 5, 4))
    assert called(made).count("add") == (pads[:2] != pads[2:] or extra == (2, 1))


def test_a_bias_stays_where_others_read_the_product():
    g = Graph(tensor((2, 4), np.float32))
    product = g.add(MatmulOp(g.inputs[0], g.random(4, 3)))
    made = check(g.module(product, g.add(e.AddOp(product, g.random(3)))), uniform(2, 4))
    assert called(made) == ["linear", "add"]


def hard_sigmoid(g: Graph, x: SSAValue) -> SSAValue:
    line = g.add(e.AddOp(g.add(e.MulOp(x, g.number(1 / 6))), g.number(0.5)))
    return g.add(e.MinOp(g.add(e.ReluOp(line)), g.number(1)))


def hard_swish(g: Graph, x: SSAValue) -> SSAValue:
    return g.add(e.MulOp(x, hard_sigmoid(g, x)))


def clamped(g: Graph, x: SSAValue) -> SSAValue:
    return g.add(e.MaxOp(g.add(e.MinOp(x, g.number(2))), g.number(-1)))


def clamped_above(g: Graph, x: SSAValue) -> SSAValue:
    return g.add(e.MinOp(x, g.number(-1)))


def relu6(g: Graph, x: SSAValue) -> SSAValue:
    return g.add(e.MinOp(g.add(e.ReluOp(x)), g.number(6)))


def crossed(g: Graph, x: SSAValue) -> SSAValue:
    return g.add(e.MaxOp(g.add(e.MinOp(x, g.number(-1))), g.number(2)))


def leaky_relu(g: Graph, x: SSAValue) -> SSAValue:
    is_negative = g.add(e.LtOp(x, g.number(0)))
    return g.add(e.SelectOp(is_negative, g.add(e.MulOp(x, g.number(0.1))), x))


@pytest.mark.parametrize(
    ("activation", "calls"),
    [
        (hard_sigmoid, ["hardsigmoid"]),
        (hard_swish, ["hardswish"]),
        (clamped, ["clamp"]),
        (clamped_above, ["clamp"]),
        (relu6, ["clamp"]),
        (crossed, ["clamp", "maximum"]),
        (leaky_relu, ["leaky_relu"]),
    ],
)
def test_activations_of_several_ops_are_one_call(activation, calls: list[str]):
    g = Graph(tensor((3, 5), np.float32))
    assert called(check(g.module(activation(g, g.inputs[0])), uniform(3, 5))) == calls


def test_what_several_layers_read_is_moved_once():
    g = Graph(tensor((2, 3, 4), np.float32))
    turned = g.add(TransposeOp(g.inputs[0], perm=(1, 0, 2)))
    layers = [g.add(MatmulOp(turned, g.random(4, 3))) for _ in range(2)]
    made = check(g.module(*layers), uniform(2, 3, 4))
    assert called(made) == ["permute", "contiguous", "linear", "linear"]


def test_sizes_are_read_at_each_call():
    n, s = symbol("N"), symbol("S")
    g = Graph(tensor((n, 4), np.float32), tensor((s,), np.float32))
    x, y = g.inputs
    sizes = g.add(DimsOp.of((n, n * s + 1, (n + 1) // 2, s % 2), (4,), I64))
    flat = g.add(ReshapeOp.to(x, (n * 4,)))
    half = g.add(SliceOp(flat, starts=("N",), stops=("4*N",), steps=(2,)))
    wide = g.add(BroadcastOp.to(y, (n, s)))
    module = g.module(sizes, half, wide)
    made = torch_module(module)
    for rows, count in ((3, 2), (1, 5), (4, 1)):
        arrays = uniform(rows, 4), uniform(count)
        results = made(*map(torch_view, arrays))
        for got, wanted in zip(results, interpret(module, arrays), strict=True):
            close(numpy_view(got), wanted)


def test_sizes_that_ops_find_out():
    g = Graph(tensor((5,), np.float32), tensor((5,), np.bool_))
    kept = g.add(CompressOp(*g.inputs, axis=0, count="K"))
    twice = g.add(BroadcastOp.to(kept, (2, symbol("K"))))
    check(g.module(twice), uniform(5), np.array([1, 0, 1, 1, 0], bool))


def test_numpy_runs_what_torch_cannot():
    g = Graph(tensor((symbol("N"), 3), np.float32))
    unique = UniqueOp(g.inputs[0], axis=0, count="K")
    set_source(unique, "the_node")
    g.add(unique)
    wide = g.add(BroadcastOp.to(unique.first, (2, symbol("K"))))
    x = np.ones((4, 3), np.float32)
    made = check(g.module(unique.results[0], wide), x)
    assert made.meta[BY_REFERENCE] == ["mlc.unique (the_node)"]


def test_quantized_weights_are_decoded_beforehand():
    g = Graph(tensor((2, 4), np.float32))
    weight = g.add(ConstantOp.of(RNG.integers(-8, 8, (4, 3)).astype(np.int8)))
    decoded = g.add(DequantizeOp(weight, g.number(0.5)))
    made = check(g.module(g.add(MatmulOp(g.inputs[0], decoded))), uniform(2, 4))
    assert called(made) == ["matmul"]
    assert made.meta[BY_REFERENCE] == []


def test_dtypes_that_torch_lacks_are_refused():
    g = Graph(tensor((2, 4), np.float32))
    op = QuantizeOp(g.inputs[0], g.number(0.5), to=np.dtype(ml_dtypes.int4))
    set_source(op, "the_node")
    module = g.module(g.add(op))
    with pytest.raises(
        UnsupportedError, match=r"the_node: mlc.quantize: torch has no tensors of i4"
    ):
        torch_module(module)


def test_constant_indices():
    g = Graph(tensor((5, 3), np.float32))
    places = [np.int64(-1), np.array([[0, -5], [4, 2]], np.int32)]
    rows = [
        g.add(GatherOp(g.inputs[0], g.add(ConstantOp.of(np.asarray(p))), axis=0)) for p in places
    ]
    made = check(g.module(*rows), uniform(5, 3))
    assert "select" in called(made)


def test_torch_compiles_it():
    g = Graph(tensor((symbol("N"), 4), np.float32))
    layer = g.add(e.AddOp(g.add(MatmulOp(g.inputs[0], g.random(4, 3))), g.random(3)))
    unique = UniqueOp(g.inputs[0], axis=0, count="K")
    g.add(unique)
    module = g.module(g.add(e.GeluOp(layer)), unique.inverse)
    compiled = torch.compile(torch_module(module), backend="eager")
    x = uniform(2, 4)
    for got, wanted in zip(compiled(torch_view(x)), interpret(module, [x]), strict=True):
        close(numpy_view(got), wanted)
