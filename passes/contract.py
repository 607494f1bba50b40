"""What every pass declares, and how one is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import ClassVar

from xdsl.dialects.builtin import ModuleOp

from ..ir.levels import Level


class Promise(Enum):
    """What a pass may do to the values that a model computes."""

    EXACT = "the same bits"
    ROUNDING = "the same up to rounding"
    LOSSY = "another, approximating model"


class Pass(ABC):
    """A change of a module in place.

    Subclasses are frozen dataclasses in a file of their own; options are fields. The module is
    valid before and after ``apply``, at the level it ``takes`` and the one it ``gives``.

    A pass of another package says with ``before`` or ``after`` next to which pass it runs; without
    either it runs only where it is asked for by name. One that ``compresses`` follows a recipe, and
    runs among the passes that do (``compress/weight_pass.py``).
    """

    name: ClassVar[str]
    promise: ClassVar[Promise]
    takes: ClassVar[Level] = Level.GRAPH
    gives: ClassVar[Level] = Level.GRAPH
    before: ClassVar[str] = ""
    after: ClassVar[str] = ""
    compresses: ClassVar[bool] = False

    @abstractmethod
    def apply(self, module: ModuleOp) -> None:
        """Changes ``module``."""
