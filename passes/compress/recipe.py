"""What a user asks for: which compressions, how, and for which layers.

    Recipe.of(quantize="int4", sparsify=0.5, low_rank=0.5)
    Recipe(quantize=Quantize(bits=4, group=32), layers=(Override("head", quantize=False),))

This file imports neither xDSL nor numpy: a compilation found in the cache needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TypeVar

from ...ir.errors import MlcError
from .options import LowRank as LowRank
from .options import Quantize as Quantize
from .options import Sparsify as Sparsify
from .options import Tables as Tables
from .options import one_of, wrong_types

Options = Quantize | Sparsify | LowRank | Tables
OptionsT = TypeVar("OptionsT", Quantize, Sparsify, LowRank, Tables)
# The parts of a recipe in the order in which they are done.
PARTS = {"low_rank": LowRank, "sparsify": Sparsify, "quantize": Quantize, "tables": Tables}


class RecipeError(MlcError):
    """A recipe cannot be followed; the message lists everything that is wrong with it."""

    def __init__(self, problems: Sequence[str]):
        self.problems = tuple(problems)
        super().__init__("the recipe cannot be followed:\n" + "\n".join(f"  {p}" for p in problems))


@dataclass(frozen=True)
class Override:
    """What some layers get instead.

    Attributes:
        pattern: Of names of nodes in the user's model, with ``*`` and ``?``.
        quantize: Other options, False for none, True for what the recipe says.
        sparsify: The same.
        low_rank: The same.
        tables: The same.
    """

    pattern: str
    quantize: Quantize | bool = True
    sparsify: Sparsify | bool = True
    low_rank: LowRank | bool = True
    tables: Tables | bool = True


@dataclass(frozen=True)
class Recipe:
    """Compressions in the order in which they are done: low rank, sparsity, quantization.

    Attributes:
        quantize: For all layers, or None.
        sparsify: The same.
        low_rank: The same.
        tables: For all tables whose rows are looked up, or None.
        layers: What some layers get instead; the last pattern that fits counts.
    """

    quantize: Quantize | None = None
    sparsify: Sparsify | None = None
    low_rank: LowRank | None = None
    tables: Tables | None = None
    layers: tuple[Override, ...] = ()

    @staticmethod
    def of(
        quantize: str | None = None,
        sparsify: float | None = None,
        low_rank: float | None = None,
        tables: int | None = None,
    ) -> Recipe:
        """The recipe of the short forms ``int8``, a share of zeros, of the rank, bits of tables.

        Raises:
            RecipeError: There is no such short form.
        """
        if quantize is not None and quantize not in SHORT_FORMS:
            raise RecipeError([f"quantize is {quantize!r}: expected {one_of(tuple(SHORT_FORMS))}"])
        return Recipe(
            SHORT_FORMS[quantize] if quantize is not None else None,
            Sparsify(sparsify) if sparsify is not None else None,
            LowRank(low_rank) if low_rank is not None else None,
            Tables(tables, group=0 if tables == 8 else 32) if tables is not None else None,
        )

    def quantize_of(self, layer: str) -> Quantize | None:
        """The options for a layer, or None."""
        return _chosen(self.quantize, [o.quantize for o in self._overrides(layer)])

    def sparsify_of(self, layer: str) -> Sparsify | None:
        """The same for sparsity."""
        return _chosen(self.sparsify, [o.sparsify for o in self._overrides(layer)])

    def low_rank_of(self, layer: str) -> LowRank | None:
        """The same for low rank."""
        return _chosen(self.low_rank, [o.low_rank for o in self._overrides(layer)])

    def tables_of(self, name: str) -> Tables | None:
        """The same for a table."""
        return _chosen(self.tables, [o.tables for o in self._overrides(name)])

    def touches(self, layers: Sequence[str], tables: Sequence[str]) -> bool:
        """Whether something is asked for of one of these."""
        wanted = (self.low_rank_of, self.sparsify_of, self.quantize_of)
        return any(of(n) for n in layers for of in wanted) or any(map(self.tables_of, tables))

    def only(self, *kinds: str) -> Recipe:
        """The recipe without other compressions than these, such as ``quantize``."""
        others = set(PARTS) - set(kinds)
        layers = tuple(replace(o, **dict.fromkeys(others, False)) for o in self.layers)
        return replace(self, layers=layers, **dict.fromkeys(others, None))

    def stages(self) -> list[Recipe]:
        """The recipe in parts between which a model is trained: factors, zeros, few levels."""
        parts = [("low_rank",), ("sparsify",), ("quantize", "tables")]
        return [part for part in (self.only(*kinds) for kinds in parts) if part.options()]

    def options(self) -> list[Options]:
        """All options that stand in this recipe."""
        given = [getattr(holder, part) for holder in (self, *self.layers) for part in PARTS]
        return [g for g in given if isinstance(g, Options)]

    def problems(self) -> list[str]:
        """What is wrong whatever the model."""
        found = [p for o in self.options() for p in o.problems()]
        return found if self.options() else [*found, "it asks for nothing"]

    def wrong_types(self) -> list[str]:
        """Parts and options of types that cannot be judged any further."""
        return _misplaced(self) or [p for o in self.options() for p in wrong_types(o)]

    def needs_data(self) -> bool:
        """Whether this cannot be done without calibration data."""
        return any(o.needs_data() for o in self.options())

    def idle(self, layers: Sequence[str]) -> list[Override]:
        """The overrides that count for none of the ``layers``, as others do that stand below."""
        counting = [self._overrides(layer)[-1:] for layer in layers]
        return [o for o in self.layers if not any(o is last for some in counting for last in some)]

    def _overrides(self, layer: str) -> list[Override]:
        return [o for o in self.layers if fnmatchcase(layer, o.pattern)]


SHORT_FORMS = {
    "int8": Quantize(scheme="static", smooth=0.5),
    "int8-dynamic": Quantize(scheme="dynamic", method="nearest"),
    "int8-weights": Quantize(symmetric=True),
    "int4": Quantize(bits=4, group=32),
    "int2": Quantize(bits=2, group=32),
}


def _misplaced(recipe: Recipe) -> list[str]:
    """What stands where something else has to."""
    if not isinstance(recipe.layers, Sequence):
        return [f"layers is {recipe.layers!r}: expected a sequence of overrides"]
    overrides = [o for o in recipe.layers if isinstance(o, Override)]
    return [
        *_wrong_parts("", recipe, None),
        *(p for o in overrides for p in _wrong_parts(f"layers {o.pattern!r}: ", o, bool)),
        *(f"layers hold {o!r}: expected overrides" for o in recipe.layers if o not in overrides),
    ]


def _wrong_parts(where: str, holder: Recipe | Override, otherwise: type | None) -> list[str]:
    parts = [(name, getattr(holder, name), kind) for name, kind in PARTS.items()]
    also = "None" if otherwise is None else otherwise.__name__
    return [
        f"{where}{name} is {part!r}: expected {kind.__name__} or {also}"
        for name, part, kind in parts
        if not isinstance(part, kind | otherwise)
    ]


def _chosen(everywhere: OptionsT | None, here: Sequence[OptionsT | bool]) -> OptionsT | None:
    last = here[-1] if here else True
    if last is True:
        return everywhere
    return last or None
