"""Graphs that Dynamo captures: weights, sizes, numbers, changes in place, what falls back."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from mlc.frontends.torch.backend import compile_captured
from mlc.ir.interpreter import interpret
from mlc.ir.module import input_names
from mlc.ir.ops.constant import ConstantOp
from torch import nn
from torch.nn import functional as F
from xdsl.dialects.builtin import ModuleOp


class Recorder:
    """Compiles for the interpreter and remembers the modules."""

    def __init__(self):
        self.modules: list[ModuleOp] = []

    def __call__(self, model: Any) -> Any:
        def backend(graph: Any, inputs: Sequence[Any]) -> Callable[..., Any]:
            return compile_captured(graph, inputs, self._compile)

        return torch.compile(model, backend=backend)

    def _compile(self, module: ModuleOp) -> Callable[..., Any]:
        self.modules.append(module)

        def run(*tensors: torch.Tensor) -> list[torch.Tensor]:
            return [torch.from_numpy(a) for a in interpret(module, [t.numpy() for t in tensors])]

        return run


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    torch._dynamo.reset()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield Recorder()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        y = self.norm(self.second(F.gelu(self.first(x))))
        return {"y": y, "rows": x.shape[0] * 2, "tail": x[1:]}


def test_weights_are_constants(recorder: Recorder):
    net, x = Net().eval(), torch.randn(3, 4)
    got, wanted = recorder(net)(x), net(x)
    torch.testing.assert_close(got, wanted)
    (module,) = recorder.modules
    assert len(input_names(module)) == 1
    shapes = {op.value.array.shape for op in module.walk() if isinstance(op, ConstantOp)}
    assert {(8, 4), (4, 8)} <= shapes


def test_new_sizes_compile_once_more_and_then_never(recorder: Recorder):
    net = Net().eval()
    compiled = recorder(net)
    for rows in (3, 5, 7, 9):
        x = torch.randn(rows, 4)
        torch.testing.assert_close(compiled(x), net(x))
    assert len(recorder.modules) == 2


def test_changed_weights_compile_again(recorder: Recorder):
    net, x = Net().eval(), torch.randn(3, 4)
    compiled = recorder(net)
    compiled(x)
    net.first.weight.mul_(2)
    torch.testing.assert_close(compiled(x), net(x))
    assert len(recorder.modules) == 2


def test_integers_are_numbers(recorder: Recorder):
    def forward(x: torch.Tensor, start: int) -> torch.Tensor:
        part = x[:, start : start + 2] * start + torch.arange(start, start + 2)
        return part + start // 2 + max(start, 3)

    compiled, x = recorder(forward), torch.randn(3, 9)
    for start in (2, 3, 4, 5):
        torch.testing.assert_close(compiled(x, start), forward(x, start))
    assert len(recorder.modules) == 2
    assert len(input_names(recorder.modules[1])) == 2


def test_state_that_changes_in_place(recorder: Recorder):
    class Cache(nn.Module):
        seen: torch.Tensor

        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(4, 2))
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
            self.seen.index_copy_(0, place, x * self.scale)
            return self.seen.sum(0)

    plain, cached = Cache(), Cache()
    compiled = recorder(cached)
    for k in range(4):
        x, place = torch.randn(1, 2), torch.tensor([k])
        torch.testing.assert_close(compiled(x, place), plain(x, place))
    torch.testing.assert_close(cached.seen, plain.seen)
    assert len(recorder.modules) == 1


def test_attention_and_norms(recorder: Recorder):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    model = nn.Sequential(nn.Conv1d(5, 5, 3, padding=1), layer, nn.Dropout())
    model.eval()
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(recorder(model)(x), model(x))
    assert recorder.modules


@pytest.mark.parametrize("norm_first", [False, True])
def test_an_encoder_with_masks(recorder: Recorder, norm_first: bool):
    layer = nn.TransformerEncoderLayer(
        *(8, 2, 16), batch_first=True, norm_first=norm_first, activation="gelu"
    )
    model = layer.eval()
    x, hidden = torch.randn(2, 5, 8), torch.zeros(2, 5, dtype=torch.bool)
    hidden[1, 3:] = True
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    compiled = recorder(model)
    for masks in ({"src_key_padding_mask": hidden}, {"src_mask": causal}):
        torch.testing.assert_close(compiled(x, **masks), model(x, **masks))
    assert recorder.modules


def test_a_graph_break(recorder: Recorder):
    def forward(x: torch.Tensor) -> torch.Tensor:
        y = x.relu() + 1
        torch._dynamo.graph_break()
        return y * 2

    x = torch.randn(3)
    torch.testing.assert_close(recorder(forward)(x), forward(x))
    assert len(recorder.modules) == 2


def test_gradients_run_in_eager_mode(recorder: Recorder):
    net, x = Net().eval(), torch.randn(3, 4)
    with torch.enable_grad(), pytest.warns(UserWarning, match=r"torch\.no_grad"):
        recorder(net)(x)["y"].sum().backward()
    assert net.first.weight.grad is not None
    assert not recorder.modules


def test_training_runs_in_eager_mode(recorder: Recorder):
    net, x = Net().train(), torch.randn(3, 4)
    with pytest.warns(UserWarning, match="batch norm in training mode"):
        recorder(net)(x)
    assert not recorder.modules


def test_what_is_unsupported_runs_in_eager_mode(recorder: Recorder):
    x = torch.randn(3, 3)
    with pytest.warns(UserWarning, match="eager mode: 1 node of the model"):
        got = recorder(torch.linalg.det)(x)
    torch.testing.assert_close(got, torch.linalg.det(x))


def test_the_entry_point():
    with (Path(__file__).parents[3] / "pyproject.toml").open("rb") as file:
        declared = tomllib.load(file)["project"]["entry-points"]["torch_dynamo_backends"]["mlc"]
    backend = EntryPoint("mlc", declared, "torch_dynamo_backends").load()
    torch._dynamo.reset()
    net, x = Net().eval(), torch.randn(3, 4)
    with torch.no_grad():
        compiled = torch.compile(net, backend=backend, options={"target": "reference"})
        torch.testing.assert_close(compiled(x), net(x))
