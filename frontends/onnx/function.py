"""Functions: those of the model, and operators that onnx defines by simpler ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx

from ...ir.errors import InvalidModelError
from ...ir.types import type_of
from .node import Value
from .reader import domain_name

_tensor_type = onnx.helper.make_tensor_type_proto
Functions = dict[tuple[str, str, str], onnx.FunctionProto]


def local_functions(model: onnx.ModelProto) -> Functions:
    """The functions of a model by domain, name and overload."""
    return {(domain_name(f.domain), f.name, f.overload): f for f in model.functions}


def operator_function(
    proto: onnx.NodeProto, opset: int, inputs: Sequence[Value]
) -> onnx.FunctionProto | None:
    """What onnx defines an operator as, or None."""
    try:
        schema: Any = onnx.defs.get_schema(proto.op_type, opset, domain_name(proto.domain))
    except onnx.defs.SchemaError:
        return None
    _check(proto, opset)
    data = b""
    if schema.has_function:
        data = schema.get_function_with_opset_version(opset)
    elif schema.has_context_dependent_function:
        types = [_type(value).SerializeToString() for value in inputs]
        data = schema.get_context_dependent_function_with_opset_version(
            opset, proto.SerializeToString(), types
        )
    if not data:
        return None
    function = onnx.FunctionProto.FromString(data)
    defaults = [a.default_value for a in schema.attributes.values() if a.default_value.name]
    function.attribute_proto.extend(defaults)
    return function


def _check(proto: onnx.NodeProto, opset: int) -> None:
    """Refuses a malformed node, which onnx's own makers of functions rely on."""
    context = onnx.checker.C.CheckerContext()
    context.ir_version = onnx.IR_VERSION
    newest = onnx.defs.onnx_opset_version()
    context.opset_imports = {"": newest, domain_name(proto.domain): opset}
    try:
        onnx.checker.check_node(proto, context)
    except onnx.checker.ValidationError as error:
        raise InvalidModelError(f"node '{proto.name}' is malformed: {error}") from None


def bound_body(function: onnx.FunctionProto, call: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The nodes of a function with the attributes of a call in the place of references."""
    given = {a.name: a for a in function.attribute_proto} | {a.name: a for a in call.attribute}
    return [_bound(node, given) for node in function.node]


def _bound(node: onnx.NodeProto, given: dict[str, onnx.AttributeProto]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    for attribute in node.attribute:
        if attribute.ref_attr_name and attribute.ref_attr_name not in given:
            continue
        new = copy.attribute.add()
        new.CopyFrom(given[attribute.ref_attr_name] if attribute.ref_attr_name else attribute)
        new.name = attribute.name
        for graph in (new.g, *new.graphs) if new.HasField("g") or new.graphs else ():
            bodies = [_bound(inner, given) for inner in graph.node]
            del graph.node[:]
            graph.node.extend(bodies)
    return copy


def _type(value: Value) -> onnx.TypeProto:
    """The type of a value as onnx says it; sizes that are symbols are left open."""
    if isinstance(value, list):
        item = _type(value[0]) if value else _tensor_type(onnx.TensorProto.FLOAT, None)
        return onnx.helper.make_sequence_type_proto(item)
    if value is None:
        return onnx.TypeProto()
    type = type_of(value)
    shape = [d if isinstance(d, int) else None for d in type.shape]
    code = onnx.helper.np_dtype_to_tensor_dtype(type.dtype)
    return _tensor_type(code, shape)
