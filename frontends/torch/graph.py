"""Walks a graph of ATen calls and builds the module; names at once all nodes that cannot be."""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.fx.node import map_arg
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

from ...ir.dims import SymDim, multiple_of, symbols_of
from ...ir.errors import InvalidModelError, MlcError, Unsupported, UnsupportedError
from ...ir.module import model_module, set_symbol_limits
from ...ir.op import GraphOp
from ...ir.ops.constant import ConstantOp
from ...ir.ops.control import ReturnOp
from ...ir.types import I64, TensorType, tensor, type_of
from . import families as families
from .names import source_line, source_name
from .program import Program
from .registry import Inner, Lost, Node, Refusal, importer_of, packet_of
from .sizes import Sizes, symbol_maxima, symbol_names
from .tensors import numpy_dtype, numpy_view

_RANDOM = "models that draw random numbers are not compiled; was the model exported in eval mode?"
_UNKNOWN_SIZE = ("how large its result is depends on values", "use operators of fixed sizes")


def import_program(program: Program) -> ModuleOp:
    """A module whose ``@main`` is the program.

    Raises:
        InvalidModelError: An input or a weight is of a kind or dtype that mlc does not know.
        UnsupportedError: Some nodes have no counterpart; it lists all of them.
    """
    return _Import(program).run()


class _Import:
    def __init__(self, program: Program):
        self.program = program
        self.block = self.main = Block()
        self.owner = program.owner
        self.counter = itertools.count()
        self.inputs: list[str] = []
        self.values: dict[fx.Node, Any] = {}
        self.lost: set[fx.Node] = set()
        self.problems: list[Unsupported] = []
        self.weights: dict[Any, SSAValue] = {}
        self.sizes = Sizes(symbol_names(program.placeholders))

    def run(self) -> ModuleOp:
        for node in self.program.placeholders:
            self.values[node] = self._placeholder(node)
        self._bind_symbols()
        self._nodes(self.owner)
        if self.problems:
            raise UnsupportedError(self.problems)
        outputs = self._outputs()
        self.block.add_op(ReturnOp(operands=[list(outputs.values())]))
        module = model_module(self.block, self.inputs, list(outputs), self.program.name)
        maxima = symbol_maxima(self.program.placeholders)
        set_symbol_limits(module, {self.sizes.names[s]: limit for s, limit in maxima.items()})
        return module

    def _placeholder(self, node: fx.Node) -> Any:
        if node in self.program.weights:
            return self._weight(*self.program.weights[node])
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            return self._input(node, value)
        return self.sizes.dim(value) if isinstance(value, torch.SymInt) else value

    def _input(self, node: fx.Node, value: torch.Tensor) -> SSAValue:
        try:
            type = tensor(self.sizes.shape(value.shape), numpy_dtype(value.dtype))
        except MlcError as error:
            raise InvalidModelError(f"input '{node.name}': {error}") from None
        self.inputs.append(node.name)
        return self.block.insert_arg(type, len(self.block.args))

    def _bind_symbols(self) -> None:
        """Finds who tells the value of each symbol: a shape, or an integer given to the model."""
        dims = [d for a in self.block.args for d in type_of(a).shape]
        shapes = {told[0] for told in map(multiple_of, dims) if told}
        for node, value in list(self.values.items()):
            is_symbol = isinstance(value, SymDim) and str(value).isidentifier()
            if is_symbol and str(value) not in shapes:
                self.inputs.append(node.name)
                number = self.block.insert_arg(tensor((), I64), len(self.block.args))
                self.sizes.numbers[str(value)] = number
        unknown = {name for dim in dims for name in symbols_of(dim)} - shapes
        if unknown:
            raise InvalidModelError(
                f"no input has {', '.join(sorted(unknown))} or a multiple as a dimension, so its "
                "value cannot be known: make the dimension static in dynamic_shapes"
            )

    def _weight(self, name: str, weight: torch.Tensor) -> SSAValue:
        """A constant; tensors over the same memory are one."""
        try:
            array = numpy_view(weight)
        except MlcError as error:
            raise InvalidModelError(f"weight '{name}': {error}") from None
        if self.block is not self.main:
            return self._constant(array)
        key = (array.ctypes.data, array.shape, array.strides, array.dtype)
        if array.size == 0 or key not in self.weights:
            self.weights[key] = self._constant(array)
        return self.weights[key]

    def _constant(self, array: np.ndarray) -> SSAValue:
        op = ConstantOp.of(array)
        self.block.add_op(op)
        return op.results[0]

    @contextmanager
    def _inside(self, types: Sequence[TensorType]) -> Iterator[Block]:
        outer, self.block = self.block, Block(arg_types=types)
        try:
            yield self.block
        finally:
            self.block = outer

    def _run(self, graph: fx.GraphModule, values: Sequence[Any]) -> list[Any]:
        outer, self.owner = self.owner, graph
        placeholders = graph.graph.find_nodes(op="placeholder")
        self.values.update(zip(placeholders, values, strict=True))
        try:
            self._nodes(graph)
            end = graph.graph.output_node()
            if self.lost.intersection(end.all_input_nodes):
                raise Lost(end.name)
            results = self._mapped(end.args[0])
            return list(results) if isinstance(results, (list, tuple)) else [results]
        finally:
            self.owner = outer

    def _late_symbol(self, stem: str) -> str:
        taken = set(self.sizes.names.values())
        return next(n for k in self.counter if (n := f"{stem}_{k}") not in taken)

    def _nodes(self, graph: fx.GraphModule) -> None:
        for node in graph.graph.nodes:
            if node.op not in ("placeholder", "output"):
                self._node(node)

    def _node(self, node: fx.Node) -> None:
        if self.lost.intersection(node.all_input_nodes):
            self.lost.add(node)
            return
        try:
            self.values[node] = self._imported(node)
        except Lost:
            self.lost.add(node)
        except MlcError as error:
            self._refuse(node, error)

    def _imported(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            return self._attribute(str(node.target))
        if node.target is operator.getitem:
            return self._item(node)
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt) and not free_unbacked_symbols(value):
            return self.sizes.dim(value)
        if isinstance(value, torch.SymBool):
            return value
        function = importer_of(node.target)
        if function is None:
            raise _unknown(node.target, value)
        call = self._call(node)
        result = function(call)
        if value is not None and free_unbacked_symbols(value):
            raise Refusal(*_UNKNOWN_SIZE)
        _check(call, result)
        return result

    def _item(self, node: fx.Node) -> Any:
        value = self._mapped(node.args[0])[node.args[1]]
        if value is None and node.users:
            raise Refusal("this result of the operator is computed in training only")
        return value

    def _call(self, node: fx.Node) -> Node:
        bound = _bound(node)
        fakes = map_arg(bound, lambda n: n.meta.get("val"))
        source = source_name(node.meta.get("nn_module_stack"), node.name)
        return Node(node, self._mapped(bound), fakes, self.sizes, source, self._emit, self._inner)

    @property
    def _inner(self) -> Inner:
        return Inner(self._inside, self._run, self._late_symbol, lambda: self.block)

    def _emit(self, op: GraphOp) -> None:
        if self.sizes.numbers:
            self._refuse_numbers_as_sizes(op)
        self.block.add_op(op)

    def _refuse_numbers_as_sizes(self, op: GraphOp) -> None:
        words = set(re.findall(r"\w+", f"{op.properties} {op.result_types}"))
        for name in words & self.sizes.numbers.keys():
            raise Refusal(f"a size depends on the number {name}", "take it from a tensor's shape")

    def _mapped(self, argument: Any) -> Any:
        return map_arg(argument, lambda n: self.values[n])

    def _attribute(self, target: str) -> Any:
        value = operator.attrgetter(target)(self.owner)
        return self._weight(target, value) if isinstance(value, torch.Tensor) else value

    def _refuse(self, node: fx.Node, error: MlcError) -> None:
        name = source_name(node.meta.get("nn_module_stack"), node.name)
        line = source_line(node.meta.get("stack_trace"))
        where = f"{name} ({line})" if line else name
        hint = error.hint if isinstance(error, Refusal) else ""
        self.problems.append(Unsupported(where, _operator(node.target), str(error), hint))
        self.lost.add(node)

    def _outputs(self) -> dict[str, SSAValue]:
        end = self.program.owner.graph.output_node()
        results = self._mapped(end.args[0])
        named = zip(self.program.outputs, results, strict=True)
        adder = Node(end, {}, {}, self.sizes, "", self._emit, self._inner)
        return {name: _as_tensor(adder, value) for name, value in named if value is not None}


