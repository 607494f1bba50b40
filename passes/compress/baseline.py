"""The float model beside the one that is being compressed, layer by layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import overload

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.op import GraphOp
from ...ir.ops.constant import ConstantOp
from ...ir.ops.control import ReturnOp
from ..dead_code import EliminateDeadCode
from ..rewrite import again
from .layers import layers_of, placed_before
from .quantize_tables import tables_of
from .recipe import Recipe

Ends = tuple[SSAValue, SSAValue]


class Followed(Sequence[Ends]):
    """What each layer reads and gives, while passes replace the ops between the two.

    An op outside of the module uses the values, so that they are replaced there as well.
    """

    def __init__(self, ends: Sequence[Ends]):
        self._held = ReturnOp(operands=[[value for pair in ends for value in pair]])

    def __len__(self) -> int:
        return len(self._held.operands) // 2

    @overload
    def __getitem__(self, number: int) -> Ends: ...
    @overload
    def __getitem__(self, number: slice) -> list[Ends]: ...
    def __getitem__(self, number: int | slice) -> Ends | list[Ends]:
        values = list(self._held.operands)
        return list(zip(values[::2], values[1::2], strict=True))[number]

    def inside(self, copy: Mapping[SSAValue, SSAValue]) -> Followed:
        """The same in a clone, given its value for each."""
        return Followed([(copy[reads], copy[gives]) for reads, gives in self])

    def release(self) -> None:
        """Uses nothing any more."""
        self._held.drop_all_references()


class Baseline:
    """The layers of a module as they were, and where they are in what it becomes.

    A table whose rows are looked up counts as a layer if the recipe says something about it.

    Attributes:
        module: The module as it was.
        names: Of the layer of each pair of ends; several may belong to one node.
        before: What each layer read and gave then.
        now: What each reads and gives in the module as it has become.
    """

    def __init__(self, module: ModuleOp, recipe: Recipe):
        copy: dict[SSAValue, SSAValue] = {}
        layers = layers_of(module)
        tables = [(name, op) for name, op in tables_of(module) if recipe.tables_of(name)]
        self.module = module.clone(copy)
        self.names = [*(layer.name for layer in layers), *(name for name, _ in tables)]
        ends = [(layer.input, layer.result) for layer in layers]
        self.now = Followed([*ends, *((op.indices, op.result) for _, op in tables)])
        self.before = self.now.inside(copy)
        self._changed = module

    def restored(self, names: Collection[str]) -> ModuleOp:
        """A copy of the module as it has become, with the layers called ``names`` as they were."""
        copy: dict[SSAValue, SSAValue] = {}
        made = self._changed.clone(copy)
        followed = self.now.inside(copy)
        self._restore(followed, names)
        followed.release()
        EliminateDeadCode().apply(made)
        return made

    def restore(self, names: Collection[str]) -> None:
        """The same in the module itself."""
        self._restore(self.now, names)

    def release(self) -> None:
        """Follows no further, and removes what stood for restored layers."""
        self.now.release()
        self.before.release()
        EliminateDeadCode().apply(self._changed)

    def _restore(self, followed: Followed, names: Collection[str]) -> None:
        for number, name in enumerate(self.names):
            if name in names:
                _put_back(self.before[number][1], *followed[number])


def span(reads: SSAValue, gives: SSAValue) -> list[GraphOp]:
    """The ops that make ``gives`` of ``reads``, constants included."""
    found: dict[GraphOp, None] = {}
    waiting = [gives]
    while waiting:
        value = waiting.pop()
        op = value.owner
        if value is reads or not isinstance(op, GraphOp) or op in found:
            continue
        found[op] = None
        waiting += op.operands
    return list(found)


def _put_back(before: SSAValue, reads: SSAValue, gives: SSAValue) -> None:
    """The op that gave ``before``, on ``reads``, in the place of what gives ``gives``."""
    op, place = before.owner, gives.owner
    assert isinstance(op, GraphOp)
    assert isinstance(place, GraphOp)
    operands = [
        placed_before(place, again(v.owner)) if isinstance(v.owner, ConstantOp) else reads
        for v in op.operands
    ]
    gives.replace_all_uses_with(placed_before(place, again(op, *operands)))
