"""The way in: a PyTorch model to a module at the graph level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import fx, nn
from torch.export import ExportedProgram
from xdsl.dialects.builtin import ModuleOp

from .export import exported
from .graph import import_program
from .meta import example_inputs
from .program import program_of


def load_torch(
    model: nn.Module | ExportedProgram,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
) -> ModuleOp:
    """A module whose ``@main`` is the model's forward in eval mode.

    Args:
        model: A module, or what ``torch.export.export`` gave. An ``fx.GraphModule`` whose
            placeholders know their shapes needs no example inputs.
        args: Example inputs of a module by position, tensors or arrays.
        kwargs: Example inputs by name.
        dynamic_shapes: As in ``torch.export.export``; its Dims become symbols by their names.

    Inputs are named after the parameters of ``forward``, outputs by the keys of a dict. Weights
    are shared with the model, not copied: do not change them while the module is in use.

    Raises:
        InvalidModelError: The model or its inputs are not what they should be.
        UnsupportedError: Some nodes have no counterpart; it lists all of them.
    """
    name = type(model).__name__ if isinstance(model, nn.Module) else ""
    if isinstance(model, fx.GraphModule) and not args and not kwargs:
        args, dynamic_shapes = example_inputs(model)
    return import_program(program_of(exported(model, args, kwargs, dynamic_shapes), name))