def _as_tensor(node: Node, value: Any) -> SSAValue:
    if isinstance(value, SSAValue):
        return value
    dtype = np.asarray(value).dtype if isinstance(value, (bool, float)) else I64
    return node.operand(value, dtype)


def _bound(node: fx.Node) -> dict[str, Any]:
    """The arguments of a call by name, with the defaults of its schema."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return {"args": node.args, **node.kwargs}
    parameters = node.target._schema.arguments
    given = {**dict(zip((p.name for p in parameters), node.args, strict=False)), **node.kwargs}
    return {p.name: given.get(p.name, p.default_value) for p in parameters}


def _check(node: Node, result: Any) -> None:
    """Refuses a result of another type than torch gives it."""
    if not isinstance(result, SSAValue) or not isinstance(node.fake, torch.Tensor):
        return
    got, wanted = type_of(result), node.result
    known = got.is_static and wanted.is_static
    if got.dtype != wanted.dtype or got.rank != wanted.rank or (known and got != wanted):
        raise Refusal(f"it was imported as {got}, torch says {wanted}", "this is a bug of mlc")


def _operator(target: str | Callable[..., Any]) -> str:
    if isinstance(target, (str, torch._ops.OpOverload)):
        return str(target)
    return getattr(target, "__name__", str(target))


def _unknown(target: Any, result: Any) -> Refusal:
    if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
        return Refusal("it draws random numbers", _RANDOM)
    if packet_of(target) in (torch.ops.aten._local_scalar_dense, torch.ops.aten.item):
        return Refusal("a Python number is read from a tensor", "keep it a tensor")
    if result is not None and free_unbacked_symbols(result):
        return Refusal(*_UNKNOWN_SIZE)
    return Refusal("no importer for this operator")
