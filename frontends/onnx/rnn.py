"""Importers of recurrent networks: a copy of the cell for every step, or a loop around one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.ir import SSAValue

from ...ir.dims import Dim
from ...ir.ops import elementwise as e
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.shape import ConcatOp
from ...ir.types import BOOL, type_of
from .index import reversed_sequences
from .node import Node
from .refusal import Refusal
from .regions import repeated
from .registry import importer
from .shape import cut

_STEP_LIMIT = 8
_ACTIVATIONS = {"Relu": e.ReluOp, "Sigmoid": e.SigmoidOp, "Tanh": e.TanhOp}
_DEFAULTS = {
    "RNN": ["Tanh"],
    "GRU": ["Sigmoid", "Tanh"],
    "LSTM": ["Sigmoid", "Tanh", "Tanh"],
}

State = list[SSAValue]
Activation = Callable[[SSAValue], SSAValue]


@dataclass
class Cell:
    """One direction of a layer.

    Attributes:
        node: The node.
        x: The inputs' share of all gates, ``[T, B, G * H]``, biases included.
        r: The weights of the state, ``[H, G * H]``.
        bias: The state's biases, ``[G * H]``.
        peephole: The weights of the cell's content, ``[3 * H]``.
        size: H.
        functions: The activations.
    """

    node: Node
    x: SSAValue
    r: SSAValue
    bias: SSAValue
    peephole: SSAValue | None
    size: int
    functions: list[Activation]

    def mul(self, a: SSAValue, b: SSAValue) -> SSAValue:
        """``a * b``."""
        return self.node.add(e.MulOp(a, b))

    def sum(self, a: SSAValue, *others: SSAValue) -> SSAValue:
        """``a + b + …``."""
        for b in others:
            a = self.node.add(e.AddOp(a, b))
        return a

    def inputs(self, t: Dim) -> SSAValue:
        """The inputs' share in a step."""
        return self.node.reshape(cut(self.node, self.x, 0, t, t + 1), type_of(self.x).shape[1:])

    def gate(self, values: SSAValue, k: int) -> SSAValue:
        """Part ``k`` of the last dim."""
        last = type_of(values).rank - 1
        return cut(self.node, values, last, k * self.size, (k + 1) * self.size)

    def of_state(self, h: SSAValue, first: int = 0, count: int | None = None) -> SSAValue:
        """The state's share of some gates, biases included."""
        gates = type_of(self.r).shape[1] if count is None else (first + count) * self.size
        start = first * self.size
        product = self.node.add(MatmulOp(h, cut(self.node, self.r, 1, start, gates)))
        return self.sum(product, cut(self.node, self.bias, 0, start, gates))

    def peep(self, content: SSAValue, k: int) -> list[SSAValue]:
        """What the content adds to a gate."""
        return [] if self.peephole is None else [self.mul(content, self.gate(self.peephole, k))]


@importer("RNN", "GRU", "LSTM")
def recurrent(node: Node) -> list[SSAValue]:
    """All states, and the last ones, of one or two directions."""
    batch_first = bool(node.attribute("layout", 0))
    x = node.transpose(node.input(0), (1, 0, 2)) if batch_first else node.input(0)
    directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    runs = [
        _direction(node, x, k, backwards, batch_first)
        for k, backwards in enumerate(directions[node.attribute("direction", "forward")])
    ]
    whole = _stacked(node, [run[0] for run in runs], 1)
    last = [_stacked(node, states, 0) for states in zip(*(run[1] for run in runs), strict=True)]
    if batch_first:
        whole = node.transpose(whole, (2, 0, 1, 3))
        last = [node.transpose(v, (1, 0, 2)) for v in last]
    return [whole, *last]


def _direction(
    node: Node, x: SSAValue, k: int, backwards: bool, batch_first: bool
) -> tuple[SSAValue, State]:
    """The states ``[T, B, H]`` of one direction, and the last ones."""
    lengths = node.optional(4)
    x = _turned(node, x, lengths) if backwards else x
    cell, step = _cell(node, x, k), _STEPS[node.proto.op_type]
    steps, batch, _ = type_of(x).shape
    state = [_initial(node, index, k, batch, cell.size, batch_first) for index in _states(node)]

    def advanced(t: Dim, state: Sequence[SSAValue]) -> tuple[None, State]:
        """The states after a step, and what it gives."""
        new = step(cell, cell.inputs(t), list(state))
        if lengths is None:
            return None, [*new, new[0]]
        alive = _alive(node, lengths, t, batch)
        kept = [node.add(e.SelectOp(alive, a, b)) for a, b in zip(new, state, strict=True)]
        zero = node.constant(0, type_of(new[0]).dtype)
        return None, [*kept, node.add(e.SelectOp(alive, new[0], zero))]

    if isinstance(steps, int) and 0 < steps <= _STEP_LIMIT:
        outputs: list[SSAValue] = []
        for t in range(steps):
            *state, output = advanced(t, state)[1]
            outputs.append(output)
        whole = _stacked(node, outputs, 0)
    else:
        always = node.constant(True, BOOL)
        *state, whole = repeated(node, node.sizes(steps), always, state, advanced)
    return (_turned(node, whole, lengths) if backwards else whole), state


