"""Symbolic dimensions: canonical form, text round trip, exact arithmetic."""

from __future__ import annotations

import itertools

import pytest
from mlc.ir.dims import (
    ceildiv,
    dim_max,
    dim_min,
    note_mismatch,
    parse_dim,
    product,
    substitute,
    symbol,
    symbols_of,
)
from mlc.ir.errors import InferenceError
from mlc.ir.limits import Assumptions, assuming

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


def test_sizes_that_agree_up_to_a_limit():
    rows = dim_min(S, 512)
    with assuming(Assumptions()) as wanted:
        note_mismatch([rows, S])
        note_mismatch([rows, N])
    assert wanted == Assumptions({"S": 512})
    with assuming(wanted):
        assert dim_min(S, 512) == S
        assert dim_max(S + 1, 513) == 513
        assert str(dim_min(S, 511)) == "min(511, S)"


@pytest.mark.parametrize(
    ("a", "b", "multiples"),
    [
        ("4*(N//4)", "N", {"N": 4}),
        ("2*(N//4)", "N//2", {"N": 4}),
        ("2*((N + 1)//2)", "N", {"N": 2}),
        ("2*((N//2 + 1)//2)", "N//2", {"N": 4}),
        ("(N//2)*(S//2)", "(N*S)//4", {"N": 2, "S": 2}),
        ("N//2", "S//2", {}),
        ("N//2 + 1", "N//2", {}),
    ],
)
def test_sizes_that_agree_for_multiples(a: str, b: str, multiples: dict[str, int]):
    with assuming(Assumptions()) as wanted:
        note_mismatch([parse_dim(a), parse_dim(b)])
    assert wanted == Assumptions({}, multiples)


def test_what_is_assumed_adds_up():
    first = Assumptions({"S": 512, "H": 99}, {"H": 2})
    assert first.extended(Assumptions({}, {"H": 2})) == Assumptions({"S": 512}, {"H": 4})
