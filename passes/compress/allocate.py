"""Shares a budget out among layers so that all together lose least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_ROUNDS = 60


@dataclass(frozen=True)
class Curve:
    """What one layer may get: for each choice what it costs, and the noise that it leaves."""

    costs: np.ndarray
    noise: np.ndarray


def shared_out(curves: Sequence[Curve], budget: float) -> list[int]:
    """The choice for each layer, with the least noise that costs at most ``budget`` in all.

    Every layer chooses at the same price of cost for noise; the price is found by halving. Where
    the budget is less than all cheapest choices, these are made.
    """
    low, high = -30.0, 30.0
    for _ in range(_ROUNDS):
        price = (low + high) / 2
        fits = _cost(curves, _chosen(curves, price)) <= budget
        low, high = (low, price) if fits else (price, high)
    return _chosen(curves, high)


def _chosen(curves: Sequence[Curve], price: float) -> list[int]:
    """Where noise and ``e ** price`` for a share of the total cost are least together."""
    unit = float(np.exp(price)) / (sum(float(c.costs.max()) for c in curves) or 1.0)
    return [int(np.argmin(c.noise + unit * c.costs)) for c in curves]


def _cost(curves: Sequence[Curve], chosen: Sequence[int]) -> float:
    return sum(float(c.costs[k]) for c, k in zip(curves, chosen, strict=True))