def _cell(node: Node, x: SSAValue, k: int) -> Cell:
    w, r = _part(node, 1, k), _part(node, 2, k)
    gates, size = type_of(r).shape
    if not isinstance(size, int):
        raise Refusal(f"the size of the state is {size}, a fixed number is needed")
    bias = node.constant(0, type_of(w).dtype)
    bias = node.broadcast(bias, (gates * 2,)) if node.optional(3) is None else _part(node, 3, k)
    total = node.add(MatmulOp(x, node.transpose(w, (1, 0))))
    total = node.add(e.AddOp(total, cut(node, bias, 0, 0, gates)))
    peephole = None if node.optional(7) is None else _part(node, 7, k)
    return Cell(
        node,
        total,
        node.transpose(r, (1, 0)),
        cut(node, bias, 0, gates, gates * 2),
        peephole,
        size,
        _functions(node, k),
    )


def _rnn_step(cell: Cell, x: SSAValue, state: State) -> State:
    (f,) = cell.functions
    return [f(cell.sum(x, cell.of_state(state[0])))]


def _gru_step(cell: Cell, x: SSAValue, state: State) -> State:
    """Gates are update, reset, hidden."""
    f, g = cell.functions
    (h,) = state
    near = cell.of_state(h, 0, 2)
    update = f(cell.sum(cell.gate(x, 0), cell.gate(near, 0)))
    reset = f(cell.sum(cell.gate(x, 1), cell.gate(near, 1)))
    if cell.node.attribute("linear_before_reset", 0):
        inner = cell.mul(reset, cell.of_state(h, 2, 1))
    else:
        inner = cell.of_state(cell.mul(reset, h), 2, 1)
    hidden = g(cell.sum(cell.gate(x, 2), inner))
    kept = cell.node.add(e.SubOp(h, hidden))
    return [cell.sum(hidden, cell.mul(update, kept))]


def _lstm_step(cell: Cell, x: SSAValue, state: State) -> State:
    """Gates are input, output, forget, cell."""
    f, g, out = cell.functions
    h, c = state
    gates = cell.sum(x, cell.of_state(h))
    take = f(cell.sum(cell.gate(gates, 0), *cell.peep(c, 0)))
    if cell.node.attribute("input_forget", 0):
        keep = cell.node.add(e.SubOp(cell.node.constant(1, type_of(take).dtype), take))
    else:
        keep = f(cell.sum(cell.gate(gates, 2), *cell.peep(c, 2)))
    content = cell.sum(cell.mul(keep, c), cell.mul(take, g(cell.gate(gates, 3))))
    give = f(cell.sum(cell.gate(gates, 1), *cell.peep(content, 1)))
    return [cell.mul(give, out(content)), content]


_STEPS = {"RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}


def _functions(node: Node, k: int) -> list[Activation]:
    defaults = _DEFAULTS[node.proto.op_type]
    given = node.attribute("activations") or []
    names = [(n.decode() if isinstance(n, bytes) else n).capitalize() for n in given]
    names = names[k * len(defaults) : (k + 1) * len(defaults)] or defaults
    unknown = [n for n in names if n not in _ACTIVATIONS]
    if unknown:
        raise Refusal(f"the activation {unknown[0]} is none of {', '.join(_ACTIVATIONS)}")
    return [_activation(node, name) for name in names]


def _activation(node: Node, name: str) -> Activation:
    limit = node.attribute("clip")

    def apply(x: SSAValue) -> SSAValue:
        if limit is not None:
            dtype = type_of(x).dtype
            x = node.add(e.MinOp(x, node.constant(limit, dtype)))
            x = node.add(e.MaxOp(x, node.constant(-limit, dtype)))
        return node.add(_ACTIVATIONS[name](x))

    return apply


def _states(node: Node) -> list[int]:
    """Which operands are the first state."""
    return [5, 6] if node.proto.op_type == "LSTM" else [5]


def _initial(node: Node, index: int, k: int, batch: Dim, size: int, batch_first: bool) -> SSAValue:
    given = node.optional(index)
    if given is None:
        return node.broadcast(node.constant(0, node.type().dtype), (batch, size))
    axis = 1 if batch_first else 0
    return node.reshape(cut(node, given, axis, k, k + 1), (batch, size))


def _part(node: Node, index: int, k: int) -> SSAValue:
    """The weights of direction ``k``."""
    value = node.input(index)
    return node.reshape(cut(node, value, 0, k, k + 1), type_of(value).shape[1:])


def _turned(node: Node, x: SSAValue, lengths: SSAValue | None) -> SSAValue:
    steps, batch, _ = type_of(x).shape
    if lengths is None:
        lengths = node.broadcast(node.sizes(steps), (batch,))
    return reversed_sequences(node, x, lengths, 0, 1)


def _alive(node: Node, lengths: SSAValue, t: Dim, batch: Dim) -> SSAValue:
    """Whether the sequences last longer than ``t``, ``[B, 1]``."""
    step = node.sizes(t, type_of(lengths).dtype)
    return node.reshape(node.add(e.LtOp(step, lengths)), (batch, 1))


def _stacked(node: Node, values: Sequence[SSAValue], axis: int) -> SSAValue:
    shape = type_of(values[0]).shape
    apart = [node.reshape(v, (*shape[:axis], 1, *shape[axis:])) for v in values]
    return apart[0] if len(apart) == 1 else node.add(ConcatOp(apart, axis=axis))
