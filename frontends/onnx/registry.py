"""The table of importers: a function for each ONNX operator, chosen by opset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from xdsl.ir import Operation, SSAValue

from ...ir.errors import MlcError
from ...ir.op import GraphOp, set_source
from ...ir.ops.constant import ConstantOp
from ...ir.types import TensorType, type_of


class Refusal(MlcError):
    """A node that an importer cannot express; the graph walk collects them."""


@dataclass
class Node:
    """One ONNX node while it is imported.

    Attributes:
        proto: The node.
        inputs: Its operands; None where one is left out.
        opset: The version of the operators.
        emit: Appends an op to the graph.
    """

    proto: onnx.NodeProto
    inputs: Sequence[SSAValue | None]
    opset: int
    emit: Callable[[Operation], None]

    def add(self, op: GraphOp) -> SSAValue:
        """Appends an op that stems from this node; gives its first result."""
        set_source(op, self.proto.name or self.proto.output[0])
        self.emit(op)
        return op.results[0]

    def constant(self, value: Any, dtype: np.dtype) -> SSAValue:
        """A constant."""
        return self.add(ConstantOp.of(np.asarray(value).astype(dtype)))

    def input(self, index: int) -> SSAValue:
        """Operand ``index``, which must be there."""
        value = self.optional(index)
        if value is None:
            raise Refusal(f"input {index} is missing")
        return value

    def optional(self, index: int) -> SSAValue | None:
        """Operand ``index``, or None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def type(self, index: int = 0) -> TensorType:
        """The type of operand ``index``."""
        return type_of(self.input(index))

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute as a Python value."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def known(self, index: int) -> np.ndarray | None:
        """The value of operand ``index`` when it is given; it must be a constant."""
        value = self.optional(index)
        if value is None:
            return None
        if not isinstance(value.owner, ConstantOp):
            raise Refusal(f"input {index} must be a constant: it decides the result's shape")
        return value.owner.value.array


Importer = Callable[[Node], SSAValue]
_TABLE: dict[str, dict[int, Importer]] = {}


def importer(*names: str, since: int = 1) -> Callable[[Importer], Importer]:
    """Registers an importer for operators from opset ``since`` on."""

    def register(function: Importer) -> Importer:
        for name in names:
            _TABLE.setdefault(name, {})[since] = function
        return function

    return register


def importer_of(name: str, opset: int) -> Importer | None:
    """The importer of the nearest version not above ``opset``."""
    versions = _TABLE.get(name, {})
    fitting = [since for since in versions if since <= opset]
    return versions[max(fitting)] if fitting else None
