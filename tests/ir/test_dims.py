"""Symbolic dimensions: canonical form, text round trip, exact arithmetic."""

from __future__ import annotations

import itertools

import pytest
from mlc.ir.dims import (
    ceildiv,
    dim_max,
    dim_min,
    parse_dim,
    product,
    substitute,
    symbol,
    symbols_of,
)
from mlc.ir.errors import InferenceError

N, S = symbol("N"), symbol("S")
EXPRESSIONS = [
    N,
    2 * N + 1,
    3 - N,
    N * S * 64,
    (N + 1) // 2,
    (4 * N + 3) // 4,
    (N * 768) // S,
    ceildiv(N, 7) * 5,
    (N + S) % 3,
    (4 * N + 6) % 4,
    dim_max(N, 3),
    dim_min(N + 1, 2 * S),
    ((N + 1) // 2 + 3) // 2 - 1,
]


@pytest.mark.parametrize("dim", EXPRESSIONS, ids=str)
def test_text_round_trip(dim):
    assert parse_dim(str(dim)) == dim
    assert str(parse_dim(str(dim))) == str(dim)


@pytest.mark.parametrize("dim", EXPRESSIONS, ids=str)
def test_substitution_agrees_with_integer_arithmetic(dim):
    for n, s in itertools.product(range(1, 9), repeat=2):
        expected = eval(str(dim), {"max": max, "min": min}, {"N": n, "S": s})
        assert substitute(dim, {"N": n, "S": s}) == expected


def test_canonical_form():
    assert N + S == S + N
    assert N - N == 0
    assert (N * 768) // N == 768
    assert (4 * N + 3) // 4 == N
    assert (2 * N + 3) // 4 == (N + 1) // 2
    assert ((N + 1) // 2 + 1) // 2 == (N + 3) // 4
    assert dim_max(N + 1, N) == N + 1
    assert product((2, N, 3)) == 6 * N
    assert sorted(symbols_of((N + S) // 2)) == ["N", "S"]


@pytest.mark.parametrize("text", ["", "N +", "f(N)", "N ** 2", "1.5", "__import__('os')"])
def test_malformed_text_is_refused(text):
    with pytest.raises(InferenceError, match="no dimension"):
        parse_dim(text)
