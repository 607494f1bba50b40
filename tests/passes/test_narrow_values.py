"""What is stored in bf16, what stays exact, and that native code means what the graph means."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from graphs import Graph
from mlc.codegen.cpu.target import host, target_for
from mlc.ir.dims import symbol
from mlc.ir.interpreter import interpret
from mlc.ir.kernel import KernelOp
from mlc.ir.module import main_function
from mlc.ir.ops.attention import AttentionOp
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, CosOp, MulOp, ReluOp
from mlc.ir.ops.index import GatherOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.norm import LayerNormOp, SoftmaxOp
from mlc.ir.ops.shape import ConcatOp, ReshapeOp, TransposeOp
from mlc.ir.types import DTYPES, type_of
from mlc.passes.lowering import lowering
from mlc.passes.manager import run_passes
from mlc.passes.narrow_values import NarrowValues
from native import Native
from xdsl.dialects.builtin import ModuleOp

BF16 = DTYPES["bf16"]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def narrowed(module: ModuleOp) -> ModuleOp:
    run_passes(module, (*lowering(), NarrowValues()))
    return module


def dtypes(module: ModuleOp) -> Counter[str]:
    """How many results of kernels and constants beside them there are, by dtype."""
    block = main_function(module).body.block
    made = [op for op in block.ops if isinstance(op, KernelOp | ConstantOp)]
    return Counter(type_of(r).dtype.name for op in made for r in op.results)


def two_layers(graph: Graph) -> ModuleOp:
    """``[64, 32] -> relu -> [64, 48] -> [64, 16]`` with a residual sum between."""
    hidden = graph(ReluOp, graph(MatmulOp, graph.inputs[0], numbers(32, 48, seed=1)))
    again = graph(AddOp, graph(MatmulOp, hidden, numbers(48, 48, seed=2)), hidden)
    normed = graph(LayerNormOp, again, np.ones(48, np.float32), axis=1, epsilon=1e-5)
    return graph.module(graph(MatmulOp, normed, numbers(48, 16, seed=3)))


def test_weights_and_values_between_kernels_are_narrow_and_results_are_not():
    module = narrowed(two_layers(Graph((64, 32))))
    returned = main_function(module).body.block.last_op
    assert returned is not None
    assert [type_of(v).dtype for v in returned.operands] == [np.float32]
    assert dtypes(module)["float32"] == 3  # the result, and two small constants of the norm


def test_the_graph_still_runs_and_is_near():
    wanted = interpret(two_layers(Graph((64, 32))), [numbers(64, 32)])[0]
    got = interpret(narrowed(two_layers(Graph((64, 32)))), [numbers(64, 32)])[0]
    error = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
    assert 1e-5 < error < 1e-2


def test_what_does_not_come_from_a_product_stays_exact():
    graph = Graph((1500, 1))
    angles = graph(MulOp, graph.inputs[0], numbers(1, 8))
    turned = graph(CosOp, graph(ReshapeOp, angles, shape=(12000,)))
    assert dtypes(narrowed(graph.module(turned)))["bfloat16"] == 0


def test_shallow_products_stay_exact():
    graph = Graph((1500, 2))
    product = graph(ReluOp, graph(MatmulOp, graph.inputs[0], numbers(2, 64)))
    assert dtypes(narrowed(graph.module(graph(SoftmaxOp, product, axis=1))))["bfloat16"] == 0


def test_tables_that_narrow_results_are_read_from_are_narrow():
    graph = Graph((40,), dtypes=[np.int64])
    read = graph(GatherOp, numbers(5000, 32), graph.inputs[0], axis=0)
    module = narrowed(graph.module(graph(MatmulOp, read, numbers(32, 48))))
    assert dtypes(module) == {"bfloat16": 3, "float32": 1}


def native(module: ModuleOp, name: str = "cpu") -> Native:
    return Native(module, replace(target_for(name), narrow=True))


def check(module: ModuleOp, inputs: list[np.ndarray], algorithms: set[str]) -> None:
    (wanted,) = interpret(module, inputs)
    compiled = native(module)
    (got,) = compiled.run(inputs)
    assert np.linalg.norm(got - wanted) / np.linalg.norm(wanted) < 1e-2
    used = {site["algorithm"] for site in compiled.build.sites}
    if host().dot2:
        assert algorithms <= used


def test_native_layers():
    check(two_layers(Graph((64, 32))), [numbers(64, 32)], {"bf16", "row"})


def test_native_layers_of_any_size():
    module = two_layers(Graph((symbol("N"), 32)))
    compiled = native(module.clone())
    for rows in (1, 5, 64):
        x = numbers(rows, 32, seed=rows)
        (wanted,), (got,) = interpret(module, [x]), compiled.run([x])
        assert np.linalg.norm(got - wanted) / np.linalg.norm(wanted) < 1e-2


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 24])
def test_native_convolutions_with_pads(groups: int, stride: int):
    """The first layer, another one, its pads copied or watched, and a depthwise one."""
    graph = Graph((1, 3, 15, 14))
    params = {"pads": (1, 1, 1, 1), "dilations": (1, 1), "strides": (1, 1)}
    image = graph(TransposeOp, graph.inputs[0], perm=(0, 2, 3, 1))
    first = graph(ReluOp, graph(ConvOp, image, numbers(3, 3, 3, 24), **params))
    w = numbers(3, 3, 24 // groups, 24, seed=1)
    params |= {"strides": (stride, stride), "groups": groups}
    second = graph(ConvOp, first, w, **params)
    last = graph(ConvOp, second, numbers(1, 1, 24, 20, seed=2), strides=(1, 1),
                 pads=(0, 0, 0, 0), dilations=(1, 1))  # fmt: skip
    check(graph.module(last), [numbers(1, 3, 15, 14)], {"bf16"})


@pytest.mark.parametrize(("positions", "features"), [(33, 16), (130, 70), (5, 7)])
def test_native_attention(positions: int, features: int):
    """Heads are a transpose of what products give, positions and features odd or not."""
    graph = Graph((positions, 32))
    width = 2 * features
    heads = [
        graph(
            TransposeOp,
            graph(
                ReshapeOp,
                graph(MatmulOp, graph.inputs[0], numbers(32, width, seed=n)),
                shape=(1, positions, 2, features),
            ),
            perm=(0, 2, 1, 3),
        )
        for n in range(3)
    ]
    mixed = graph(AttentionOp, *heads, scale=0.005)
    flat = graph(TransposeOp, mixed, perm=(0, 2, 1, 3))
    flat = graph(ReshapeOp, flat, shape=(positions, width))
    result = graph(MatmulOp, flat, numbers(width, 24))
    check(graph.module(result), [numbers(positions, 32)], {"attention", "bf16"})


def test_native_concatenation_of_narrow_values():
    graph = Graph((40, 32))
    parts = [graph(MatmulOp, graph.inputs[0], numbers(32, 64, seed=n)) for n in (1, 2)]
    both = graph(ConcatOp, *parts, axis=1)
    check(graph.module(graph(MatmulOp, both, numbers(128, 24))), [numbers(40, 32)], {"concat"})


def test_a_machine_without_the_instruction_keeps_f32():
    module = two_layers(Graph((64, 32)))
    build = Native(module, target_for("cpu:x86-64-v3")).build
    assert "bf16" not in {site["algorithm"] for site in build.sites}
