"""What a user may hand over as a model, and how each kind becomes a module.

This file imports neither onnx nor torch nor xDSL: a compilation found in the cache needs none.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.errors import InvalidModelError
from .fingerprint import digest_of_bytes, digest_of_file, digest_of_values
from .known_files import KnownFiles

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

ARTIFACT = ".mlc"
_IR = (".mlir", ".ir")


@dataclass(frozen=True)
class Given:
    """What was given beside the model.

    Attributes:
        inputs: Example inputs, by name or by position.
        constants: Values of inputs that are fixed at compile time, by name.
        shapes: Shapes of inputs by name, or values of symbols by name.
        dynamic_shapes: What ``torch.export`` calls so.
    """

    inputs: Any = None
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    shapes: Mapping[str, Any] = field(default_factory=dict)
    dynamic_shapes: Any = None


class Source(ABC):
    """A model as the user gave it."""

    def digest(self, known: KnownFiles) -> str:
        """Tells the model apart from others before it is read; empty where that is not cheap."""
        return ""

    @abstractmethod
    def load(self) -> ModuleOp:
        """The module at the graph level.

        Raises:
            MlcError: The model is damaged, or holds something unsupported.
        """


@dataclass(frozen=True)
class OnnxSource(Source):
    """A file, its bytes, or a ``ModelProto``."""

    model: Any
    given: Given

    def digest(self, known: KnownFiles) -> str:
        """Of the file and the files it names, and of what was given beside it."""
        return digest_of_values(self._content(known), self._options())

    def load(self) -> ModuleOp:
        """Imports the graph."""
        from ..frontends.onnx import load_onnx

        return load_onnx(self.model, **self._options())

    def _content(self, known: KnownFiles) -> str:
        if isinstance(self.model, (str, os.PathLike)):
            return _digest_of_file(Path(self.model), known)
        data = self.model if isinstance(self.model, bytes) else self.model.SerializeToString()
        return digest_of_bytes(data)

    def _options(self) -> dict[str, Any]:
        named = self.given.inputs or {}
        shapes = {**{n: np.shape(v) for n, v in named.items()}, **self.given.shapes}
        options = {"constants": dict(self.given.constants), "shapes": shapes}
        return {name: value for name, value in options.items() if value}


@dataclass(frozen=True)
class TorchSource(Source):
    """A ``torch.nn.Module`` or an ``ExportedProgram``."""

    model: Any
    given: Given

    def load(self) -> ModuleOp:
        """Exports and imports the model."""
        from ..frontends.torch import load_torch

        args, kwargs = _arguments(self.given.inputs)
        return load_torch(self.model, args, kwargs, self.given.dynamic_shapes)


@dataclass(frozen=True)
class IrSource(Source):
    """A module at the graph level, its text, or a file of it."""

    model: Any

    def load(self) -> ModuleOp:
        """Parses text; a module is cloned, since passes change what they get."""
        from ..ir.text import parse_module

        if not isinstance(self.model, (str, os.PathLike)):
            return self.model.clone()
        return parse_module(_text_of(Path(self.model)))


def source_of(model: Any, given: Given) -> Source:
    """The source that reads ``model``.

    Raises:
        InvalidModelError: It is nothing that can be compiled.
    """
    if isinstance(model, (str, os.PathLike)):
        return _file(Path(model), given)
    if isinstance(model, bytes) or _class_name(model) == "onnx.ModelProto":
        return OnnxSource(model, _by_name(given))
    if _is_torch(model):
        return TorchSource(model, _traceable(given))
    if _class_name(model) == "xdsl.ModuleOp":
        return IrSource(model)
    raise InvalidModelError(
        f"cannot compile a {type(model).__name__}: expected the path or bytes of an ONNX model, an "
        "onnx.ModelProto, a torch.nn.Module with inputs=, a torch ExportedProgram, or an mlc module"
    )


def _file(path: Path, given: Given) -> Source:
    if path.suffix == ARTIFACT:
        raise InvalidModelError(f"'{path}' is compiled already: use mlc.load")
    if not path.is_file():
        raise InvalidModelError(f"there is no file '{path}'")
    return IrSource(path) if path.suffix in _IR else OnnxSource(path, _by_name(given))


def _digest_of_file(path: Path, known: KnownFiles) -> str:
    try:
        return digest_of_file(path, known)
    except OSError as error:
        raise InvalidModelError(f"'{path}' cannot be read: {error.strerror}") from None


def _by_name(given: Given) -> Given:
    if given.dynamic_shapes is not None:
        raise InvalidModelError(
            "dynamic_shapes= is for torch models; an ONNX model names its dynamic dims itself, "
            "and shapes={name: shape} fixes them"
        )
    if given.inputs is not None and not isinstance(given.inputs, Mapping):
        raise InvalidModelError(
            "example inputs of an ONNX model are given by name: inputs={name: array}"
        )
    return given


def _traceable(given: Given) -> Given:
    if given.shapes or given.constants:
        raise InvalidModelError(
            "shapes= and constants= are for ONNX models; a torch model gets its shapes from "
            "inputs=, and dynamic_shapes= says which of them may change"
        )
    return given


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Example inputs by position and by name."""
    if inputs is None:
        return (), {}
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)), {}


def _text_of(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidModelError(f"'{path}' cannot be read: {error}") from None


def _class_name(model: Any) -> str:
    """The class of ``model`` or its base that has a name known here, behind its package."""
    names = (f"{c.__module__.split('.')[0]}.{c.__name__}" for c in type(model).__mro__)
    return next((n for n in names if n in ("onnx.ModelProto", "xdsl.ModuleOp")), "")


def _is_torch(model: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, (torch.nn.Module, torch.export.ExportedProgram))
