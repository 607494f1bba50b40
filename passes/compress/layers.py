"""What can be compressed: matrix products and convolutions by constant weights, as matrices."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.dims import is_static
from ...ir.module import main_function
from ...ir.op import GraphOp, copy_source, source_of
from ...ir.ops.constant import ConstantOp
from ...ir.ops.conv import ConvOp
from ...ir.ops.elementwise import AddOp
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.quant import DequantizeOp
from ...ir.types import F32, is_float, type_of


@dataclass(frozen=True)
class Layer:
    """One op whose second operand is a constant float weight.

    As matrices the weight is ``[groups, inputs, outputs]``: a matrix product has one group; the
    inputs of a convolution are the offsets of its kernel and, within, the channels of a group.

    Attributes:
        op: The product or convolution.
        name: The node in the user's model; where it has none, the op and its number.
    """

    op: MatmulOp | ConvOp
    name: str

    @property
    def input(self) -> SSAValue:
        """What is multiplied by the weight."""
        return self.op.operands[0]

    @property
    def result(self) -> SSAValue:
        """What it gives."""
        return self.op.results[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight as it stands in the graph."""
        return tuple(int(str(d)) for d in type_of(self.op.operands[1]).shape)

    @property
    def groups(self) -> int:
        """How many groups of channels do not mix."""
        return self.op.groups if isinstance(self.op, ConvOp) else 1

    @property
    def segment(self) -> int:
        """How many neighbouring inputs are channels of the same place."""
        return self.shape[-2]

    @property
    def inputs(self) -> int:
        """The inputs of an output."""
        return prod(self.shape[:-1])

    @property
    def outputs(self) -> int:
        """The outputs of a group."""
        return self.shape[-1] // self.groups

    def weight(self) -> np.ndarray:
        """The weight as it stands in the graph, in f32 at least."""
        owner = self.op.operands[1].owner
        assert isinstance(owner, ConstantOp)
        return owner.value.array.astype(np.result_type(F32, _plain(owner.value.array)))

    def matrices(self) -> np.ndarray:
        """The weight as ``[groups, inputs, outputs]``, a copy."""
        return self.as_matrices(self.weight())

    def as_matrices(self, array: np.ndarray) -> np.ndarray:
        """What has the shape of the weight as ``[groups, inputs, outputs]``."""
        parts = array.reshape(self.inputs, self.groups, self.outputs)
        return np.ascontiguousarray(parts.transpose(1, 0, 2))

    def as_weight(self, matrices: np.ndarray, outputs: int = 0) -> np.ndarray:
        """``[groups, inputs', outputs']`` in the shape of the weight, or with other ``outputs``."""
        parts = np.ascontiguousarray(matrices.transpose(1, 0, 2))
        return parts.reshape(*self.shape[:-2], -1, outputs or self.shape[-1])

    def rows(self, x: np.ndarray) -> np.ndarray:
        """The input as ``[groups, rows, inputs]``: what the matrices are multiplied by."""
        if isinstance(self.op, MatmulOp):
            return x.reshape(1, -1, self.inputs)
        return _patches(self.op, x).reshape(self.groups, -1, self.inputs)

    def replace_weight(self, array: np.ndarray) -> None:
        """Another constant in the place of the weight, of the dtype that it had."""
        dtype = type_of(self.op.operands[1]).dtype
        self.use(self.add(ConstantOp.of(array.astype(dtype))))

    def use(self, value: SSAValue, operand: int = 1) -> None:
        """Reads ``value`` instead of the weight, or of another operand."""
        self.op.operands[operand] = value

    def become(self, value: SSAValue) -> None:
        """Puts ``value`` in the place of the result; the op is gone."""
        self.result.replace_all_uses_with(value)
        self.op.detach()
        self.op.erase()

    def shift(self, vector: np.ndarray) -> None:
        """Takes a vector off the result, one number for each output."""
        block = self.op.parent
        assert block is not None
        added = ConstantOp.of(-vector.astype(type_of(self.result).dtype))
        total = AddOp(self.result, added.result)
        for op in (added, total):
            copy_source(self.op, op)
        block.insert_ops_after([added, total], self.op)
        self.result.replace_uses_with_if(total.result, lambda use: use.operation is not total)

    def add(self, new: GraphOp) -> SSAValue:
        """Places an op before this one, with its provenance."""
        return placed_before(self.op, new)


def placed_before(op: GraphOp, new: GraphOp) -> SSAValue:
    """Places ``new`` before ``op``, with the provenance of ``op``."""
    block = op.parent
    assert block is not None
    copy_source(op, new)
    block.insert_op_before(new, op)
    return new.results[0]


def layers_of(module: ModuleOp) -> list[Layer]:
    """All layers of ``@main``, in order; those inside of control flow are not found."""
    found = []
    for number, op in enumerate(main_function(module).body.block.ops):
        if isinstance(op, MatmulOp | ConvOp) and _has_weight(op):
            kind = op.name.removeprefix("mlc.")
            found.append(Layer(op, source_of(op) or f"{kind}_{number}"))
    return found


def encoded_layers(module: ModuleOp) -> list[str]:
    """The names of products and convolutions by weights that are decoded where they are read."""
    found = []
    for op in main_function(module).body.block.ops:
        weight = op.operands[1].owner if isinstance(op, MatmulOp | ConvOp) else None
        if isinstance(weight, DequantizeOp) and isinstance(weight.x.owner, ConstantOp):
            found.append(source_of(op))
    return found


def _has_weight(op: MatmulOp | ConvOp) -> bool:
    weight = op.operands[1]
    if not isinstance(weight.owner, ConstantOp) or isinstance(op.operands[0].owner, ConstantOp):
        return False
    type = type_of(weight)
    matrix = isinstance(op, ConvOp) or type.rank == 2
    return matrix and is_float(type.dtype) and is_static(type.shape) and type.size != 0


def _plain(array: np.ndarray) -> np.dtype:
    return array.dtype if array.dtype in (np.dtype(np.float32), np.dtype(np.float64)) else F32


def _patches(op: ConvOp, x: np.ndarray) -> np.ndarray:
    """The inputs of every output position, ``[groups, positions, kernel * channels]``."""
    window = op.window()
    padded = window.padded(x, 0)
    kernel = tuple(int(str(k)) for k in window.kernel)
    reach = [(k - 1) * d for k, d in zip(kernel, op.dilations, strict=True)]
    counts = [
        (size - r - 1) // stride + 1
        for size, r, stride in zip(padded.shape[1:-1], reach, op.strides, strict=True)
    ]
    parts = [padded[window.shifted(k, counts)] for k in np.ndindex(*kernel)]
    stacked = np.stack(parts, -2)
    grouped = stacked.reshape(*stacked.shape[:-1], op.groups, -1)
    return np.ascontiguousarray(np.moveaxis(grouped, -2, 0))
