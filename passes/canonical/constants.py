"""Ops on constants are constants."""

from __future__ import annotations

from ...ir.op import GraphOp
from ..fold_constants import FoldConstants
from .registry import canonical

canonical(GraphOp)(FoldConstants().fold)
