"""Applies local rules until none fits: each looks at one op and gives what stands for it.

A rule is a function of the op and of ``add``, which places a new op before it, as in
``GraphOp.decompose``. It returns the value that replaces the op's first result, or None::

    def double_negation(op: NegOp, add: Add) -> SSAValue | None:
        inner = producer(op.x, NegOp)
        return inner.x if inner else None

Every op is looked at once, and again when something it reads or its readers have changed, so that
the time grows with the size of the program. Ops that nobody reads are removed on the way: no rule
ever sees a use that does not count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ..ir.errors import PassError
from ..ir.op import Add, GraphOp, copy_source
from ..ir.ops.select import LateOp

Rule = Callable[[Any, Add], SSAValue | None]
OpT = TypeVar("OpT", bound=GraphOp)
Rules = Mapping[type[GraphOp], Sequence[Rule]]

# No sound set of rules replaces an op, and what it became, this often.
_PATIENCE = 20


def rewrite(module: ModuleOp, rules: Rules) -> None:
    """Applies ``rules``, which are found by an op's class and those it derives from, bases first.

    They concern ops of one result.

    Raises:
        PassError: The rules undo each other's work and would never end.
    """
    _Rewriter(module, rules).run()


def again(op: OpT, *operands: SSAValue, **params: object) -> OpT:
    """The same op on other operands, with some parameters changed, from the same node."""
    build: Callable[..., OpT] = type(op)
    made = build(*operands, **{**op.properties, **params})
    copy_source(op, made)
    return made


def if_alike(new: GraphOp, op: GraphOp, add: Add) -> SSAValue | None:
    """What ``new`` computes, if that is of the type of ``op``; else it is forgotten.

    An op that is made and not placed would go on reading its operands.
    """
    if new.results[0].type == op.results[0].type:
        return add(new)
    new.erase()
    return None


class _Rewriter:
    def __init__(self, module: ModuleOp, rules: Rules):
        self.rules = rules
        self.known: dict[type, list[Rule]] = {}
        self.waiting: deque[GraphOp] = deque()
        self.queued: set[Operation] = set()
        for op in reversed(list(module.walk())):
            if isinstance(op, GraphOp) and not self._remove_if_dead(op):
                self._queue_first(op)
        self.left = _PATIENCE * (len(self.waiting) + 1)

    def run(self) -> None:
        while self.waiting:
            op = self.waiting.popleft()
            self.queued.discard(op)
            if op.parent is not None and not self._remove_if_dead(op):
                self._visit(op)

    def _queue_first(self, op: GraphOp) -> None:
        self.waiting.appendleft(op)
        self.queued.add(op)

    def _queue(self, ops: Iterable[Operation]) -> None:
        for op in ops:
            if isinstance(op, GraphOp) and op not in self.queued:
                self.waiting.append(op)
                self.queued.add(op)

    def _remove_if_dead(self, op: GraphOp) -> bool:
        """Whether nobody reads ``op``; then what it reads is looked at again.

        An op that finds out a size stays: somebody may know the size by its name.
        """
        if isinstance(op, LateOp) or any(r.first_use for r in op.results):
            return False
        self._erase(op)
        return True

    def _erase(self, op: GraphOp) -> None:
        """Removes ``op``; what it read may be dead now, or have a single reader left."""
        operands = list(op.operands)
        op.detach()
        op.erase()
        self._queue(v.owner for v in operands if isinstance(v.owner, Operation))
        self._queue(use.operation for v in operands if (use := v.get_unique_use()))

    def _visit(self, op: GraphOp) -> None:
        for rule in self._rules_of(type(op)):
            added: list[GraphOp] = []
            value = rule(op, adder_before(op, added))
            self._queue(added)
            if value is not None:
                self._replace(op, value, rule)
                return

    def _rules_of(self, kind: type) -> list[Rule]:
        if kind not in self.known:
            self.known[kind] = [r for c in reversed(kind.__mro__) for r in self.rules.get(c, ())]
        return self.known[kind]

    def _replace(self, op: GraphOp, value: SSAValue, rule: Rule) -> None:
        self.left -= 1
        if self.left < 0 or value.type != op.results[0].type:
            raise _broken(op, value, rule)
        self._queue(use.operation for use in op.results[0].uses)
        if value.name_hint is None:
            value.name_hint = op.results[0].name_hint
        op.results[0].replace_all_uses_with(value)
        self._erase(op)


def adder_before(op: GraphOp, added: list[GraphOp]) -> Add:
    """Puts ops before ``op``, from the same node of the user's model, and into ``added``."""
    block = op.parent
    assert block is not None

    def add(new: GraphOp) -> SSAValue:
        copy_source(op, new)
        block.insert_op_before(new, op)
        added.append(new)
        return new.results[0]

    return add


def _broken(op: GraphOp, value: SSAValue, rule: Rule) -> PassError:
    name = getattr(rule, "__qualname__", str(rule))
    if value.type == op.results[0].type:
        return PassError(f"the rules never end; the last applied was {name}, to {op.name}")
    return PassError(
        f"rule {name} replaced {op.name} of type {op.results[0].type} by a value of {value.type}"
    )
