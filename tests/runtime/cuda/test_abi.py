"""Launches against real binaries: parameters lie where the cubin's own table says."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from cubins import elf_size, entries
from cuda_library import MULTIPROCESSORS
from cuda_sample import AFFINE, BLOCK, PARAMETERS, cubin, expected, feed, ptx_of, sample, standin
from cuda_standin import standing_in
from mlc.runtime import Model

pytestmark = pytest.mark.standin

ARCHS = {80: (8, 6), 90: (9, 0)}
SIZES = {"ptr": 8, "i64": 8, "i32": 4, "f32": 4}


@pytest.mark.parametrize("arch", [75, *ARCHS, 89, 100, 120])
@pytest.mark.parametrize("name", PARAMETERS)
def test_a_cubin_takes_the_arguments_and_two_pointers(name: str, arch: int):
    image = cubin(name, arch)
    entry = entries(image)[name]
    assert elf_size(image) == len(image)
    assert (entry.arch, entry.block) == (arch, (BLOCK, 1, 1))
    sizes = [SIZES[p] for p in PARAMETERS[name]]
    assert [size for _, size in entry.parameters] == [*sizes, 8, 8]
    assert entry.parameters == entries(ptx_of(name))[name].parameters


@pytest.mark.parametrize("arch", ARCHS)
def test_a_model_runs_on_cubins(arch: int):
    model_file = sample(tuple(ARCHS), ptx=False)
    with standing_in(standin(arch=ARCHS[arch])) as gpu:
        model = Model.from_artifact(model_file)
        for shape in ((3, 7), (33, 65)):
            x = feed(*shape)
            for got, wanted in zip(model(x), expected(x), strict=True):
                np.testing.assert_array_equal(got, wanted)
        assert len(gpu.ran) == 6


@pytest.mark.parametrize("shared", [0, 1 << 10, 47 << 10, 48 << 10, 100 << 10, 227 << 10])
def test_shared_memory_is_asked_for(shared: int):
    with standing_in(standin()):
        model = Model.from_artifact(sample((90,), ptx=False, shared=shared))
        np.testing.assert_array_equal(model(feed())[0], expected(feed())[0])


def test_every_argument_arrives():
    seen = []
    with standing_in(standin()) as gpu:
        model = Model.from_artifact(sample((90,), ptx=False))
        gpu.bodies[AFFINE] = lambda call: seen.append(call.arguments)
        model(feed(3, 100))
        x, w, out, n, k, scale, *scratch = seen[0]
        assert [struct.unpack("<i", a)[0] for a in (n, k)] == [300, 5]
        assert scale == struct.pack("<f", 2.5)
        assert scratch == [bytes(8), bytes(8)]
        addresses = [struct.unpack("<Q", a)[0] for a in (x, w, out)]
        assert [gpu.memory.room(a) for a in addresses[1:]] == [20, 1200]
        assert all(a % 16 == 0 for a in addresses)


def test_programs_that_stay_are_as_many_as_the_gpu_keeps_at_work():
    grids = []
    with standing_in(standin()) as gpu:
        model = Model.from_artifact(sample(resident=2))
        gpu.bodies[AFFINE] = lambda call: grids.append(call.grid)
        for shape in ((33, 65), (3, 7), (33, 65)):
            model(feed(*shape))
    most = 2 * MULTIPROCESSORS
    assert grids == [(most, 1, 1)] * 2 + [(1, 1, 1)] * 2 + [(most, 1, 1)] * 2
