"""Reads an ONNX model from a file, bytes or an object, and refuses what is damaged."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ...ir.errors import InvalidModelError
from .wire import Malformed, without_weights

_LARGE_FILE = 1 << 20

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
        data = _content(path)
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


def _content(path: Path) -> bytes:
    """The file without its weights; the whole file where it is damaged, to be refused later."""
    with path.open("rb") as file:
        if path.stat().st_size < _LARGE_FILE:
            return file.read()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                with memoryview(data) as view:
                    return without_weights(view, path.name)
            except Malformed:
                return data[:]


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
