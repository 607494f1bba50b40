"""The graph dialect: every op of the family files, found by walking them."""

from __future__ import annotations

from types import ModuleType

from xdsl.ir import Dialect

from .data import DataAttr
from .op import GraphOp, Param
from .ops import (
    attention,
    constant,
    control,
    conv,
    elementwise,
    index,
    matmul,
    norm,
    pool,
    quant,
    reduce,
    resample,
    resize,
    roi,
    sample,
    scatter,
    select,
    shape,
    sort,
)
from .ops.control import ReturnOp
from .types import TensorType

FAMILIES: tuple[ModuleType, ...] = (
    attention,
    constant,
    control,
    conv,
    elementwise,
    index,
    matmul,
    norm,
    pool,
    quant,
    reduce,
    resample,
    resize,
    roi,
    sample,
    scatter,
    select,
    shape,
    sort,
)


def graph_ops() -> list[type[GraphOp]]:
    """All graph op classes, by family."""
    return [op for family in FAMILIES for op in _ops_in(family)]


def _ops_in(family: ModuleType) -> list[type[GraphOp]]:
    members = [m for m in vars(family).values() if isinstance(m, type) and issubclass(m, GraphOp)]
    return [m for m in members if m.__module__ == family.__name__ and "name" in vars(m)]


Mlc = Dialect("mlc", [*graph_ops(), ReturnOp], [TensorType, DataAttr, Param])
