"""The importer of Einsum: each pair of operands becomes one batched matrix product."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import SSAValue

from ...ir.dims import Dim, product
from ...ir.errors import InvalidModelError
from ...ir.ops.elementwise import EqOp, MulOp, SelectOp
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.reduce import ReduceSumOp
from ...ir.types import type_of
from .node import Node
from .refusal import Refusal
from .registry import importer


@dataclass
class Term:
    """A value whose dims have labels, one letter each, all different."""

    value: SSAValue
    labels: str


@importer("Einsum")
def einsum(node: Node) -> SSAValue:
    """Operands are joined from left to right; a label is summed over where nobody needs it."""
    terms, output = _parsed(node)
    terms = [_without_repeats(node, term) for term in terms]
    while len(terms) > 1:
        left, right, *rest = terms
        needed = set(output).union(*(term.labels for term in rest))
        terms = [_joined(node, left, right, needed), *rest]
    return _arranged(node, _summed(node, terms[0], set(output)), output)


def _parsed(node: Node) -> tuple[list[Term], str]:
    equation = str(node.required("equation")).replace(" ", "")
    left, arrow, output = equation.partition("->")
    operands, inputs = node.every(), left.split(",")
    if len(inputs) != len(operands):
        raise InvalidModelError(f"node '{node.source}': '{equation}' has {len(inputs)} terms")
    hidden = [
        type_of(o).rank - len(t.replace("...", "")) for o, t in zip(operands, inputs, strict=True)
    ]
    spread = "".join(chr(ord("\U000f0000") + k) for k in range(max(hidden, default=0)))
    spelled = [
        t.replace("...", spread[len(spread) - n :]) for t, n in zip(inputs, hidden, strict=True)
    ]
    for value, labels in zip(operands, spelled, strict=True):
        if type_of(value).rank != len(labels):
            raise InvalidModelError(f"node '{node.source}': '{equation}' does not fit its operands")
    letters = "".join(spelled)
    once = sorted(c for c in set(letters) - set(spread) if letters.count(c) == 1)
    output = output.replace("...", spread) if arrow else spread + "".join(once)
    return [Term(o, t) for o, t in zip(operands, spelled, strict=True)], output


def _without_repeats(node: Node, term: Term) -> Term:
    """The diagonal where a label is there twice: all else is 0 and summed over."""
    for label in dict.fromkeys(term.labels):
        while term.labels.count(label) > 1:
            first, second = (k for k, c in enumerate(term.labels) if c == label)
            term = _diagonal(node, term, first, second)
    return term


def _diagonal(node: Node, term: Term, first: int, second: int) -> Term:
    type = type_of(term.value)
    size, rank = type.shape[first], type.rank
    row = node.reshape(node.iota(size), (size, *(1,) * (rank - first - 1)))
    column = node.reshape(node.iota(size), (size, *(1,) * (rank - second - 1)))
    same = node.add(EqOp(row, column))
    kept = node.add(SelectOp(same, term.value, node.constant(0, type.dtype)))
    value = node.reduce(ReduceSumOp, kept, [second], keep=False)
    return Term(value, term.labels[:second] + term.labels[second + 1 :])


def _summed(node: Node, term: Term, needed: set[str]) -> Term:
    axes = [k for k, c in enumerate(term.labels) if c not in needed]
    value = node.reduce(ReduceSumOp, term.value, axes, keep=False)
    return Term(value, "".join(c for c in term.labels if c in needed))


def _arranged(node: Node, term: Term, labels: str) -> SSAValue:
    if set(labels) != set(term.labels) or len(labels) != len(term.labels):
        raise Refusal(f"the result '{labels}' has labels that no operand has")
    return node.transpose(term.value, [term.labels.index(c) for c in labels])


def _joined(node: Node, left: Term, right: Term, needed: set[str]) -> Term:
    """``[batch, m, k] @ [batch, k, n]`` with each of the four a group of labels."""
    left = _summed(node, left, needed | set(right.labels))
    right = _summed(node, right, needed | set(left.labels))
    common = [c for c in left.labels if c in right.labels]
    inner = "".join(c for c in common if c not in needed)
    batch = "".join(c for c in common if c in needed)
    rows = "".join(c for c in left.labels if c not in common)
    columns = "".join(c for c in right.labels if c not in common)
    sizes = _sizes(node, left, right)
    if not inner:
        return _multiplied(node, left, right, batch + rows + columns)
    x = _grouped(node, left, (batch, rows, inner), sizes)
    y = _grouped(node, right, (batch, inner, columns), sizes)
    shape = tuple(sizes[c] for c in batch + rows + columns)
    return Term(node.reshape(node.add(MatmulOp(x, y)), shape), batch + rows + columns)


def _sizes(node: Node, left: Term, right: Term) -> dict[str, Dim]:
    sizes: dict[str, Dim] = {}
    for term in (left, right):
        for label, size in zip(term.labels, type_of(term.value).shape, strict=True):
            sizes[label] = size if sizes.get(label, 1) == 1 else sizes[label]
    return sizes


def _grouped(
    node: Node, term: Term, groups: tuple[str, str, str], sizes: dict[str, Dim]
) -> SSAValue:
    labels = "".join(groups)
    value = node.transpose(term.value, [term.labels.index(c) for c in labels])
    value = node.broadcast(value, tuple(sizes[c] for c in labels))
    return node.reshape(value, tuple(product(sizes[c] for c in group) for group in groups))


def _multiplied(node: Node, left: Term, right: Term, labels: str) -> Term:
    """No label is summed over: a product of elements."""
    x, y = (_spread(node, term, labels) for term in (left, right))
    return Term(node.add(MulOp(x, y)), labels)


def _spread(node: Node, term: Term, labels: str) -> SSAValue:
    present = [c for c in labels if c in term.labels]
    value = node.transpose(term.value, [term.labels.index(c) for c in present])
    sizes = dict(zip(present, type_of(value).shape, strict=True))
    return node.reshape(value, tuple(sizes.get(c, 1) for c in labels))
