"""Walks an ONNX graph and builds the module; names at once all nodes that cannot be imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.errors import InferenceError, InvalidModelError, MlcError, Unsupported, UnsupportedError
from ...ir.limits import Assumptions, assuming
from ...ir.module import model_module, set_symbol_limits
from ...ir.ops.control import ReturnOp
from ...ir.types import type_of
from . import families as families
from .emission import Emission, drop_unused
from .function import bound_body, local_functions, operator_function
from .inputs import Constants, Shapes, input_types, obstacle
from .node import Node, Shared, Value
from .plugins import load_plugins
from .reader import Source, domain_name, opsets_of, read_model
from .refusal import ADD_IMPORTER, SAME_NAME, Refusal
from .registry import Result, importer_of
from .scope import Lost, Scope
from .weights import Weights

_DAMAGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_STEP_LIMIT = 1_000_000


def load_onnx(
    source: Source, constants: Constants | None = None, shapes: Shapes | None = None
) -> ModuleOp:
    """A module whose ``@main`` is the model; named dims of the inputs are symbols.

    Args:
        source: The path of a model, its bytes, or an ``onnx.ModelProto``.
        constants: Values of inputs that are fixed at compile time; they are inputs no more.
        shapes: Dims of inputs: an int, a name or None (as declared) for every dim. Or the size
            of a symbol by its name.

    Weights are not copied: the file must stay as it is while the module is in use.

    Raises:
        InvalidModelError: The source is no sound ONNX model, or the arguments do not fit it.
        UnsupportedError: Some nodes have no counterpart; it lists all of them.
    """
    load_plugins()
    model, folder = read_model(source)
    weights, assumed = Weights(folder), Assumptions()
    while True:
        with assuming(assumed) as wanted:
            try:
                importer = _Importer(model, weights, assumed.multiples)
                module = importer.run(dict(constants or {}), dict(shapes or {}))
            except UnsupportedError:
                if not wanted:
                    raise
                assumed = assumed.extended(wanted)
                continue
            except _DAMAGE as error:
                raise InvalidModelError(f"the model is malformed: {_described(error)}") from error
        set_symbol_limits(module, assumed.limits)
        return module


class _Importer:
    def __init__(self, model: onnx.ModelProto, weights: Weights, multiples: Mapping[str, int]):
        self.multiples = multiples
        self.graph = model.graph
        self.opsets = opsets_of(model)
        self.functions = local_functions(model)
        self.weights = weights
        self.emission = Emission()
        self.block = self.emission.main
        self.problems: list[Unsupported] = []
        self.steps = 0
        self.shared = Shared(self.emission, weights, self.problems)

    def run(self, constants: Constants, shapes: Shapes) -> ModuleOp:
        scope = Scope(self.opsets)
        inputs = self._inputs(scope, constants, shapes)
        self._graph(self.graph, scope)
        results = [self._output(scope, o.name) for o in self.graph.output]
        if self.problems:
            raise UnsupportedError(self.problems)
        self.block.add_op(ReturnOp(operands=[[r for r in results if r is not None]]))
        drop_unused(self.block)
        outputs = [o.name for o in self.graph.output]
        return model_module(self.block, inputs, outputs, self.graph.name)

    def _inputs(self, scope: Scope, constants: Constants, shapes: Shapes) -> list[str]:
        weights = {w.name for w in self.graph.initializer}
        asked = [i for i in self.graph.input if i.name not in weights or i.name in constants]
        for value in (i for i in asked if obstacle(i)):
            self._input_without_type(value, scope, constants)
        tensors = [i for i in asked if not obstacle(i)]
        constants = {n: np.asarray(a) for n, a in constants.items() if n not in scope.values}
        types = input_types(tensors, constants, shapes, self.multiples)
        for name, type in types.items():
            if name in constants:
                scope.set(name, self.emission.constant(constants[name].copy()))
            else:
                scope.set(name, self.block.insert_arg(type, len(self.block.args)))
        return [name for name in types if name not in constants]

    def _input_without_type(
        self, value: onnx.ValueInfoProto, scope: Scope, constants: Mapping[str, Any]
    ) -> None:
        """An input that is no tensor vanishes where it is fixed."""
        tensor = value.type.HasField("tensor_type")
        if value.name in constants and not tensor:
            scope.set(value.name, self._nested(constants[value.name]))
            return
        hint = "" if tensor else f"load_onnx(…, constants={{'{value.name}': value}}) fixes it"
        self.problems.append(Unsupported(value.name, "input", obstacle(value), hint))
        scope.lose([value.name])

    def _nested(self, value: Any) -> Value:
        if isinstance(value, list):
            return [self._nested(item) for item in value]
        return None if value is None else self.emission.constant(np.array(value))

    def _graph(self, graph: onnx.GraphProto, scope: Scope) -> None:
        for weight in graph.initializer:
            if weight.name not in scope.values:
                scope.set(weight.name, self.emission.constant(self.weights.array(weight)))
        for sparse in graph.sparse_initializer:
            scope.set(sparse.values.name, self.emission.constant(self.weights.dense(sparse)))
        for node in graph.node:
            self._node(node, scope)

    def _node(self, proto: onnx.NodeProto, scope: Scope) -> None:
        self.steps += 1
        if self.steps > _STEP_LIMIT:
            raise InvalidModelError(f"functions and loops make more than {_STEP_LIMIT} nodes")
        source = scope.path + (proto.name or next(filter(None, proto.output), proto.op_type))
        inputs: list[Value] = []
        try:
            inputs = [scope.get(name, source) for name in proto.input]
            result = self._imported(proto, inputs, scope, source)
            _assign(proto, result, scope)
        except InvalidModelError:
            raise
        except Lost:
            scope.lose(proto.output)
        except MlcError as error:
            self._refuse(proto, source, scope, error, _hint(error, inputs))
        except _DAMAGE as error:
            raise InvalidModelError(
                f"node '{source}' ({proto.op_type}) is malformed: {_described(error)}"
            ) from error

    def _imported(
        self, proto: onnx.NodeProto, inputs: list[Value], scope: Scope, source: str
    ) -> Result:
        domain = domain_name(proto.domain)
        opset = scope.opsets.get(domain, 1)
        function = self.functions.get((domain, proto.op_type, proto.overload))
        if function is None:
            importer = importer_of(domain, proto.op_type, opset)
            if importer is not None:
                return importer(self._importable(proto, inputs, scope, source))
            function = operator_function(proto, opset, inputs)
        if function is None:
            raise Refusal("no importer for this operator", ADD_IMPORTER)
        return self._call(function, proto, inputs, scope, source)

    def _importable(
        self, proto: onnx.NodeProto, inputs: list[Value], scope: Scope, source: str
    ) -> Node:
        opset = scope.opsets.get(domain_name(proto.domain), 1)

        def expand() -> list[Value]:
            function = operator_function(proto, opset, inputs)
            if function is None:
                raise Refusal("these attributes are not supported")
            return self._call(function, proto, inputs, scope, source)

        run = self._runner(scope, source)
        return Node(proto, inputs, opset, source, self.shared, run, expand)

    def _call(
        self,
        function: onnx.FunctionProto,
        proto: onnx.NodeProto,
        inputs: list[Value],
        scope: Scope,
        source: str,
    ) -> list[Value]:
        """Imports the body of a function in the place of its call."""
        inner = Scope({**scope.opsets, **opsets_of(function)}, f"{source}/", depth=scope.depth + 1)
        given = [*inputs, *[None] * (len(function.input) - len(inputs))]
        for name, value in zip(function.input, given, strict=True):
            inner.set(name, value)
        for node in bound_body(function, proto):
            self._node(node, inner)
        asked = zip(function.output, proto.output, strict=False)
        return [inner.get(name, source) if wanted else None for name, wanted in asked]

    def _runner(self, scope: Scope, source: str):
        def run(graph: onnx.GraphProto, values: Sequence[Value], label: str) -> list[Value]:
            inner = Scope(scope.opsets, f"{source}/{label}", scope, scope.depth + 1)
            for declared, value in zip(graph.input, values, strict=True):
                inner.set(declared.name, value)
            self._graph(graph, inner)
            return [inner.get(output.name, source) for output in graph.output]

        return run

    def _refuse(
        self, proto: onnx.NodeProto, source: str, scope: Scope, error: MlcError, hint: str
    ) -> None:
        domain = domain_name(proto.domain)
        opset = scope.opsets.get(domain, "none")
        operator = f"{domain or 'ai.onnx'}::{proto.op_type} (opset {opset})"
        self.problems.append(Unsupported(source, operator, str(error), hint))
        scope.lose(proto.output)

    def _output(self, scope: Scope, name: str) -> SSAValue | None:
        try:
            value = scope.get(name, "the graph's output")
        except Lost:
            return None
        if isinstance(value, SSAValue):
            return value
        kind = "optional" if value is None else "sequence"
        self.problems.append(Unsupported(name, "output", f"it is a {kind}, not a tensor"))
        return None


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _hint(error: MlcError, inputs: Sequence[Value]) -> str:
    """What would help."""
    if isinstance(error, Refusal):
        return error.hint
    types = [type_of(value) for value in inputs if isinstance(value, SSAValue)]
    symbolic = isinstance(error, InferenceError) and not all(t.is_static for t in types)
    return f"if sizes of different names are equal, {SAME_NAME}" if symbolic else ""


def _assign(proto: onnx.NodeProto, result: Result, scope: Scope) -> None:
    values = [result] if result is None or isinstance(result, SSAValue) else result
    if len(values) < len(proto.output):
        raise Refusal(f"output {len(values)} ('{proto.output[len(values)]}') is not supported")
    for name, value in zip(proto.output, values, strict=False):
        if name:
            scope.set(name, value)
