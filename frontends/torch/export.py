"""What the user gives, as a ``torch.export`` program of the ATen operators that mlc knows."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from ...ir.errors import InvalidModelError, Unsupported, UnsupportedError
from .decompositions import decompositions


def exported(
    model: nn.Module | ExportedProgram,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    dynamic_shapes: Any,
) -> ExportedProgram:
    """The program, functional, with every operator decomposed that has no importer.

    Raises:
        InvalidModelError: There are no example inputs, or the model is no torch model.
        UnsupportedError: ``torch.export`` cannot trace the model.
    """
    program = model
    if not isinstance(program, ExportedProgram):
        program = _traced(program, args, kwargs, dynamic_shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return program.run_decompositions(decompositions())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode; every part gets its own mode back."""
    modes = {module: module.training for module in model.modules()}
    for module in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _traced(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None, dynamic_shapes: Any
) -> ExportedProgram:
    if not isinstance(model, nn.Module):
        raise InvalidModelError(f"expected a torch.nn.Module, got {type(model).__name__}")
    _check_arguments(model, args, kwargs or {})
    positional = tuple(pytree.tree_map(_as_tensor, arg) for arg in args)
    named = {name: pytree.tree_map(_as_tensor, arg) for name, arg in (kwargs or {}).items()}
    try:
        with evaluating(model), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(
                model,
                positional,
                named,
                dynamic_shapes=dynamic_shapes,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except Exception as error:
        raise UnsupportedError([_untraceable(model, error)]) from error


def _check_arguments(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    try:
        inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError as error:
        name = type(model).__name__
        raise InvalidModelError(
            f"the example inputs do not fit the forward of {name}: {error}"
        ) from None


def _as_tensor(leaf: Any) -> Any:
    return torch.from_numpy(leaf) if isinstance(leaf, np.ndarray) else leaf


def _untraceable(model: nn.Module, error: Exception) -> Unsupported:
    message, _, fixes = str(error).partition("Suggested fixes:")
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    reason = f"{type(error).__name__}: {' '.join(lines[:3])}"
    hint = "torch.export must be able to trace the model with these example inputs"
    if fixes:
        first = " ".join(fixes.split("\n\n")[0].split())
        hint = f"dynamic_shapes asks for more than the model can do; torch suggests {first}"
    return Unsupported(type(model).__name__, "torch.export", reason, hint)
