"""Where the polynomials come from: minimax fits whose coefficients are single floats.

    python -m mlc.codegen.cpu.vector_math.fit

prints every table of this package. Lawson's iteration (1961; Rice, The Approximation of Functions,
vol. 2, ch. 13) turns least squares into the best approximation in the largest error: what is far
off weighs more the next time. The coefficients are rounded to f32 one after the other, from the
lowest power on, and what is left is fitted again each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]
_POINTS = 2_000
_ROUNDS = 300


@dataclass(frozen=True)
class Fit:
    """A polynomial ``sum(c[k] * x**k)`` that is to be near ``function`` on an interval.

    Attributes:
        function: What is approximated.
        degree: Of the polynomial.
        low: Start of the interval.
        high: End of the interval.
        weight: What an error costs; by default errors are relative.
        fixed: The first coefficients, where they are given.
        precision: What the coefficients are rounded to.
    """

    function: Function
    degree: int
    low: float
    high: float
    weight: Function | None = None
    fixed: Sequence[float] = ()
    precision: type[np.floating] = np.float32

    def solve(self) -> tuple[list[float], float]:
        """The coefficients, lowest power first, and the largest weighted error."""
        known = list(self.fixed)
        while len(known) <= self.degree:
            known.append(float(self.precision(self._lawson(known)[0])))
        return known, float(np.abs(self._error(known)).max())

    def _lawson(self, known: Sequence[float]) -> np.ndarray:
        """The best coefficients after those that are known."""
        x, weight = self._points(), self._weights()
        basis = weight[:, None] * x[:, None] ** np.arange(len(known), self.degree + 1)
        rest = -self._error(known)
        scale = np.abs(basis).max(axis=0)
        importance, best, least = np.ones_like(x), np.zeros(len(scale)), np.inf
        for _ in range(_ROUNDS):
            root = np.sqrt(importance)
            solution = np.linalg.lstsq(basis / scale * root[:, None], rest * root)[0] / scale
            error = np.abs(basis @ solution - rest)
            if error.max() < least:
                best, least = solution, error.max()
            importance *= error
            importance /= importance.mean()
        return best

    def _points(self) -> np.ndarray:
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        return middle - half * np.cos((np.arange(_POINTS) + 0.5) * np.pi / _POINTS)

    def _weights(self) -> np.ndarray:
        x = self._points()
        return 1 / np.abs(self.function(x)) if self.weight is None else self.weight(x)

    def _error(self, coefficients: Sequence[float]) -> np.ndarray:
        x = self._points()
        value = sum((c * x**k for k, c in enumerate(coefficients)), np.zeros_like(x))
        return self._weights() * (value - self.function(x))


def _log_1p_rest(f: np.ndarray) -> np.ndarray:
    return (np.log1p(f) - f) / f**2


def _log_2_of_erfc(x: np.ndarray) -> np.ndarray:
    return -np.log2(np.array([math.erfc(v) for v in x])) / x


def _log_2_of(tail: Function, degree: int) -> Fit:
    def by_error(a: np.ndarray) -> np.ndarray:
        return tail(a) * math.log(2)

    return Fit(lambda a: np.log2(tail(a)), degree, 0, 5.5, by_error)


def _normal_tail(a: np.ndarray) -> np.ndarray:
    return np.array([math.erfc(v / math.sqrt(2)) / 2 for v in a])


def _tail_by_tanh(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(math.sqrt(8 / math.pi) * (a + 0.044715 * a**3)))


def _odd_rest(function: Function, degree: int, high: float) -> Fit:
    """``(function(x) - x) / x**3`` in powers of ``x**2``."""

    def rest(u: np.ndarray) -> np.ndarray:
        return (function(np.sqrt(u)) - np.sqrt(u)) / np.sqrt(u) ** 3

    def weight(u: np.ndarray) -> np.ndarray:
        return np.sqrt(u) ** 3 / function(np.sqrt(u))

    return Fit(rest, degree, 0, high**2, weight)


_HALF_LN_2 = math.log(2) / 2 * 1.002
_LOG_ENDS = (math.sqrt(0.5) - 1, math.sqrt(2) - 1)
TABLES = {
    "exp": Fit(np.exp, 6, -_HALF_LN_2, _HALF_LN_2, fixed=(1, 1)),
    "expm1": Fit(
        lambda r: (np.expm1(r) - r) / r**2,
        4,
        -_HALF_LN_2,
        _HALF_LN_2,
        weight=lambda r: np.abs(r**2 / np.expm1(r)),
    ),
    "tanh": Fit(
        lambda r: (np.expm1(2 * r) / 2 - r) / r**2,
        4,
        -_HALF_LN_2 / 2,
        _HALF_LN_2 / 2,
        weight=lambda r: np.abs(2 * r**2 / np.expm1(2 * r)),
    ),
    "sigmoid": Fit(lambda r: np.exp(-r), 5, -_HALF_LN_2, _HALF_LN_2, fixed=(1,)),
    "sinh": _odd_rest(np.sinh, 3, 1),
    "erf": Fit(
        _log_2_of_erfc,
        8,
        0,
        3.93,
        # y / (2**y - 1) for y = x g(x): by how much less an error in g matters for erf.
        weight=lambda x: math.log(2) * x / np.expm1(math.log(2) * x * _log_2_of_erfc(x)),
    ),
    "erf, power of two": Fit(lambda y: -np.expm1(-y * math.log(2)) / y, 5, -0.501, 0.501),
    "log": Fit(_log_1p_rest, 8, *_LOG_ENDS, weight=lambda f: np.abs(f**2 / np.log1p(f))),
    "log2, double": Fit(
        lambda f: np.log1p(f) / math.log(2) / f, 13, *_LOG_ENDS, precision=np.float64
    ),
    "exp2": Fit(np.exp2, 6, -0.501, 0.501, fixed=(1,)),
    "gelu": _log_2_of(_normal_tail, 6),
    "gelu by tanh": _log_2_of(_tail_by_tanh, 8),
    "exp2, one degree less": Fit(np.exp2, 5, -0.501, 0.501, fixed=(1,)),
    "exp2, for bf16": Fit(np.exp2, 3, -0.501, 0.501),
    "sin": _odd_rest(np.sin, 3, math.pi / 2 * 1.001),
    "tan": _odd_rest(np.tan, 5, math.pi / 4 * 1.001),
    "atan": Fit(lambda u: np.arctan(np.sqrt(u)) / np.sqrt(u), 9, 0, 1),
    "asin": _odd_rest(np.arcsin, 4, 0.5),
}


def main() -> None:
    """Prints every table with its largest error."""
    for name, fit in TABLES.items():
        coefficients, error = fit.solve()
        print(f"{name}: {error * 2**23:.2g} ulp", *coefficients, sep="\n    ")


if __name__ == "__main__":
    main()
