"""Which launches of a model run side by side."""

from __future__ import annotations

import pytest
from mlc.codegen.cuda.order import Buffer, waits
from mlc.ir.dims import Dim, symbol
from mlc.passes.memory_plan import Place

N = symbol("N")
X, Y = Place("input"), Place("output")


def reads(place: Place, size: Dim = 64) -> Buffer:
    return Buffer(place, size, False)


def writes(place: Place, size: Dim = 64) -> Buffer:
    return Buffer(place, size, True)


def arena(offset: Dim) -> Place:
    return Place("arena", offset=offset)


def test_a_fork_and_its_join():
    launches = [
        [reads(X), writes(arena(0))],
        [reads(arena(0)), writes(arena(64))],
        [reads(arena(0)), writes(arena(128))],
        [reads(arena(64)), reads(arena(128)), writes(Y)],
    ]
    assert waits(launches) == [[], [0], [0], [1, 2]]


def test_space_that_is_used_again_ties_launches():
    launches = [
        [reads(X), writes(arena(0))],
        [reads(arena(0)), writes(arena(64))],
        [reads(X), writes(arena(0))],
        [reads(X), writes(arena(32))],
        [reads(X), writes(arena(96), 32)],
    ]
    assert waits(launches) == [[], [0], [1], [2], [1]]


def test_inputs_and_weights_tie_nothing():
    weight = Place("weight", offset=0)
    launches = [[reads(X), reads(weight), writes(Place("output", n))] for n in range(3)]
    assert waits(launches) == [[], [], []]


@pytest.mark.parametrize(
    ("offset", "size", "free"), [(4 * N, 64, True), (64, 64, False), (4 * N - 1, 64, False)]
)
def test_sizes_that_only_the_run_knows(offset: Dim, size: Dim, free: bool):
    launches = [[writes(arena(0), 4 * N)], [writes(arena(offset), size)]]
    assert waits(launches) == [[], [] if free else [0]]
