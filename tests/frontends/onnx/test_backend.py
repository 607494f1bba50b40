"""The test cases of the onnx package through the importer and a runner."""

from __future__ import annotations

import re

import pytest
from mlc.ir.errors import MlcError
from onnx_suite import BackendCase, backend_cases

# What no compiled model does, by the names of the cases.
OUT_OF_SCOPE = {
    "text": r"string|strnorm|label_encoder|tfidf|regex",
    "random numbers": r"bernoulli|training_dropout(?!.*zero_ratio)",
    "training": r"test_momentum|nesterov|adagrad|test_adam|gradient",
    "files of images": r"image_decoder",
    "trees": r"tree_ensemble|ml_binarizer",
    "sequences and optionals as inputs or outputs": (
        r"(identity|if|loop13|loop16)_(seq|opt)|sequence_insert|sequence_map|split_to_sequence|"
        r"optional_get_element_(optional_)?sequence"
    ),
    "batches of sequences of different lengths": r"scan_sum$",
    "rounding to powers of two": r"cast_e8m0_FLOAT(16)?_to_FLOAT8E8M0",
}
CASES = list(backend_cases())


def reason(case: BackendCase) -> str:
    """Why a case is out of scope; empty where it is not."""
    return next((why for why, names in OUT_OF_SCOPE.items() if re.search(names, case.name)), "")


IN_SCOPE = [case for case in CASES if not reason(case)]


@pytest.mark.parametrize("device", ["reference", pytest.param("cpu", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", IN_SCOPE, ids=str)
def test_case(case: BackendCase, device: str):
    case.check(device)


@pytest.mark.parametrize("case", [case for case in CASES if reason(case)], ids=str)
def test_what_is_out_of_scope_is_refused(case: BackendCase):
    with pytest.raises(MlcError):
        case.check("reference")


def test_little_is_out_of_scope():
    assert len(IN_SCOPE) > 0.94 * len(CASES)
