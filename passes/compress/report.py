"""What became of each layer: what was asked, what was done, why, and what it costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ...ir.types import bit_width


@dataclass(frozen=True)
class LayerReport:
    """One compression of one layer.

    Attributes:
        layer: The node in the user's model.
        asked: The compression and its options, in short.
        done: What was done; ``nothing`` where it was refused.
        why: The reason, where it is not what was asked.
        sqnr: Signal to noise of the weight in dB, weighed by the inputs where they are known.
        bytes_before: Of the weight.
        bytes_after: Of what stands for it now.
    """

    layer: str
    asked: str
    done: str
    why: str = ""
    sqnr: float | None = None
    bytes_before: int = 0
    bytes_after: int = 0


@dataclass
class Report:
    """The layers in the order in which they were compressed."""

    layers: list[LayerReport] = field(default_factory=list)

    def add(self, entry: LayerReport) -> None:
        """One more."""
        self.layers.append(entry)

    def values(self) -> list[dict[str, Any]]:
        """As plain values, for the artifact's manifest."""
        return [asdict(entry) for entry in self.layers]


def sqnr(wanted: np.ndarray, got: np.ndarray, hessian: np.ndarray | None = None) -> float | None:
    """``10 log10(signal / noise)`` of ``[inputs, outputs]``; None where there is no noise."""
    error = got.astype(np.float64) - wanted
    signal, noise = (_energy(m, hessian) for m in (wanted.astype(np.float64), error))
    return 10 * float(np.log10(signal / noise)) if noise > 0 and signal > 0 else None


def stored_bytes(*arrays: np.ndarray) -> int:
    """The bytes of packed arrays."""
    return sum(-(-a.size * bit_width(a.dtype) // 8) for a in arrays)


def _energy(matrix: np.ndarray, hessian: np.ndarray | None) -> float:
    moved = matrix if hessian is None else hessian @ matrix
    return float((matrix * moved).sum())
