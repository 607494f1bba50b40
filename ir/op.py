"""The base of every graph op: parameters, inference as verifier, one text form, provenance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from xdsl.dialects.builtin import NameLoc, NoneAttr, StringAttr, UnknownLoc
from xdsl.ir import Attribute, Data, Operation, Region, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    VariadicDef,
    irdl_attr_definition,
    irdl_op_definition,
    opt_prop_def,
)
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from .errors import InferenceError
from .structure import Structure
from .types import DTYPE_NAMES, DTYPES, TensorType, float_text, type_of

Value = int | float | bool | str | np.dtype | tuple[Any, ...]


@irdl_attr_definition
class Param(Data[Value]):
    """A plain parameter of an op: ``#mlc.param<[1, 1]>``, ``<1.0e-05>``, ``<f32>``."""

    name = "mlc.param"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Param) and _text(self.data) == _text(other.data)

    def __hash__(self) -> int:
        return hash(_text(self.data))

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> Value:
        """Reads a number, bool, string, dtype or a list of them."""
        with parser.in_angle_brackets():
            return _parse(parser)

    def print_parameter(self, printer: Printer) -> None:
        """Writes the value."""
        printer.print_string(f"<{_text(self.data)}>")


def param(default: Any = None) -> Any:
    """Declares a parameter; ``op.name`` gives the plain Python value."""
    return opt_prop_def(Param, None if default is None else Param(default))


class GraphOp(IRDLOperation, ABC):
    """An operation on tensors that is pure: results depend on operands and parameters only.

    A subclass declares operands (``operand_def``), parameters (``param``) and results, and says
    what it means: ``infer`` the result types, ``reference`` the values, ``structure`` the code.
    """

    def __init__(self, *operands: Any, regions: Sequence[Region] = (), **params: Any):
        """Builds the op; result types are inferred.

        Operands that are None or not given are left out; further ones go to the last, variadic
        definition.

        Raises:
            InferenceError: The operands do not fit.
        """
        defined = {k: _attribute(v) for k, v in params.items() if v is not None}
        values = [SSAValue.get(o) for o in _flat(operands)]
        unbound = type(self).create(
            operands=values, properties={**_defaults(type(self)), **defined}, regions=regions
        )
        types = unbound._infer()
        for region in regions:
            unbound.detach_region(region)
        unbound.drop_all_references()
        super().__init__(
            operands=_grouped(type(self), values),
            properties=unbound.properties,
            result_types=[list(types)] if _is_variadic(type(self)) else list(types),
            regions=regions,
        )

    @abstractmethod
    def infer(self) -> TensorType | Sequence[TensorType]:
        """The result types; raises InferenceError when the operands do not fit."""

    @abstractmethod
    def reference(self, *operands: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """The values, in plain numpy written for reading."""

    @abstractmethod
    def structure(self) -> Structure:
        """Which kind of computation this is."""

    def decompose(self, add: Add) -> Sequence[SSAValue]:
        """The same results by simpler ops; ``add`` places an op and gives its first result.

        Only ops whose structure is Composite have one.
        """
        raise NotImplementedError(f"{self.name} is not composite")

    def fail(self, message: str) -> InferenceError:
        """An error about this op that names it, its source node and its operand types."""
        where = source_of(self)
        operands = ", ".join(str(o.type) for o in self.operands)
        node = f" (node {where})" if where else ""
        return InferenceError(f"{self.name}{node}: {message}; operands: {operands}")

    def verify_(self) -> None:
        """Checks the declared result types against inference."""
        try:
            wanted = self._infer()
        except InferenceError as error:
            raise VerifyException(str(error)) from error
        got = [r.type for r in self.results]
        if list(wanted) != got:
            expected = ", ".join(str(t) for t in wanted)
            actual = ", ".join(str(t) for t in got)
            raise VerifyException(f"{self.name} has results {actual}, inference says {expected}")

    def operand_type(self, index: int) -> TensorType:
        """The type of operand ``index``."""
        return type_of(self.operands[index])

    def _infer(self) -> Sequence[TensorType]:
        types = self.infer()
        return [types] if isinstance(types, TensorType) else types


Add = Callable[[GraphOp], SSAValue]
OpT = TypeVar("OpT", bound=type[GraphOp])


def graph_op(cls: OpT) -> OpT:
    """Registers a graph op class; its parameters read as plain Python values."""
    cls = irdl_op_definition(cls)
    for name in cls.get_irdl_definition().properties:
        setattr(cls, name, property(_reader(name)))
    return cls


def source_of(op: Operation) -> str:
    """The name of the node in the user's model that ``op`` came from; empty when unknown."""
    return op.location.desc.data if isinstance(op.location, NameLoc) else ""


def set_source(op: Operation, name: str) -> None:
    """Remembers the node of the user's model that ``op`` came from."""
    if name:
        op.location = NameLoc(StringAttr(name), NoneAttr())


def copy_source(source: Operation, target: Operation) -> None:
    """Gives ``target`` the provenance of ``source`` unless it has one."""
    if isinstance(target.location, UnknownLoc):
        target.location = source.location


def _attribute(value: Any) -> Attribute:
    return value if isinstance(value, Attribute) else Param(value)


def _reader(name: str) -> Callable[[GraphOp], Any]:
    def read(self: GraphOp) -> Any:
        attribute = self.properties.get(name)
        return attribute.data if isinstance(attribute, Param) else attribute

    return read


def _defaults(cls: type[GraphOp]) -> dict[str, Attribute]:
    definitions = cls.get_irdl_definition().properties
    return {k: d.default_value for k, d in definitions.items() if d.default_value is not None}


def _is_variadic(cls: type[GraphOp]) -> bool:
    results = cls.get_irdl_definition().results
    return len(results) == 1 and isinstance(results[0][1], VariadicDef)


def _grouped(cls: type[GraphOp], values: list[SSAValue]) -> list[Any]:
    definitions = cls.get_irdl_definition().operands
    if not definitions or not isinstance(definitions[-1][1], VariadicDef):
        return values
    fixed = len(definitions) - 1
    return [*values[:fixed], values[fixed:]]


def _flat(operands: Sequence[Any]) -> list[Any]:
    flat: list[Any] = []
    for operand in operands:
        if isinstance(operand, (list, tuple)):
            flat.extend(operand)
        elif operand is not None:
            flat.append(operand)
    return flat


def _text(value: Value) -> str:
    if isinstance(value, np.dtype):
        return DTYPE_NAMES[value]
    if isinstance(value, tuple):
        return f"[{', '.join(_text(v) for v in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    return _float_text(value) if isinstance(value, float) else str(value)


def _float_text(value: float) -> str:
    return float_text(value) if np.isfinite(value) else f'float "{value!r}"'


def _parse(parser: AttrParser) -> Value:
    values = parser.parse_optional_comma_separated_list(
        parser.Delimiter.SQUARE, lambda: _parse(parser)
    )
    if values is not None:
        return tuple(values)
    text = parser.parse_optional_str_literal()
    if text is not None:
        return text
    word = parser.parse_optional_identifier()
    if word == "float":
        return float(parser.parse_str_literal())
    if word is not None:
        return {"true": True, "false": False}[word] if word in ("true", "false") else DTYPES[word]
    return parser.parse_number()
