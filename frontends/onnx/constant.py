"""Importers of constants, sizes, and tensors made of them."""

from __future__ import annotations

import numpy as np
import onnx
from xdsl.ir import SSAValue

from ...ir.dims import SymDim, ceildiv
from ...ir.errors import InvalidModelError
from ...ir.ops import elementwise as e
from ...ir.types import F32, I64, is_float, type_of
from .dtypes import dtype_of
from .fold import elements
from .node import Node
from .refusal import Refusal
from .registry import importer

_RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
_PLAIN = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64}


@importer("Constant")
def constant(node: Node) -> SSAValue:
    """A tensor, a sparse one, a number or a list of them."""
    (attribute,) = node.proto.attribute
    if attribute.name == "value":
        array = node.shared.weights.array(attribute.t)
    elif attribute.name == "sparse_value":
        array = node.shared.weights.dense(attribute.sparse_tensor)
    elif attribute.name.startswith("value_string"):
        raise Refusal("strings are not supported")
    else:
        value = onnx.helper.get_attribute_value(attribute)
        array = np.array(value, _PLAIN.get(attribute.name, np.int64))
    return node.constant(array, array.dtype)


@importer("Shape")
def shape(node: Node) -> SSAValue:
    """The dims from ``start`` to before ``end``."""
    dims = node.type().shape
    return node.sizes(dims[node.attribute("start", 0) : node.attribute("end", len(dims))])


@importer("Size")
def size(node: Node) -> SSAValue:
    """The number of elements."""
    return node.sizes(node.type().size)


@importer("ConstantOfShape")
def constant_of_shape(node: Node) -> SSAValue:
    """One value everywhere, 0.0 when none is given."""
    tensor = node.attribute("value")
    value = np.zeros(1, F32) if tensor is None else node.shared.weights.array(tensor)
    return node.broadcast(node.constant(value.reshape(()), value.dtype), node.dims(0) or ())


@importer("Range")
def range_(node: Node) -> SSAValue:
    """``start``, ``start + delta`` and so on to before ``limit``."""
    start, limit, delta = (elements(node.input(k)) for k in range(3))
    dtype = node.type().dtype
    if start is None or limit is None or delta is None:
        return _constant_range(node)
    first, last, step = start.reshape(-1)[0], limit.reshape(-1)[0], delta.reshape(-1)[0]
    if step == 0 or isinstance(step, SymDim):
        raise Refusal(f"a range with step {step} is not supported")
    count = ceildiv(last - first, step)
    count = max(count, 0) if isinstance(count, int) else count
    steps = node.iota(count, dtype)
    scaled = steps if step == 1 else node.add(e.MulOp(steps, node.constant(step, dtype)))
    return scaled if first == 0 else node.add(e.AddOp(scaled, node.sizes(first, dtype)))


def _constant_range(node: Node) -> SSAValue:
    """A range of numbers that are not whole."""
    bounds = [node.known(k) for k in range(3)]
    start, limit, delta = (float(b.reshape(())) for b in bounds if b is not None)
    if delta == 0:
        raise InvalidModelError(f"node '{node.source}' makes a range with step 0")
    count = max(int(np.ceil((limit - start) / delta)), 0)
    dtype = node.type().dtype
    steps = node.add(e.MulOp(node.iota(count, dtype), node.constant(delta, dtype)))
    return node.add(e.AddOp(steps, node.constant(start, dtype)))


@importer("EyeLike")
def eye_like(node: Node) -> SSAValue:
    """1 where the column is ``k`` right of the row, else 0."""
    rows, columns = node.type().shape
    code = node.attribute("dtype")
    dtype = node.type().dtype if code is None else dtype_of(code)
    row = node.reshape(node.iota(rows), (rows, 1))
    diagonal = node.add(e.AddOp(row, node.constant(node.attribute("k", 0), I64)))
    return node.cast(node.add(e.EqOp(diagonal, node.iota(columns))), dtype)


@importer("OneHot")
def one_hot(node: Node) -> SSAValue:
    """The second of ``values`` where the position along the new axis is the index."""
    indices, depth, values = node.input(0), node.dim(1), node.input(2)
    rank = type_of(indices).rank + 1
    axis = node.axis(-1, rank)
    indices = _whole(node, indices)
    size = node.sizes(depth)
    negative = node.add(e.LtOp(indices, node.constant(0, I64)))
    indices = node.add(e.SelectOp(negative, node.add(e.AddOp(indices, size)), indices))
    shape = type_of(indices).shape
    apart = node.reshape(indices, (*shape[:axis], 1, *shape[axis:]))
    positions = node.reshape(node.iota(depth), (depth, *(1,) * (rank - axis - 1)))
    hot = node.add(e.EqOp(apart, positions))
    off, on = (node.element(values, k) for k in range(2))
    return node.add(e.SelectOp(hot, on, off))


@importer(*_RANDOM, "Bernoulli", "Multinomial")
def random(node: Node) -> SSAValue:
    """Refused: a compiled model gives the same results for the same inputs."""
    raise Refusal("it draws random numbers", "pass them as an input, or export in eval mode")


def _whole(node: Node, value: SSAValue) -> SSAValue:
    dtype = type_of(value).dtype
    return node.cast(node.add(e.FloorOp(value)) if is_float(dtype) else value, I64)
