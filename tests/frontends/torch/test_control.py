"""``torch.cond``, ``while_loop`` and ``scan``: interpreter and native code against eager torch."""

from __future__ import annotations

import tempfile
from typing import Any

import mlc
import numpy as np
import pytest
import torch
from mlc.frontends.torch import load_torch
from mlc.ir.ops.control import IfOp, LoopOp
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop

N = torch.export.Dim("N", min=2)


class Layer(nn.Module):
    """What the models have; ``plain`` says in Python what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def plain(self, x: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError


class Cond(Layer):
    """A layer on one side, a softmax on the other."""

    def forward(self, x: Tensor) -> Any:
        return torch.cond(x.sum() > 0, self.layer, lambda x: torch.softmax(x, 1), (x,))

    def plain(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.layer(x) if x.sum() > 0 else torch.softmax(x, 1),)


class Small(Layer):
    """Little arithmetic on both sides, in a branch that has a layer."""

    def forward(self, x: Tensor) -> Any:
        def inner(x: Tensor) -> Tensor:
            return torch.cond(x.max() > 0.9, torch.sin, torch.cos, (self.layer(x),))

        return torch.cond(x.sum() > 0, inner, lambda x: x * 2, (x,))

    def plain(self, x: Tensor) -> tuple[Tensor, ...]:
        kind = torch.sin if x.max() > 0.9 else torch.cos
        return (kind(self.layer(x)) if x.sum() > 0 else x * 2,)


class While(Layer):
    """Until the sum is large."""

    def forward(self, x: Tensor) -> Any:
        def goes_on(count: Tensor, h: Tensor) -> Tensor:
            return (count < 7) & (h.sum() < 20)

        def body(count: Tensor, h: Tensor) -> Any:
            return count + 1, torch.relu(self.layer(h)) + 0.3

        return while_loop(goes_on, body, (torch.zeros((), dtype=torch.int64), x.clone()))

    def plain(self, x: Tensor) -> tuple[Tensor, ...]:
        count = 0
        while count < 7 and x.sum() < 20:
            count, x = count + 1, torch.relu(self.layer(x)) + 0.3
        return torch.tensor(count), x


class Scan(Layer):
    """A recurrent layer."""

    def forward(self, x: Tensor) -> Any:
        def step(h: Tensor, row: Tensor) -> Any:
            new = torch.tanh(self.layer(h) + row)
            return new, new * 2

        return scan(step, torch.zeros(4), x, dim=0)

    def plain(self, x: Tensor) -> tuple[Tensor, ...]:
        h, rows = torch.zeros(4), []
        for row in x:
            h = torch.tanh(self.layer(h) + row)
            rows.append(h * 2)
        return h, torch.stack(rows)


def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [sign * torch.rand(n, 4, generator=generator) for n in (2, 5) for sign in (-1, 1)]


@pytest.mark.parametrize(
    ("kind", "left"), [(Cond, [IfOp]), (Small, [IfOp]), (While, [LoopOp]), (Scan, [LoopOp])]
)
def test_regions(kind: type[Layer], left: list[type]):
    torch.manual_seed(1)
    model = kind().eval()
    program = torch.export.export(model, (inputs()[0],), dynamic_shapes=({0: N},))
    module = load_torch(program)
    assert [type(op) for op in module.walk() if isinstance(op, IfOp | LoopOp)] == left
    compiled = [mlc.compile(module.clone(), target="reference", cache=False)]
    with tempfile.TemporaryDirectory() as folder:
        compiled += [mlc.compile(module.clone(), threads=n, cache=folder) for n in (1, 2)]
    for x in inputs():
        with torch.no_grad():
            wanted = model.plain(x)
        for one in compiled:
            for got, want in zip(one.run(x.numpy()).values(), wanted, strict=True):
                np.testing.assert_allclose(got, want.numpy(), 1e-4, 1e-5)
