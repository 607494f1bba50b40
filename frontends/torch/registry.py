"""The table of importers: a function for each ATen operator, whatever its overload."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import fx
from xdsl.ir import Block, SSAValue

from ...ir.dims import Dim, SymDim, ceildiv
from ...ir.errors import MlcError
from ...ir.op import GraphOp, set_source
from ...ir.ops.compose import Writer
from ...ir.ops.elementwise import AddOp, MulOp
from ...ir.ops.index import GatherOp
from ...ir.ops.shape import IotaOp, SliceOp, dims_param
from ...ir.types import I64, TensorType, tensor, type_of
from .dim_value import dim_value, is_number
from .sizes import Sizes
from .tensors import numpy_dtype

Scalar = bool | int | float
Result = SSAValue | Sequence[SSAValue | None] | None


class Refusal(MlcError):
    """A node that an importer cannot express; the graph walk collects them."""

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.hint = hint


class Lost(MlcError):
    """A graph inside holds a node that was refused; who calls it is not to blame."""


@dataclass(frozen=True)
class Inner:
    """How the graphs inside a call are imported.

    Attributes:
        inside: While active, ops go to a new block with arguments of these types.
        run: Imports a graph on values for its placeholders and gives its outputs.
        late_symbol: A new name, with this stem, for a size that only the run tells.
        here: The block that ops go to.
    """

    inside: Callable[[Sequence[TensorType]], AbstractContextManager[Block]]
    run: Callable[[fx.GraphModule, Sequence[Any]], list[Any]]
    late_symbol: Callable[[str], str]
    here: Callable[[], Block]


@dataclass
class Node(Writer):
    """One call of an ATen operator while it is imported.

    Attributes:
        call: The node of torch's graph.
        arguments: Its arguments by the names in the operator's schema, defaults filled in;
            tensors are values of the graph, sizes are dims.
        fakes: The same with torch's own tensors without data.
        sizes: Torch's sizes as dims.
        source: Where it is in the user's model.
        emit: Appends an op to the graph.
        inner: How the graphs inside it are imported.
    """

    call: fx.Node
    arguments: Mapping[str, Any]
    fakes: Mapping[str, Any]
    sizes: Sizes
    source: str
    emit: Callable[[GraphOp], None]
    inner: Inner

    @property
    def packet(self) -> Any:
        """The operator without its overload."""
        return packet_of(self.call.target)

    def add(self, op: GraphOp) -> SSAValue:
        """Appends an op that stems from this node; gives its first result."""
        return self.add_all(op)[0]

    def add_all(self, op: GraphOp) -> Sequence[SSAValue]:
        """Appends an op that stems from this node; gives its results."""
        set_source(op, self.source)
        self.emit(op)
        return op.results

    def arg(self, name: str, default: Any = None) -> Any:
        """An argument, or ``default`` where it is not in the schema or None."""
        value = self.arguments.get(name)
        return default if value is None else value

    def input(self, name: str = "") -> SSAValue:
        """A tensor argument, which must be there; the first one where no name is given."""
        name = name or next(iter(self.arguments))
        value = self.arguments.get(name)
        if not isinstance(value, SSAValue):
            raise Refusal(f"the argument '{name}' is no tensor")
        return value

    def optional(self, name: str) -> SSAValue | None:
        """A tensor argument, or None."""
        return None if self.arguments.get(name) is None else self.input(name)

    def cast_optional(self, name: str, dtype: np.dtype) -> SSAValue | None:
        """A tensor argument in another dtype, or None."""
        value = self.optional(name)
        return None if value is None else self.cast(value, dtype)

    def is_read(self, index: int) -> bool:
        """Whether anything reads result ``index`` of several."""
        return any(user.args[1] == index for user in self.call.users)

    def type(self, name: str = "") -> TensorType:
        """The type of a tensor argument; of the first one where no name is given."""
        return type_of(self.input(name))

    @property
    def fake(self) -> Any:
        """What torch says about the result: tensors without data, sizes, or several of them."""
        return self.call.meta.get("val")

    @property
    def result(self) -> TensorType:
        """The type that torch gives the (first) result."""
        return self.results[0]

    @property
    def results(self) -> list[TensorType]:
        """The types that torch gives the results."""
        values = self.fake if isinstance(self.fake, (tuple, list)) else [self.fake]
        return [tensor(self.sizes.shape(v.shape), numpy_dtype(v.dtype)) for v in values]

    def operand(self, value: Any, dtype: np.dtype) -> SSAValue:
        """A tensor, number or size as a value of ``dtype``."""
        if isinstance(value, SymDim):
            value = self.size(value)
        if isinstance(value, SSAValue):
            return self.cast(value, dtype)
        return self.constant(value, dtype)

    def promoted(self, *names: str) -> list[SSAValue]:
        """The arguments (``self`` and ``other``) in the dtype of the result."""
        return [self.operand(self.arg(n), self.result.dtype) for n in names or ("self", "other")]

    def size(self, dim: Dim) -> SSAValue:
        """A dim as a scalar of i64."""
        return dim_value(self.add, dim, self.sizes.numbers)

    def counted(self, count: Dim, start: Dim = 0, step: Dim = 1) -> SSAValue:
        """``count`` numbers of i64 from ``start`` in steps of ``step``."""
        if isinstance(count, int) and isinstance(start, int) and isinstance(step, int):
            return self.constant(start + step * np.arange(count), I64)
        numbers = self.add(IotaOp(shape=dims_param((count,)), dtype=I64))
        if step != 1:
            numbers = self.add(MulOp(numbers, self.size(step)))
        return numbers if start == 0 else self.add(AddOp(numbers, self.size(start)))

    def slice(self, value: SSAValue, axis: int, start: Dim, stop: Dim, step: int = 1) -> SSAValue:
        """Every ``step``-th element along one axis; bounds are already clipped."""
        shape = type_of(value).shape
        if (start, stop, step) == (0, shape[axis], 1):
            return value
        if is_number(start, self.sizes.numbers):
            places = self.counted(ceildiv(stop - start, step), start, step)
            return self.add(GatherOp(value, places, axis=axis))
        starts: list[Dim] = [0] * len(shape)
        stops, steps = list(shape), [1] * len(shape)
        starts[axis], stops[axis], steps[axis] = start, stop, step
        first, last = dims_param(tuple(starts)), dims_param(tuple(stops))
        return self.add(SliceOp(value, starts=first, stops=last, steps=tuple(steps)))

    def axis(self, name: str = "dim") -> int:
        """The argument ``name`` as an axis of the first tensor, not negative."""
        return self.axes([self.arg(name, 0)])[0]

    def axes(self, values: Sequence[int]) -> list[int]:
        """Axes of the first tensor, not negative."""
        return [a + max(self.type().rank, 1) if a < 0 else a for a in values]


Importer = Callable[[Node], Result]
ImporterT = TypeVar("ImporterT", bound=Importer)
_TABLE: dict[Any, Importer] = {}


def importer(*packets: Any) -> Callable[[ImporterT], ImporterT]:
    """Registers an importer for all overloads of operators, such as ``torch.ops.aten.add``.

    Those of libraries that may not be there go by name: ``"torchao::dequantize_affine"``.
    """

    def register(function: ImporterT) -> ImporterT:
        for packet in packets:
            _TABLE[packet] = function
        return function

    return register


def with_copies(*packets: Any) -> list[Any]:
    """Operators that give views, and their twins that copy, such as ``aten.view_copy``."""
    twins = (getattr(torch.ops.aten, f"{p.__name__}_copy", None) for p in packets)
    return [*packets, *(twin for twin in twins if twin is not None)]


def packet_of(target: Any) -> Any:
    """The operator of an overload; other targets are their own."""
    return target.overloadpacket if isinstance(target, torch._ops.OpOverload) else target


def importer_of(target: Any) -> Importer | None:
    """The importer of what an fx node calls."""
    packet = packet_of(target)
    return _TABLE.get(packet) or _TABLE.get(getattr(packet, "_qualified_op_name", None))


def imported_overloads() -> list[torch._ops.OpOverload]:
    """All overloads that have an importer, so that torch need not decompose them."""
    found = (_packet_named(p) if isinstance(p, str) else p for p in _TABLE)
    packets = [p for p in found if isinstance(p, torch._ops.OpOverloadPacket)]
    return [getattr(packet, name) for packet in packets for name in packet.overloads()]


def _packet_named(name: str) -> Any:
    """The operator of a qualified name, or None where its library is not loaded."""
    library, _, operator = name.partition("::")
    return getattr(getattr(torch.ops, library), operator, None)
