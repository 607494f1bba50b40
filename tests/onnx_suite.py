"""The test cases of the onnx package: models with inputs and outputs, by operator."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from mlc.ir.types import is_float
from mlc.onnx_backend import PreparedModel
from onnx.backend.test.loader import load_model_tests

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")


@dataclass(frozen=True)
class BackendCase:
    """One model, the values it is run on and what must come out."""

    name: str
    model: onnx.ModelProto
    data: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    rtol: float
    atol: float

    def __str__(self) -> str:
        return self.name

    def check(self, device: str) -> None:
        """Fails where the model does not give what it must."""
        prepared = PreparedModel(self.model, device)
        for inputs, outputs in self.data:
            got = prepared.run([_array(value) for value in inputs])
            for a, b in zip(got, map(_array, outputs), strict=True):
                self._compare(np.asarray(a), b)

    def _compare(self, got: np.ndarray, wanted: np.ndarray) -> None:
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        a, b = got.astype(np.float64), wanted.astype(np.float64)
        if not is_float(wanted.dtype):
            np.testing.assert_array_equal(a, b)
            return
        rounding = 2 * float(ml_dtypes.finfo(wanted.dtype).eps)
        np.testing.assert_allclose(
            a, b, rtol=max(self.rtol, rounding), atol=max(self.atol, rounding * _largest(b))
        )


def backend_cases(kinds: Sequence[str] = KINDS) -> Iterator[BackendCase]:
    """All cases that come with the onnx package and need no download."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in (case for kind in kinds for case in load_model_tests(kind=kind)):
            folder = Path(case.model_dir or "")
            model = case.model or onnx.load(folder / "model.onnx")
            data = case.data_sets or list(_stored_data(folder, model))
            yield BackendCase(case.name, model, data, case.rtol, case.atol)


def _array(value: Any) -> Any:
    """A value as an array; sequences as they are."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return value if isinstance(value, list) or value is None else np.asarray(value)


def _largest(values: np.ndarray) -> float:
    return float(np.max(np.abs(values), initial=0, where=np.isfinite(values)))


def _stored_data(folder: Path, model: onnx.ModelProto) -> Iterator[tuple[list[Any], list[Any]]]:
    for part in sorted(folder.glob("test_data_set_*")):
        inputs = [_value(part / f"input_{k}.pb", i) for k, i in enumerate(model.graph.input)]
        outputs = [_value(part / f"output_{k}.pb", o) for k, o in enumerate(model.graph.output)]
        yield [i for i in inputs if i is not None], outputs


def _value(path: Path, declared: onnx.ValueInfoProto) -> Any:
    if not path.exists():
        return None
    kind = declared.type.WhichOneof("value")
    if kind == "sequence_type":
        sequence = onnx.SequenceProto.FromString(path.read_bytes())
        return onnx.numpy_helper.to_list(sequence)
    if kind == "optional_type":
        return onnx.numpy_helper.to_optional(onnx.OptionalProto.FromString(path.read_bytes()))
    return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))
