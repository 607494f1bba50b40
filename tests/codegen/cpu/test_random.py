"""Random ops as native code, by random options of the templates, against the interpreter.

``MLC_SEED=7 pytest tests/codegen/cpu/test_random.py`` draws others; failures name op and seed.
"""

from __future__ import annotations

import os

import pytest
from mlc.codegen.cpu.target import target_for
from mlc.ir.interpreter import interpret
from native import Native
from random_ops import FAMILIES, SEED, compare, drawn, numbered

COUNT = int(os.environ.get("MLC_COUNT", "6"))


@pytest.mark.parametrize("target", ["cpu", "cpu:x86-64-v3"])
@pytest.mark.parametrize("family", FAMILIES)
def test_they_agree(family: str, target: str):
    model = drawn(family, SEED, COUNT)
    wanted = interpret(model.module(), model.arrays)
    native = Native(drawn(family, SEED, COUNT).module(), target_for(target), numbered(SEED))
    for threads in (1, 2):
        compare(model, native.run(model.arrays, threads), wanted, f"seed {SEED}, {target}")
