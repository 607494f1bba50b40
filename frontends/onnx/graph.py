"""Walks an ONNX graph and builds the module; names at once all nodes that cannot be imported."""

from __future__ import annotations

import numpy as np
import onnx
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

from ...ir.dims import Dim, symbol
from ...ir.errors import InvalidModelError, MlcError, Unsupported, UnsupportedError
from ...ir.module import model_module
from ...ir.ops.constant import ConstantOp
from ...ir.ops.control import ReturnOp
from ...ir.types import DTYPE_NAMES, TensorType, tensor
from . import elementwise, matmul, shape
from .reader import Source, default_opset, read_model
from .registry import Node, importer_of

FAMILIES = (elementwise, matmul, shape)


def load_onnx(source: Source) -> ModuleOp:
    """A module whose ``@main`` is the model; named dims of the inputs are symbols.

    Raises:
        InvalidModelError: The source is no sound ONNX model.
        UnsupportedError: Some nodes have no counterpart; it lists all of them.
    """
    model = read_model(source)
    return _GraphImporter(model.graph, default_opset(model)).run()


class _GraphImporter:
    def __init__(self, graph: onnx.GraphProto, opset: int):
        self.graph = graph
        self.opset = opset
        self.block = Block()
        self.values: dict[str, SSAValue] = {}
        self.problems: list[Unsupported] = []
        self.lost: set[str] = set()

    def run(self) -> ModuleOp:
        weights = {w.name for w in self.graph.initializer}
        for value in self.graph.input:
            if value.name not in weights:
                self.values[value.name] = self.block.insert_arg(
                    input_type(value), len(self.block.args)
                )
        for weight in self.graph.initializer:
            self._constant(weight)
        for node in self.graph.node:
            self._node(node)
        if self.problems:
            raise UnsupportedError(self.problems)
        results = [self._value(o.name, "the graph's output") for o in self.graph.output]
        self.block.add_op(ReturnOp(operands=[results]))
        inputs = [i.name for i in self.graph.input if i.name not in weights]
        outputs = [o.name for o in self.graph.output]
        return model_module(self.block, inputs, outputs, self.graph.name)

    def _constant(self, weight: onnx.TensorProto) -> None:
        array = np.asarray(onnx.numpy_helper.to_array(weight))
        if array.dtype not in DTYPE_NAMES:
            raise InvalidModelError(f"initializer '{weight.name}' has dtype {array.dtype}")
        op = ConstantOp.of(array)
        self.block.add_op(op)
        self.values[weight.name] = op.results[0]

    def _node(self, proto: onnx.NodeProto) -> None:
        if self.lost.intersection(proto.input):
            self.lost.update(proto.output)
            return
        function = importer_of(proto.op_type, self.opset) if proto.domain == "" else None
        try:
            if function is None:
                raise MlcError("no importer for this operator")
            where = f"node '{proto.name}'"
            inputs = [self._value(name, where) if name else None for name in proto.input]
            result = function(Node(proto, inputs, self.opset, self.block.add_op))
            self.values[proto.output[0]] = result
        except InvalidModelError:
            raise
        except MlcError as error:
            self._refuse(proto, str(error))

    def _refuse(self, proto: onnx.NodeProto, reason: str) -> None:
        operator = f"{proto.domain or 'ai.onnx'}::{proto.op_type} (opset {self.opset})"
        self.problems.append(Unsupported(proto.name or proto.output[0], operator, reason))
        self.lost.update(proto.output)

    def _value(self, name: str, where: str) -> SSAValue:
        if name not in self.values:
            raise InvalidModelError(f"{where} reads '{name}', which nothing produces before it")
        return self.values[name]


def input_type(value: onnx.ValueInfoProto) -> TensorType:
    """The type of a graph input: a named dim is a symbol, an unnamed one gets a name.

    Raises:
        InvalidModelError: The input is no tensor, has no rank, or an unsupported dtype.
    """
    if not value.type.HasField("tensor_type"):
        raise InvalidModelError(f"input '{value.name}' is no tensor")
    declared = value.type.tensor_type
    if not declared.HasField("shape"):
        raise InvalidModelError(f"input '{value.name}' does not say its rank")
    dims = [_dim(value.name, k, d) for k, d in enumerate(declared.shape.dim)]
    try:
        return tensor(dims, onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type))
    except (TypeError, KeyError):
        kind = onnx.TensorProto.DataType.Name(declared.elem_type)
        raise InvalidModelError(f"input '{value.name}' has dtype {kind}") from None


def _dim(name: str, axis: int, dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return dim.dim_value
    text = dim.dim_param or f"{name}_{axis}"
    word = "".join(c if c.isalnum() else "_" for c in text)
    return symbol(word if word.isidentifier() else f"d_{word}")
