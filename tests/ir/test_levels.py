"""What may stand at each level."""

from __future__ import annotations

import pytest
from mlc.ir.errors import MlcError, PassError
from mlc.ir.levels import Level, check_level, check_ops
from mlc.ir.module import main_function
from mlc.ir.text import parse_module, print_module
from mlc.passes.dead_code import EliminateDeadCode
from mlc.passes.form_kernels import FormKernels
from mlc.passes.manager import run_passes

X = "!mlc.tensor<[2] f32>"
TEXT = f"""
builtin.module {{
  func.func @main(%x : {X}) -> {X} {{
    %y = "mlc.exp"(%x) : ({X}) -> {X}
    "mlc.return"(%y) : ({X}) -> ()
  }}
}}
"""


def test_a_graph_is_no_kernels_and_no_loops():
    module = parse_module(TEXT)
    check_level(module, Level.GRAPH)
    with pytest.raises(MlcError, match=r"mlc.exp cannot stand at the kernel level"):
        check_level(module, Level.KERNEL)
    with pytest.raises(MlcError, match=r"mlc.exp, mlc.return cannot stand at the loop level"):
        check_ops(main_function(module), Level.LOOP)


def test_kernels_print_and_parse():
    module = parse_module(TEXT)
    run_passes(module, [FormKernels()])
    check_level(module, Level.KERNEL)
    text = print_module(module)
    assert "kernel.kernel" in text
    assert print_module(parse_module(text)) == text


def test_passes_of_another_level_are_refused():
    module = parse_module(TEXT)
    with pytest.raises(PassError, match=r"eliminate-dead-code takes another level: kernel.kernel"):
        run_passes(module, [FormKernels(), EliminateDeadCode()])
