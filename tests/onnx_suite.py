"""The test cases of the onnx package: models with inputs and outputs, by operator."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import mlc
import numpy as np
import onnx
from mlc.frontends.onnx import load_onnx
from mlc.ir.errors import UnsupportedError
from mlc.ir.interpreter import interpret
from mlc.ir.module import input_names
from mlc.ir.types import DTYPE_NAMES, is_float
from onnx.backend.test.loader import load_model_tests
from xdsl.dialects.builtin import ModuleOp

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
Runner = Callable[[ModuleOp, Sequence[np.ndarray]], Sequence[np.ndarray]]


def compiled(module: ModuleOp, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """The results of native code for this machine."""
    results = mlc.compile(module, target="cpu", cache=False)(*arrays)
    return results if isinstance(results, tuple) else [results]


RUNNERS: dict[str, Runner] = {"reference": interpret, "cpu": compiled}


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

    def check(self, runner: Runner) -> None:
        """Fails where the model does not give what it must."""
        for inputs, outputs in self.data:
            outputs = [_array(o) for o in outputs]
            module, rest = self.imported(inputs)
            module.verify()
            got = runner(module, rest)
            assert len(got) == len(outputs)
            for a, b in zip(got, outputs, strict=True):
                self._compare(a, b)

    def imported(self, inputs: Sequence[Any]) -> tuple[ModuleOp, list[np.ndarray]]:
        """The module with as few inputs fixed as it takes, and the values of the others."""
        values = dict(zip(self._inputs(), map(_array, inputs), strict=False))
        graph = self.model.graph
        tensors = {i.name for i in graph.input if i.type.HasField("tensor_type")}
        for fixed in _growing(values, tensors):
            try:
                module = load_onnx(self.model, **fixed)
            except UnsupportedError as error:
                if "load_onnx(" not in str(error) or fixed == {"constants": values}:
                    raise
                continue
            return module, [values[name] for name in input_names(module)]
        raise AssertionError("unreachable")

    def _inputs(self) -> list[str]:
        weights = {w.name for w in self.model.graph.initializer}
        return [i.name for i in self.model.graph.input if i.name not in weights]

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


def _growing(values: Mapping[str, Any], tensors: set[str]) -> Iterator[dict[str, Any]]:
    """Ever more that is fixed: nothing, sizes, inputs that are not of floats, all but one, all."""
    yield {}
    yield {"shapes": {n: v.shape for n, v in values.items() if n in tensors}}
    yield {"constants": {n: v for n, v in values.items() if not _is_float_tensor(v)}}
    yield {"constants": dict(list(values.items())[1:])}
    yield {"constants": dict(values)}


def _is_float_tensor(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype in DTYPE_NAMES and is_float(value.dtype)


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
