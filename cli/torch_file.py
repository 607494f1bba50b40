"""Torch models on the command line: ``FILE.py:FUNCTION``, which returns a module and its inputs."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..ir.errors import MlcError

_SPEC = re.compile(r"(.+\.py):([A-Za-z_]\w*)")


@dataclass(frozen=True)
class TorchFile:
    """What the user's function returned.

    Attributes:
        module: The ``torch.nn.Module``.
        inputs: Example inputs, by position or by name.
        dynamic_shapes: As in ``torch.export.export``; None when only two things were returned.
    """

    module: Any
    inputs: Any
    dynamic_shapes: Any = None


def names_torch_file(text: str) -> bool:
    """Whether ``text`` is written as ``FILE.py:FUNCTION``."""
    return _SPEC.fullmatch(text) is not None


def read_torch_file(text: str) -> TorchFile:
    """Runs the user's function.

    Raises:
        MlcError: There is no such file or function, it fails, or it returns something else.
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise MlcError(f"'{text}' is not FILE.py:FUNCTION")
    function = _function(Path(match[1]), match[2])
    try:
        made = function()
    except Exception as error:
        raise MlcError(f"{text} failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, tuple) or len(made) not in (2, 3):
        raise MlcError(f"{text} must return (module, inputs) or (module, inputs, dynamic_shapes)")
    return TorchFile(*made)


def example_arrays(file: TorchFile) -> list[np.ndarray]:
    """The tensors of the example inputs, in order, as arrays."""
    leaves = import_module("torch.utils._pytree").tree_leaves(file.inputs)
    return [np.asarray(leaf) for leaf in leaves]


def export_onnx(file: TorchFile, names: Sequence[str], path: Path) -> Path:
    """Writes the module to ``path`` as an ONNX file whose inputs have ``names``.

    Raises:
        MlcError: Torch cannot export it.
    """
    by_name = isinstance(file.inputs, Mapping)
    arguments = {"kwargs": dict(file.inputs)} if by_name else {"args": tuple(file.inputs)}
    try:
        import_module("torch.onnx").export(
            file.module.eval(),
            f=str(path),
            input_names=list(names),
            external_data=False,
            dynamo=True,
            verbose=False,
            **arguments,
        )
    except Exception as error:
        raise MlcError(f"torch.onnx.export failed: {type(error).__name__}: {error}") from error
    return path


def _function(path: Path, name: str) -> Any:
    if not path.is_file():
        raise MlcError(f"there is no file '{path}'")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = loaded  # classes of the file are found by their module's name
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:
        raise MlcError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    if not callable(getattr(loaded, name, None)):
        raise MlcError(f"{path} has no function '{name}'")
    return getattr(loaded, name)
