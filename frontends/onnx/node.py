"""One ONNX node while it is imported: its operands, its attributes, and words to build ops with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from xdsl.ir import SSAValue

from ...ir.dims import Dim, Shape, SymDim, is_static
from ...ir.errors import InvalidModelError, Unsupported
from ...ir.op import GraphOp, set_source
from ...ir.ops.compose import Writer
from ...ir.ops.constant import ConstantOp
from ...ir.ops.index import GatherOp
from ...ir.ops.reduce import ReduceOp
from ...ir.ops.shape import IotaOp, PadOp, dims_param
from ...ir.types import I64, TensorType, type_of
from .emission import Emission
from .fold import elements, known_op
from .refusal import FIX_INPUT, Refusal
from .weights import Weights

Value = SSAValue | list["Value"] | None
"""What a name stands for: a tensor, a sequence of values, or an optional without one."""


@dataclass
class Shared:
    """What all nodes of a model have in common.

    Attributes:
        emission: Where ops go.
        weights: Makes arrays of tensors.
        problems: What cannot be imported, so far.
        unclipped: For sizes of slices, what they are if no bound of the slice has to be clipped.
    """

    emission: Emission
    weights: Weights
    problems: list[Unsupported]
    unclipped: dict[Dim, Dim] = field(default_factory=dict)

    def note_clipped(self, size: Dim, unclipped: Dim) -> None:
        """Remembers what the size of a slice should be."""
        if isinstance(size, SymDim) and unclipped != size:
            self.unclipped[size] = unclipped


@dataclass
class Node(Writer):
    """One ONNX node while it is imported.

    Attributes:
        proto: The node.
        inputs: Its operands; None where one is left out.
        opset: The version of the operators of its domain.
        source: Where it is in the user's model.
        shared: What all nodes of the model have in common.
        run: Imports a subgraph on values for its inputs and gives its outputs; the text precedes
            the names of its nodes.
        expand: Imports what onnx defines the operator as.
    """

    proto: onnx.NodeProto
    inputs: Sequence[Value]
    opset: int
    source: str
    shared: Shared
    run: Callable[[onnx.GraphProto, Sequence[Value], str], list[Value]]
    expand: Callable[[], list[Value]]

    def add(self, op: GraphOp) -> SSAValue:
        """Appends an op that stems from this node; gives its first result."""
        return self.add_all(op)[0]

    def add_all(self, op: GraphOp) -> Sequence[SSAValue]:
        """Appends an op that stems from this node; gives its results."""
        set_source(op, self.source)
        return self.shared.emission.emit(op)

    def late_symbol(self, stem: str = "count") -> str:
        """A new name for a size that only the run tells."""
        return self.shared.emission.late_symbol(stem)

    def sizes(self, dims: Shape | Dim, dtype: np.dtype = I64) -> SSAValue:
        """A vector of dims, or a scalar."""
        array = np.empty(len(dims) if isinstance(dims, tuple) else (), object)
        array[...] = dims
        return self.add(known_op(array, dtype))

    def input(self, index: int = 0) -> SSAValue:
        """Operand ``index``, which must be there."""
        value = self.optional(index)
        if value is None:
            raise InvalidModelError(f"node '{self.source}' lacks its input {index}")
        return value

    def optional(self, index: int) -> SSAValue | None:
        """Operand ``index``, or None where it is left out."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(value, list):
            raise Refusal(f"input {index} is a sequence, a tensor is expected")
        return value

    def every(self) -> list[SSAValue]:
        """All operands of an operator that takes any number of them."""
        return [self.input(k) for k in range(max(len(self.inputs), 1))]

    def type(self, index: int = 0) -> TensorType:
        """The type of operand ``index``."""
        return type_of(self.input(index))

    def wants(self, output: int) -> bool:
        """Whether output ``output`` is used."""
        return output < len(self.proto.output) and self.proto.output[output] != ""

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute as a Python value."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def required(self, name: str) -> Any:
        """An attribute that must be there, as a Python value."""
        value = self.attribute(name)
        if value is None:
            raise InvalidModelError(f"node '{self.source}' lacks its attribute {name}")
        return value

    def axis(self, default: int | None = None, rank: int | None = None) -> int:
        """The attribute ``axis`` of the first operand (or of ``rank``), not negative."""
        value = self.required("axis") if default is None else self.attribute("axis", default)
        return self.counted(value, self.type().rank if rank is None else rank)

    def counted(self, axis: int, rank: int) -> int:
        """An axis of ``rank`` dims, counted from the front."""
        if not -rank <= axis < rank:
            raise InvalidModelError(f"node '{self.source}': rank {rank} has no axis {axis}")
        return axis % rank

    def known(self, index: int) -> np.ndarray | None:
        """The value of operand ``index`` when it is given; it must be a constant."""
        value = self.optional(index)
        if value is not None and not isinstance(value.owner, ConstantOp):
            raise self._unknown(index)
        return value.owner.value.array if value and isinstance(value.owner, ConstantOp) else None

    def dims(self, index: int) -> Shape | None:
        """The elements of operand ``index``, in row-major order, when it is given."""
        value = self.optional(index)
        if value is None:
            return None
        found = elements(value)
        if found is None:
            raise self._unknown(index)
        return tuple(found.reshape(-1))

    def integers(self, index: int) -> list[int] | None:
        """The elements of operand ``index`` when it is given; none may depend on symbols."""
        dims = self.dims(index)
        if dims is not None and not is_static(dims):
            raise Refusal(f"input {index} depends on {', '.join(map(str, dims))}")
        return None if dims is None else [d for d in dims if isinstance(d, int)]

    def dim(self, index: int, default: Dim | None = None) -> Dim:
        """The only element of operand ``index``."""
        dims = self.dims(index)
        if dims is None and default is not None:
            return default
        if dims is None or len(dims) != 1:
            raise InvalidModelError(f"node '{self.source}': input {index} is no single number")
        return dims[0]

    def integer(self, index: int, default: int | None = None) -> int:
        """The only element of operand ``index``, which may not depend on symbols."""
        dim = self.dim(index, default)
        if not isinstance(dim, int):
            raise Refusal(f"input {index} is {dim}, a fixed number is needed")
        return dim

    def _unknown(self, index: int) -> Refusal:
        name = self.proto.input[index]
        return Refusal(
            f"input {index} ('{name}') is computed from data, but decides about shapes",
            FIX_INPUT,
        )

    def iota(self, size: Dim, dtype: np.dtype = I64) -> SSAValue:
        """The numbers from 0 to before ``size``."""
        return self.add(IotaOp(shape=dims_param((size,)), dtype=dtype))

    def element(self, vector: SSAValue, index: int) -> SSAValue:
        """One element of a vector, as a scalar."""
        return self.add(GatherOp(vector, self.constant(index, I64)))

    def matched(self, *values: SSAValue) -> list[SSAValue]:
        """Values that are to be broadcast against each other.

        Where the sizes of two differ, but would not if a slice were not clipped, zeros fill the
        place of what was clipped: a model that works never gets there.
        """
        shapes = [type_of(v).shape for v in values]
        wanted: dict[int, Dim] = {}
        for shape in shapes:
            for k, d in enumerate(reversed(shape)):
                if wanted.get(k, 1) != d and d != 1:
                    wanted[k] = self._agreed(wanted.get(k, 1), d)
        return [self._grown(v, wanted) for v in values]

    def as_unclipped(self, value: SSAValue, shape: Shape) -> SSAValue:
        """The value in a shape that it has if no slice is clipped; itself where there is none."""
        pairs = enumerate(zip(reversed(type_of(value).shape), reversed(shape), strict=False))
        clipped = self.shared.unclipped
        return self._grown(value, {k: d for k, (now, d) in pairs if clipped.get(now) == d})

    def _agreed(self, a: Dim, b: Dim) -> Dim:
        clipped = self.shared.unclipped
        if a == 1 or a == b or clipped.get(a) == b:
            return b
        return clipped[a] if a in clipped and clipped[a] == clipped.get(b) else a

    def _grown(self, value: SSAValue, wanted: Mapping[int, Dim]) -> SSAValue:
        shape = type_of(value).shape
        missing = [
            wanted[k] - d if d in self.shared.unclipped and d != wanted.get(k, d) else 0
            for k, d in reversed(list(enumerate(reversed(shape))))
        ]
        if not any(m != 0 for m in missing):
            return value
        return self.add(PadOp(value, pads=dims_param((*(0,) * len(shape), *missing))))

    def reduce(
        self, kind: type[ReduceOp], value: SSAValue, axes: Sequence[int], keep: bool = True
    ) -> SSAValue:
        """A reduction over axes in any order; the value itself over none."""
        return self.add(kind(value, axes=tuple(sorted(axes)), keepdims=keep)) if axes else value
