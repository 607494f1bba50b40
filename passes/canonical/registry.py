"""The table of canonical rules, by what they promise and the class of op they look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ...ir.op import GraphOp
from ..contract import Promise
from ..rewrite import Rule, Rules

_TABLE: dict[Promise, dict[type[GraphOp], list[Rule]]] = {promise: {} for promise in Promise}
RuleT = TypeVar("RuleT", bound=Rule)


def canonical(*kinds: type[GraphOp], promise: Promise = Promise.EXACT) -> Callable[[RuleT], RuleT]:
    """Registers a rule (see ``rewrite``) for ops of these classes and those derived from them."""

    def register(rule: RuleT) -> RuleT:
        for kind in kinds:
            _TABLE[promise].setdefault(kind, []).append(rule)
        return rule

    return register


def rules_that(promise: Promise) -> Rules:
    """All rules that keep ``promise``, which EXACT ones do with every promise."""
    kept = [_TABLE[p] for p in Promise if p is promise or p is Promise.EXACT]
    kinds = {kind: None for table in kept for kind in table}
    return {kind: [rule for table in kept for rule in table.get(kind, ())] for kind in kinds}
