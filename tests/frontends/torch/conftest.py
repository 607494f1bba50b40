"""Compares what mlc imports with what torch computes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]

Check = Callable[..., Any]


@pytest.fixture
def check() -> Check:
    """``check(model, *args)``: imports, verifies, interprets, compares; gives the module.

    ``model`` is a module or a function of tensors. With ``dynamic`` (as ``dynamic_shapes``),
    ``others`` are further argument lists that the same import must serve.
    """
    return _check


def _check(
    model: Any,
    *args: Any,
    dynamic: Any = None,
    others: Sequence[Sequence[Any]] = (),
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Any:
    from mlc.frontends.torch import load_torch
    from torch import nn

    model = model if isinstance(model, nn.Module) else _function(model)
    module = load_torch(model.eval(), args, dynamic_shapes=dynamic)
    module.verify()
    for inputs in (args, *others):
        _compare(model, module, inputs, rtol, atol)
    return module


def _compare(model: Any, module: Any, inputs: Sequence[Any], rtol: float, atol: float) -> None:
    import torch
    from mlc.ir.interpreter import interpret
    from torch.utils import _pytree as pytree

    with torch.no_grad():
        wanted = pytree.tree_leaves(model(*inputs))
    arrays = [_array(x) for x in pytree.tree_leaves(inputs) if isinstance(x, torch.Tensor)]
    results = interpret(module, arrays)
    assert len(results) == len(wanted)
    for got, value in zip(results, wanted, strict=True):
        expected = _array(torch.as_tensor(value))
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        wide = np.float64 if got.dtype.kind in "fV" else got.dtype
        np.testing.assert_allclose(got.astype(wide), expected.astype(wide), rtol, atol)


def _array(tensor: Any) -> np.ndarray:
    from mlc.frontends.torch.tensors import numpy_view

    return numpy_view(tensor.clone())


def _function(call: Callable[..., Any]) -> Any:
    from torch import nn

    class Function(nn.Module):
        def forward(self, *args: Any) -> Any:
            return call(*args)

    return Function()
