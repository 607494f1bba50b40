"""The ``cuda`` entry of a manifest: kernels, what a run does with them, and all sizes.

    {"archs": [...], "arena": size, "elements": [size, ...], "outputs": [[size, ...], ...],
     "kernels": [...], "launches": [...], "found": [symbol, ...], "held": count}

A kernel names its place in the artifact's code for each architecture, and what a launch of it
needs. ``launches`` are steps (see reader.py): launches, with loops and branches around them. Sizes
are expressions over the model's symbols, and over those that loops and branches find.
``elements`` counts those of tensors of symbolic size; ``outputs`` are the largest shapes of results
whose own shapes are known after the run only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import ArtifactError
from ..signature import Signature
from .kernel import Kernel
from .reader import Reader
from .sizes import Sizes
from .steps import Piece

Late = Callable[[Sequence[int]], list[tuple[int, ...]]]


class Program:
    """All launches of a model and what they need, read from a manifest.

    Attributes:
        archs: The architectures that the artifact has code for.
        kernels: In the order of the manifest.
        launches: In the order of the manifest, those of regions too.
        block: What a run does.
        decides: Whether a run has to read on the way how it goes on.
        symbols: How many there are: those of the signature, then those that the run finds.
        held: How many values are held.
        arena: The place of the arena's size.
        elements: The places of counts of elements, which kernels hold in 31 bits.
        inputs: The places of each input's dims.
        outputs: The same of the outputs, as large as they can be.
        sizes: Computes these from the values of the signature's symbols.
        late: Computes the outputs' shapes from all symbols, where only the run tells them.
    """

    def __init__(self, entry: Mapping[str, Any], signature: Signature):
        names = [s.name for s in signature.symbols]
        found = [str(n) for n in entry.get("found", ()) if n not in names]
        self.archs = tuple(str(a) for a in entry["archs"])
        self.kernels = tuple(Kernel.from_manifest(e) for e in entry["kernels"])
        self.held = int(entry.get("held", 0))
        self.symbols = len(names) + len(found)
        reader = Reader(self.kernels, [*names, *found], self._counts(signature))
        self.block = reader.block(entry["launches"])
        self.launches = tuple(reader.launches)
        self.decides = any(not isinstance(s, Piece) and s.decides for s in self.block.walk())
        table = Sizes(names)
        self.arena = table.add(entry["arena"])
        self.elements = [table.add(size) for size in entry.get("elements", ())]
        self.inputs = [[table.add(d) for d in i.shape] for i in signature.inputs]
        shapes = [o.shape for o in signature.outputs]
        largest = entry.get("outputs", shapes)
        self.outputs = [[table.add(d) for d in shape] for shape in largest]
        self.sizes = table.function()
        self.late = None
        if any(signature.late_outputs):
            self.late = _shapes([*names, *found], shapes)

    def _counts(self, signature: Signature) -> dict[str, int]:
        numbers = len(signature.inputs), len(signature.outputs), self.held
        return dict(zip(("input", "output", "held"), numbers, strict=True))

    @staticmethod
    def from_manifest(manifest: Mapping[str, Any], signature: Signature) -> Program:
        """Reads a manifest.

        Raises:
            ArtifactError: It lacks something, or something in it does not make sense.
        """
        try:
            return Program(manifest["cuda"], signature)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ArtifactError(f"the artifact's kernels are not described: {error!r}") from None


def _shapes(symbols: Sequence[str], shapes: Sequence[Sequence[int | str]]) -> Late:
    """What computes shapes from the values of all symbols."""
    table = Sizes(symbols)
    places = [[table.add(d) for d in shape] for shape in shapes]
    sizes = table.function()

    def compute(values: Sequence[int]) -> list[tuple[int, ...]]:
        found = sizes(*values)
        return [tuple(found[p] for p in shape) for shape in places]

    return compute
