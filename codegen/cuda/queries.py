"""The choice of an attention's blocks: so many queries at once that programs fill the GPU.

Where they do not even so, as in decoding, programs take the keys in parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...ir.dims import Dim, ceildiv
from ..choice import Option
from .fill import balanced, parts_that_fill, room
from .target import CudaTarget
from .templates.flat import power_of_two

# Rows of a product, and steps, have at least so many.
LEAST = 16
# A second launch combines all parts at once.
_MOST_PARTS = 128
# In cycles: a step's products and exponentials; in bytes: what a multiprocessor gets in a cycle.
_STEP, _BYTES = 300, 48


@dataclass(frozen=True)
class Queries:
    """What is to be attended to, by whom.

    Attributes:
        rows: Queries that share keys.
        groups: How many sets of keys there are.
        keys: How many keys are in one.
        bytes: Of a key and its value.
        wide: Whether a block takes many registers.
        target: What runs it.
    """

    rows: Dim
    groups: Dim
    keys: Dim
    bytes: int
    wide: bool
    target: CudaTarget

    def options(self) -> list[Option]:
        """Rows and keys at once, warps, steps loaded ahead, parts of the keys at most."""
        blocks = list(self._blocks())
        found = [(*b, self._parts_of(b)) for b in blocks]
        most = found[0][-1]
        others = (most * 2, most // 2, 1) if most > 1 else ()
        found[1:1] = [(*blocks[0], p) for p in others if self._are_many(p, blocks[0])]
        return list(dict.fromkeys(found))

    def parts(self, option: Option) -> Dim:
        """The number of parts; where sizes are not known, the run finds what is worth it."""
        known = isinstance(self.programs(option), int) and isinstance(self.keys, int)
        return option[-1] if known else self._filling(option, option[-1])

    def programs(self, option: Option) -> Dim:
        """How many take all keys, or a part of them."""
        return self.groups * ceildiv(self.rows, option[0])

    def _blocks(self) -> Iterable[Option]:
        most, step = (64, 32) if self.wide else (128, 64)
        block = self._rows_at_once(most)
        warps = 8 if block >= 128 else 4
        found = [(block, step, warps, 2), (block, step, warps, 3), (block, 2 * step, warps, 2)]
        found += [(b, step, 8 if b >= 128 else 4, 2) for b in (block // 2, block * 2)]
        found += [(block, step, 12 - warps, 2), (block, step // 2, warps, 3)]
        return (o for o in found if LEAST <= o[0] <= most and o[1] >= LEAST)

    def _rows_at_once(self, most: int) -> int:
        if not isinstance(self.rows, int):
            return min(most, 64)
        block = min(most, max(LEAST, power_of_two(self.rows)))
        while block > LEAST and isinstance(self.groups, int):
            if self.groups * -(-self.rows // block) >= self.target.multiprocessors:
                break
            block //= 2
        return block

    def _steps(self, block: Option) -> Dim:
        return ceildiv(self.keys, block[1])

    def _filling(self, block: Option, most: int) -> Dim:
        """In how many parts programs fill the GPU."""
        cycles = _STEP + block[1] * self.bytes / _BYTES
        programs, steps = self.programs(block), self._steps(block)
        return parts_that_fill(programs, steps, cycles, most, self.target)

    def _parts_of(self, block: Option) -> int:
        """The number of parts, or the most that the run may find to be worth it."""
        count, steps = self._filling(block, _MOST_PARTS), self._steps(block)
        if isinstance(count, int):
            return balanced(count, steps) if isinstance(steps, int) and count > 1 else count
        free = room(self.programs(block), self.target)
        return min(_MOST_PARTS, free) if isinstance(free, int) else _MOST_PARTS

    def _are_many(self, parts: int, block: Option) -> bool:
        """Whether there are enough keys for so many parts."""
        steps = self._steps(block)
        return parts <= min(_MOST_PARTS, steps if isinstance(steps, int) else _MOST_PARTS)
