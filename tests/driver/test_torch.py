"""``mlc.compile`` of torch models."""

from __future__ import annotations

import mlc
import numpy as np
import pytest

torch = pytest.importorskip("torch")


class Net(torch.nn.Module):
    def __init__(self, width: int = 4):
        super().__init__()
        self.linear = torch.nn.Linear(width, 3)

    def forward(self, x):
        return torch.relu(self.linear(x))


@pytest.fixture(scope="module")
def net() -> Net:
    return Net()


def wanted(net: Net, x):
    with torch.no_grad():
        return net(x)


@pytest.mark.parametrize("target", ["cpu", "reference"])
def test_every_kind_of_torch_model(net: Net, target: str):
    x = torch.randn(2, 4)
    program = torch.export.export(net, (x,))
    for model, inputs in (
        (net, (x,)),
        (net, x),
        (net, [x.numpy()]),
        (net, {"x": x}),
        (program, None),
        (torch.fx.symbolic_trace(net), (x,)),
    ):
        compiled = mlc.compile(model, inputs=inputs, target=target, cache=False)
        got = compiled(x)
        assert isinstance(got, torch.Tensor)
        torch.testing.assert_close(got, wanted(net, x))


def test_dynamic_shapes(net: Net):
    rows = torch.export.Dim("rows")
    shapes = {"x": {0: rows}}
    model = mlc.compile(net, inputs=(torch.randn(2, 4),), dynamic_shapes=shapes, cache=False)
    assert model.inputs[0].shape == ("rows", 4)
    x = torch.randn(7, 4)
    torch.testing.assert_close(model(x), wanted(net, x))


def test_torch_models_are_cached_by_their_program_and_weights(net: Net, tmp_path):
    x = torch.randn(2, 40)
    for model in (Net(40), Net(40)):
        compiled = [mlc.compile(model, inputs=(x,), cache=tmp_path) for _ in range(2)]
        for one in compiled:
            torch.testing.assert_close(one(x), wanted(model, x))
    assert len(list(tmp_path.iterdir())) == 2


def test_wrong_arguments_are_named(net: Net):
    with pytest.raises(mlc.MlcError, match="shapes= and constants= are for ONNX models"):
        mlc.compile(net, inputs=(torch.randn(2, 4),), shapes={"x": (2, 4)}, cache=False)
    with pytest.raises(mlc.MlcError):
        mlc.compile(net, cache=False)


def test_numpy_in_numpy_out(net: Net):
    x = np.ones((2, 4), np.float32)
    model = mlc.compile(net, inputs=(x,), cache=False)
    assert isinstance(model(x), np.ndarray)
