"""Reads an ONNX model from a file, bytes or an object, and refuses what is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ...ir.errors import InvalidModelError

Source = str | os.PathLike | bytes | onnx.ModelProto


def read_model(source: Source) -> tuple[onnx.ModelProto, Path | None]:
    """The model, and the folder in which its external data lies.

    Raises:
        InvalidModelError: There is no such file, or it holds no ONNX model.
    """
    if isinstance(source, onnx.ModelProto):
        return _checked(source, "the given object"), None
    if isinstance(source, bytes):
        return _parse(source, "the given bytes"), None
    path = Path(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidModelError(f"{path} cannot be read: {error.strerror}") from None
    return _parse(data, str(path)), path.parent


def opsets_of(imports: onnx.ModelProto | onnx.FunctionProto) -> dict[str, int]:
    """The version of every domain of operators that a model or function uses.

    Raises:
        InvalidModelError: A version of ``ai.onnx`` is newer than the installed onnx package.
    """
    opsets = {domain_name(o.domain): o.version for o in imports.opset_import}
    newest = onnx.defs.onnx_opset_version()
    if opsets.get("", 0) > newest:
        raise InvalidModelError(
            f"the model uses opset {opsets['']}, the installed onnx package knows up to "
            f"{newest}: upgrade onnx"
        )
    return opsets


def domain_name(domain: str) -> str:
    """A domain; the standard one is empty."""
    return "" if domain == "ai.onnx" else domain


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise InvalidModelError(f"{where}: truncated, or no ONNX model") from None
    return _checked(model, where)


def _checked(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    if not model.graph.output:
        raise InvalidModelError(f"{where}: no ONNX model (it has no graph with outputs)")
    if not model.opset_import:
        raise InvalidModelError(f"{where}: the model does not say which ai.onnx opset it uses")
    return model
