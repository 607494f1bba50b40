"""A model of any kind as a torch module, so that torch can be compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .source import Given, source_of


def as_torch(model: Any, arrays: Mapping[str, np.ndarray]) -> tuple[Any, list[Any]]:
    """The simplified graph as a torch module for the shapes of ``arrays``, and these as tensors.

    Torch must be installed. See ``torch_module`` for what the module is.

    Args:
        model: As in ``mlc.compile``, but no torch model.
        arrays: Inputs by name, in the model's order.

    Raises:
        MlcError: The model is damaged, or holds something unsupported.
    """
    from ..frontends.torch.execute import torch_module
    from ..frontends.torch.tensors import torch_view
    from ..passes.manager import Options, run_passes
    from ..passes.pipeline import pipeline

    shapes = {name: array.shape for name, array in arrays.items()}
    module = source_of(model, Given(shapes=shapes)).load()
    run_passes(module, pipeline(), Options(verify=False))
    return torch_module(module), [torch_view(a) for a in arrays.values()]


def run_by_numpy(module: Any) -> Sequence[str]:
    """The ops of such a module that numpy runs, since torch has no function for them."""
    from ..frontends.torch.execute import BY_REFERENCE

    return module.meta[BY_REFERENCE]
