"""What goes in and comes out: kinds of models, names, symbols, weights, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from mlc.frontends.torch import load_torch
from mlc.ir.errors import InvalidModelError, UnsupportedError
from mlc.ir.interpreter import interpret
from mlc.ir.module import input_names, model_name, output_names, symbol_limits
from mlc.ir.op import source_of
from mlc.ir.ops.constant import ConstantOp
from torch import fx, nn
from torch.export import Dim
from torch.fx.passes.shape_prop import ShapeProp


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(4, 4)
        first = nn.Linear(4, 4)
        first.weight = self.decoder.weight
        self.encoder = nn.Sequential(first, nn.ReLU())

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(tokens)) * mask


NET, X, M = Net(), torch.randn(3, 4), torch.rand(3, 1)
WANTED = NET(X, M).detach().numpy()


def run(module: Any, *args: torch.Tensor) -> list[np.ndarray]:
    module.verify()
    return interpret(module, [a.numpy() for a in args])


def constants(module: Any) -> list[np.ndarray]:
    return [op.value.array for op in module.walk() if isinstance(op, ConstantOp)]


def test_a_module():
    module = load_torch(NET, (X, M))
    assert input_names(module) == ["tokens", "mask"]
    assert output_names(module) == ["output0"]
    assert model_name(module) == "Net"
    np.testing.assert_allclose(run(module, X, M)[0], WANTED, rtol=1e-5)


def test_arrays_and_names_as_example_inputs():
    module = load_torch(NET, (X.numpy(),), {"mask": M.numpy()})
    assert input_names(module) == ["tokens", "mask"]


def test_an_exported_program():
    dims = {"tokens": {0: Dim("batch")}, "mask": {0: Dim("batch")}}
    module = load_torch(torch.export.export(NET, (X, M), dynamic_shapes=dims))
    assert "[batch, 4]" in str(module)
    np.testing.assert_allclose(run(module, X[:2], M[:2])[0], WANTED[:2], rtol=1e-5)


def test_a_graph_module():
    traced = fx.symbolic_trace(NET)
    np.testing.assert_allclose(run(load_torch(traced, (X, M)), X, M)[0], WANTED, rtol=1e-5)
    with pytest.raises(InvalidModelError, match="placeholder 'tokens' does not say its shape"):
        load_torch(traced)
    ShapeProp(traced).propagate(X, M)
    np.testing.assert_allclose(run(load_torch(traced), X, M)[0], WANTED, rtol=1e-5)


def test_a_graph_module_with_symbolic_sizes():
    dims = ({0: Dim("batch")}, {0: Dim("batch")})
    traced = torch.export.export(NET, (X, M), dynamic_shapes=dims).module()
    module = load_torch(traced, (X, M), dynamic_shapes=dims)
    np.testing.assert_allclose(run(module, X[:2], M[:2])[0], WANTED[:2], rtol=1e-5)
    assert isinstance(traced, fx.GraphModule)
    np.testing.assert_allclose(run(load_torch(traced), X[:2], M[:2])[0], WANTED[:2], rtol=1e-5)


def test_weights_are_shared():
    arrays = [a for a in constants(load_torch(NET, (X, M))) if a.shape == (4, 4)]
    assert len(arrays) == 1
    assert np.shares_memory(arrays[0], NET.decoder.weight.detach().numpy())


def test_the_model_keeps_its_mode():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(4).eval()).train()
    model[1].training = False
    load_torch(model, (X,))
    assert [m.training for m in model.modules()] == [True, True, False]


def test_nested_inputs_and_outputs():
    class Nested(nn.Module):
        def forward(self, batch: dict[str, Any], *rest: torch.Tensor, flag: bool = True) -> Any:
            x, y = batch["pair"]
            return {"sum": x + y, "parts": [x * 2, (rest[0] if flag else x)], "none": None}

    module = load_torch(Nested(), ({"pair": (X, X)}, M), {"flag": True})
    assert input_names(module) == ["batch_pair_0", "batch_pair_1", "rest_0"]
    assert output_names(module) == ["sum", "parts.0", "parts.1"]


def test_symbols_have_the_users_names():
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, y[:, : x.shape[1]]])

    dims = {"x": {0: Dim.AUTO, 1: Dim("width")}, "y": {0: Dim("rows"), 1: 2 * Dim("width")}}
    module = load_torch(Pair(), (torch.ones(3, 4), torch.ones(2, 8)), dynamic_shapes=dims)
    types = [str(a.type) for a in list(module.walk())[1].regions[0].block.args]
    assert types == ["[x_0, width] f32", '[rows, "2*width"] f32']


def test_limits_of_symbols():
    dims = {"tokens": {0: Dim("batch", max=16)}, "mask": {0: Dim("batch", max=16)}}
    assert symbol_limits(load_torch(NET, (X, M), dynamic_shapes=dims)) == {"batch": 16}


def test_nodes_know_their_module():
    sources = [source_of(op) for op in load_torch(NET, (X, M)).walk()]
    assert "encoder.0/linear" in sources


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Identity())
        self.inner[0].forward = lambda x: torch.linalg.det(x)  # type: ignore[method-assign]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noise = torch.rand_like(x)
        return self.inner(x) + (noise + 1).sum()


def test_all_problems_are_named_at_once():
    with pytest.raises(UnsupportedError) as caught:
        load_torch(Broken(), (torch.eye(3),))
    first, second = caught.value.items
    assert first.op == "aten.rand_like.default"
    assert "random" in first.reason
    assert f'File "{__file__}", line' in first.node
    assert second.node.startswith("inner.0/")
    assert "det" in second.op


def test_what_cannot_be_traced():
    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedError, match=r"Branch: torch.export: .*data-dependent"):
        load_torch(Branch(), (X,))


def test_too_dynamic_shapes():
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.ones(3, 4)

    with pytest.raises(UnsupportedError, match="torch suggests batch = 3"):
        load_torch(Fixed(), (X,), dynamic_shapes=({0: Dim("batch")},))


def test_mutation_is_refused():
    class Counter(nn.Module):
        count: torch.Tensor

        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count.add_(1)
            return x + self.count

    with pytest.raises(UnsupportedError, match=r"count: mutation: .* compiled models are pure"):
        load_torch(Counter(), (X,))


DEPENDS_ON_VALUES: list[tuple[Callable[[torch.Tensor], Any], str]] = [
    (lambda x: x[x > 0].sum(), "a mask selects a number of elements"),
    (lambda x: x.nonzero(), "aten.nonzero.default: how large its result is depends on values"),
    (lambda x: x * x.argmax().item(), "a Python number is read from a tensor"),
    (lambda x: x.repeat_interleave(x[:, 0].int().abs(), 0), "depends on values"),
]


@pytest.mark.parametrize(("function", "message"), DEPENDS_ON_VALUES)
def test_sizes_that_depend_on_values(function: Callable[..., Any], message: str):
    class Call(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return function(x)

    with pytest.raises(UnsupportedError, match=message):
        load_torch(Call(), (X,))


@pytest.mark.parametrize(
    ("model", "args", "message"),
    [
        (object(), (), "expected a torch.nn.Module, got object"),
        (
            nn.Linear(4, 4, device="meta"),
            (X.to("meta"),),
            "weight 'weight': the tensor has no data",
        ),
        (nn.ReLU(), (torch.ones(2, dtype=torch.complex64),), "dtype torch.complex64"),
    ],
)
def test_what_is_no_model(model: Any, args: tuple[Any, ...], message: str):
    with pytest.raises((InvalidModelError, UnsupportedError), match=message):
        load_torch(model, args)


def test_no_example_inputs():
    with pytest.raises(InvalidModelError, match=r"forward of Net: missing .* argument: 'tokens'"):
        load_torch(NET)
    with pytest.raises(InvalidModelError, match="got an unexpected keyword argument 'masc'"):
        load_torch(NET, (X, M), {"masc": M})


def test_sizes_that_a_reshape_needs():
    class Pairs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(-1, 2)

    with pytest.raises(UnsupportedError, match="batch elements do not fit shape"):
        load_torch(Pairs(), (torch.ones(4),), dynamic_shapes=({0: Dim("batch")},))
    assert load_torch(Pairs(), (torch.ones(4),), dynamic_shapes=({0: 2 * Dim("batch")},))


def test_sizes_that_no_input_tells():
    class Double(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    with pytest.raises(InvalidModelError, match="or a multiple as a dimension"):
        load_torch(Double(), (torch.ones(4),), dynamic_shapes=({0: Dim("batch") + 1},))
