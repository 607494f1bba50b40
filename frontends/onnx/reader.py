"""Reads an ONNX model from a file, bytes or an object, and refuses what is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ...ir.errors import InvalidModelError

Source = str | os.PathLike | bytes | onnx.ModelProto


def read_model(source: Source) -> onnx.ModelProto:
    """The model with its external data loaded.

    Raises:
        InvalidModelError: There is no such file, or it holds no ONNX model.
    """
    if isinstance(source, onnx.ModelProto):
        return source
    if isinstance(source, bytes):
        return _parse(source, "the given bytes")
    path = Path(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidModelError(f"{path} cannot be read: {error.strerror}") from None
    model = _parse(data, str(path))
    _load_external(model, path)
    return model


def default_opset(model: onnx.ModelProto) -> int:
    """The version of the ``ai.onnx`` operators that the model uses.

    Raises:
        InvalidModelError: The model does not say, or it is newer than the installed onnx package.
    """
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    newest = onnx.defs.onnx_opset_version()
    if not versions:
        raise InvalidModelError("the model does not say which ai.onnx opset it uses")
    if versions[0] > newest:
        raise InvalidModelError(
            f"the model uses opset {versions[0]}, the installed onnx package knows up to "
            f"{newest}: upgrade onnx"
        )
    return versions[0]


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise InvalidModelError(f"{where}: truncated, or no ONNX model") from None
    if not model.graph.output:
        raise InvalidModelError(f"{where}: no ONNX model (it has no graph with outputs)")
    return model


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise InvalidModelError(f"{path}: external data cannot be used: {error}") from None
